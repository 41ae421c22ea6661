"""ISMRMRD files: image -> file -> k-space exactly, geometry against one made by hand, everything else refused with its reason."""

import logging
import tempfile
from pathlib import Path

import numpy as np
import pytest
from helper import refuses, refuses_each
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import random_kspace as image

ismrmrd = pytest.importorskip("ismrmrd")
import h5py  # noqa: E402

from hospital.raw_scan import (  # noqa: E402  # noqa: E402
    EXAMPLE_SUBJECT,
    ExampleGeometry,
    example_head,
    example_sensitivities,
    write_example_fastmri,
    write_example_ismrmrd,
)
from infomri_monai.data.ismrmrd import check_ismrmrd, is_ismrmrd, read_ismrmrd  # noqa: E402
from infomri_monai.data.ismrmrd_header import parse_encoding  # noqa: E402
from infomri_monai.data.kspace_file import check_kspace_file, read_kspace  # noqa: E402


def fourier(data):
    """The oracle: NumPy's transform along the last two axes, DC at n // 2."""
    shifted = np.fft.fft2(np.fft.ifftshift(data, (-2, -1)), norm="ortho")
    return np.fft.fftshift(shifted, (-2, -1))


def assert_close(found, wanted, tolerance=1e-5):
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


def edit(path, xml=None, **fields):
    """Change an example file: ``xml`` maps the header's text, a field maps the column of the acquisition headers."""
    with h5py.File(path, "a") as file:
        group = file["dataset"]
        if xml is not None:
            before = group["xml"][0].decode()
            after = xml(before)
            assert after != before
            group["xml"][0] = after.encode()
        table = group["data"][()]
        for name, change in fields.items():
            column = table["head"]["idx"] if name in ismrmrd.hdf5.encoding_counters_dtype.names else table["head"]
            column[name] = change(column[name].copy())
        group["data"][()] = table
    return path


def scan_with(path, acquisitions, grid=(8, 6), samples=8):
    """A file made by ismrmrd's own classes; the header is an example's."""
    write_example_ismrmrd(path, image(1, *grid), oversampling=samples // grid[0])
    with ismrmrd.File(path, "r+") as file:
        file["dataset"].acquisitions = acquisitions
    return path


def line(data, step, flags=(), **head):
    acquisition = ismrmrd.Acquisition.from_array(np.atleast_2d(data).astype(np.complex64), **head)
    acquisition.idx.kspace_encode_step_1 = step
    acquisition.read_dir[:], acquisition.phase_dir[:], acquisition.slice_dir[:] = np.eye(3)
    for flag in flags:
        acquisition.setFlag(flag)
    return acquisition


@settings(deadline=None, max_examples=25)
@given(
    columns=st.integers(4, 17),
    height=st.integers(3, 16),
    oversampling=st.integers(1, 3),
    averages=st.integers(1, 3),
    reverse=st.booleans(),
    noise_scan=st.booleans(),
    data=st.data(),
)
def test_image_to_file_to_kspace(columns, height, oversampling, averages, reverse, noise_scan, data):
    lines = sorted(data.draw(st.sets(st.integers(0, height - 1), min_size=1)))
    truth = image(2, columns, height)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.h5"
        options = {"oversampling": oversampling, "averages": averages, "reverse": reverse, "noise_scan": noise_scan}
        write_example_ismrmrd(path, truth, lines, **options)
        scan = read_ismrmrd(path)
        kspace, mask = read_kspace(path)
    wanted = np.zeros((2, columns, height))
    wanted[..., lines] = 1
    assert np.array_equal(scan.mask, wanted)
    assert_close(scan.kspace, fourier(truth) * wanted)
    assert not scan.kspace[wanted == 0].any()
    assert scan.kspace.dtype == np.complex64
    assert scan.mask.dtype == np.float32
    assert np.array_equal(kspace, scan.kspace)
    assert np.array_equal(mask, scan.mask)
    assert scan.warnings == ()


def test_example_file_is_ismrmrd_to_the_package(tmp_path):
    """ismrmrd's reader and NumPy alone give the image of a fully sampled file."""
    truth = image(1, 8, 6)
    write_example_ismrmrd(tmp_path / "scan.h5", truth, coils=3)
    with ismrmrd.Dataset(str(tmp_path / "scan.h5"), create_if_needed=False) as file:
        header = ismrmrd.xsd.CreateFromDocument(file.read_xml_header())
        lines = [file.read_acquisition(i) for i in range(file.number_of_acquisitions())]
    assert lines[0].is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    assert header.encoding[0].encodedSpace.matrixSize.x == 16
    assert header.subjectInformation.patientName == EXAMPLE_SUBJECT["patientName"]
    coils = inverse(np.stack([line.data for line in lines[1:]], -1))[:, 4:12]
    assert_close(np.sqrt((np.abs(coils) ** 2).sum(0)), np.abs(truth[0]))


@pytest.mark.parametrize(("columns", "missing"), [(16, 5), (15, 4), (15, 0)])
def test_asymmetric_echo_lies_where_its_centre_says(tmp_path, columns, missing):
    truth = image(1, columns, 6)
    write_example_ismrmrd(tmp_path / "scan.h5", truth, oversampling=1, missing_samples=missing, reverse=True)
    if (
        missing
    ):  # a reversed line's asymmetry is at its end, where center_sample counts from the flipped line's beginning
        assert_close(read_ismrmrd(tmp_path / "scan.h5").kspace[0, missing:], fourier(truth)[0, missing:])
    scan = read_ismrmrd(tmp_path / "scan.h5")
    assert np.array_equal(scan.mask[0, :, 0], np.arange(columns) >= missing)
    assert_close(scan.kspace, fourier(truth) * scan.mask)


def test_asymmetric_echo_with_oversampling_is_close(tmp_path):
    """Cropping the image interpolates between samples; only next to the first sample are some missing."""
    truth = example_head(1, (48, 32))
    write_example_ismrmrd(tmp_path / "scan.h5", truth, missing_samples=21)
    scan = read_ismrmrd(tmp_path / "scan.h5")
    assert np.array_equal(scan.mask[0, :, 0], np.arange(48) >= 11)
    error = np.abs(scan.kspace - fourier(truth) * scan.mask)[0]
    assert np.linalg.norm(error) < 0.01 * np.linalg.norm(scan.kspace)
    assert error[16:].max() < 0.005 * np.abs(scan.kspace).max()


def test_only_imaging_lines_count(tmp_path):
    kspace = fourier(image(8, 6))
    other = "NOISE_MEASUREMENT PARALLEL_CALIBRATION NAVIGATION_DATA PHASECORR_DATA HPFEEDBACK_DATA DUMMYSCAN_DATA"
    other += " RTFEEDBACK_DATA SURFACECOILCORRECTIONSCAN_DATA PHASE_STABILIZATION_REFERENCE PHASE_STABILIZATION"
    flags = [getattr(ismrmrd, f"ACQ_IS_{name}") for name in other.split()]
    skipped = [line(np.full(8, 99), 1, [flag], center_sample=4) for flag in flags]
    both = [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING]
    lines = [line(kspace[:, 3], 3, both, center_sample=4), line(kspace[:, 5], 5, both[1:], center_sample=4)]
    scan = read_ismrmrd(scan_with(tmp_path / "scan.h5", [*skipped, *lines]))
    assert np.flatnonzero(scan.mask[0].all(0)).tolist() == [3, 5]
    assert_close(scan.kspace[0], kspace * scan.mask[0])


def test_samples_to_discard_and_short_lines(tmp_path):
    kspace = fourier(image(8, 6))
    padded = np.concatenate([[7, 7, 7], kspace[:, 2], [7]])
    lines = [
        line(padded, 2, discard_pre=3, discard_post=1, center_sample=7),
        line(padded[::-1], 4, [ismrmrd.ACQ_IS_REVERSE], discard_pre=1, discard_post=3, center_sample=7),
        line(kspace[2:7, 0], 0, center_sample=2),
    ]
    scan = read_ismrmrd(scan_with(tmp_path / "scan.h5", lines))
    assert_close(scan.kspace[0, :, 2], kspace[:, 2])
    assert_close(scan.kspace[0, :, 4], kspace[:, 2])
    assert np.array_equal(scan.mask[0, :, 0], [0, 0, 1, 1, 1, 1, 1, 0])
    assert_close(scan.kspace[0, :, 0], kspace[:, 0] * scan.mask[0, :, 0])


def test_averages_are_the_mean(tmp_path):
    first, second = image(8), image(8, seed=1)
    lines = [line(first, 3, center_sample=4), line(second, 3, center_sample=4), line(first, 4, center_sample=4)]
    lines[1].idx.average = 1
    scan = read_ismrmrd(scan_with(tmp_path / "scan.h5", lines))
    assert_close(scan.kspace[0, :, 3], (first + second) / 2)
    assert_close(scan.kspace[0, :, 4], first)


def test_phase_encoding_follows_the_centre_of_the_limits(tmp_path):
    truth = image(1, 8, 7)
    path = tmp_path / "scan.h5"
    write_example_ismrmrd(path, truth, lines=[2, 3, 4, 5, 6], noise_scan=False)
    # partial phase encoding: the scanner counts from its first line, DC is its line 1
    edit(path, lambda xml: xml.replace("<center>3<", "<center>1<"), kspace_encode_step_1=lambda steps: steps - 2)
    scan = read_ismrmrd(path)
    assert np.flatnonzero(scan.mask[0, 0]).tolist() == [2, 3, 4, 5, 6]
    assert_close(scan.kspace, fourier(truth) * scan.mask)


def test_readout_is_cropped_to_the_field_of_view(tmp_path):
    """An interpolated recon matrix does not change what is kept; without a field of view the matrix says it."""
    truth = image(1, 8, 6)
    path = tmp_path / "scan.h5"
    write_example_ismrmrd(path, truth)
    edit(path, lambda xml: "<x>32<".join(xml.rsplit("<x>8<", 1)))
    assert_close(read_ismrmrd(path).kspace, fourier(truth))
    write_example_ismrmrd(path, truth)
    edit(path, lambda xml: xml.replace("<x>32.0<", "<x>0.0<").replace("<x>16.0<", "<x>0.0<"))
    scan = read_ismrmrd(path)
    assert_close(scan.kspace, fourier(truth))
    assert scan.affine is None
    assert scan.encoding.pixel is None


def test_siemens_transform_has_the_other_sign(tmp_path):
    truth = image(1, 9, 6)
    path = tmp_path / "scan.h5"
    write_example_ismrmrd(path, truth)
    edit(path, lambda xml: xml.replace("InfoMRI example", "SIEMENS"))
    assert_close(read_ismrmrd(path).kspace, fourier(truth).conj())


def test_affine_of_an_oblique_stack(tmp_path):
    """By hand: pixel n // 2 of the first slice lies at its position, axes follow the three directions, LPS becomes RAS."""
    geometry = ExampleGeometry((1.5, 2.5), 4.0, 6.0, (10.0, -20.0, 30.0), (25.0, -15.0, 40.0))
    write_example_ismrmrd(tmp_path / "scan.h5", image(3, 9, 6), geometry=geometry)
    affine = read_ismrmrd(tmp_path / "scan.h5").affine
    axes, flip = geometry.axes(), np.array([-1, -1, 1])
    assert np.allclose(axes.T @ axes, np.eye(3))
    assert np.linalg.det(axes) == pytest.approx(1)
    for index in ((0, 0, 0), (4, 3, 0), (8, 5, 2)):
        offset = (np.array(index) - [4, 3, 0]) * [1.5, 2.5, 6.0]
        wanted = flip * (np.array(geometry.centre) + axes @ offset)
        assert np.allclose((affine @ [*index, 1])[:3], wanted, atol=1e-4)
    write_example_ismrmrd(tmp_path / "scan.h5", image(8, 6), geometry=ExampleGeometry(thickness=3.5))
    assert np.linalg.norm(read_ismrmrd(tmp_path / "scan.h5").affine[:3, 2]) == pytest.approx(3.5, abs=1e-5)


def test_slices_are_ordered_along_their_normal(tmp_path):
    truth, path = image(4, 8, 6), tmp_path / "scan.h5"
    write_example_ismrmrd(path, truth, geometry=None)
    numbered = read_ismrmrd(path)  # without a geometry, in the order of the numbers
    assert numbered.affine is None
    assert_close(numbered.kspace, fourier(truth))
    write_example_ismrmrd(path, truth)
    straight = read_ismrmrd(path)
    write_example_ismrmrd(path, truth[[2, 0, 3, 1]])
    with h5py.File(path) as file:
        heads = file["dataset/data"].fields("head")[()]
    places = np.stack([heads["position"][heads["idx"]["slice"] == i][-1] for i in range(4)])
    edit(path, position=lambda p: places[np.array([2, 0, 3, 1])[heads["idx"]["slice"]]])
    shuffled = read_ismrmrd(path)
    assert np.allclose(shuffled.affine, straight.affine, atol=1e-4)
    assert np.array_equal(shuffled.kspace, straight.kspace)


def test_phase_oversampling_stays_and_is_told(tmp_path):
    path = tmp_path / "scan.h5"
    write_example_ismrmrd(path, image(1, 8, 10))
    edit(path, lambda xml: "<y>15.0<".join(xml.rsplit("<y>20.0<", 1)))
    scan = read_ismrmrd(path)
    assert scan.kspace.shape == (1, 8, 10)
    assert scan.warnings == ("phase oversampling was not removed: the image spans 20 mm instead of 15 mm.",)


def test_several_coils_are_combined_with_a_warning(tmp_path, caplog):
    truth = example_head(2, (24, 20))
    write_example_ismrmrd(tmp_path / "full.h5", truth, coils=4)
    scan = read_ismrmrd(tmp_path / "full.h5")
    assert_close(scan.kspace, fourier(np.abs(truth)))  # fully sampled, the combination is the magnitude
    assert scan.coils == 4
    lines = [2, 5, 8, 9, 10, 11, 12, 17]
    write_example_ismrmrd(tmp_path / "part.h5", truth, lines, coils=4)
    with caplog.at_level(logging.WARNING):
        kspace, mask = read_kspace(tmp_path / "part.h5")
    assert "4 coils were combined by root-sum-of-squares" in caplog.text
    assert np.flatnonzero(mask[0, 0]).tolist() == lines
    images = inverse(fourier(truth[:, None] * example_sensitivities(4, (24, 20))) * mask[:, None])
    assert_close(kspace, fourier(np.sqrt((np.abs(images) ** 2).sum(1))) * mask)


def test_what_is_ismrmrd(tmp_path):
    truth = image(1, 8, 6)
    write_example_ismrmrd(tmp_path / "scan.h5", truth)
    write_example_fastmri(tmp_path / "knee.h5", truth, [1, 3])
    (tmp_path / "text.h5").write_text("no HDF5")
    found = {name: is_ismrmrd(tmp_path / f"{name}.h5") for name in ("scan", "knee", "text", "none")}
    assert found == {"scan": True, "knee": False, "text": False, "none": False}
    kspace, mask = read_kspace(tmp_path / "knee.h5")
    assert_close(kspace[0], fourier(truth)[0] * [0, 1, 0, 1, 0, 0])
    assert np.array_equal(mask[0, 0], [0, 1, 0, 1, 0, 0])


def test_lines_and_slices_that_contradict_their_header(tmp_path):
    path = tmp_path / "scan.h5"
    write_example_ismrmrd(path, image(1, 8, 6))
    edit(path, number_of_samples=lambda n: n - 2)
    refuses(ValueError, "a line holds 16 samples, its header announces 1 x 14", read_ismrmrd, path)
    write_example_ismrmrd(path, image(2, 8, 6), geometry=ExampleGeometry(angles=(0, 0, 0)), noise_scan=False)
    edit(path, phase_dir=lambda p: np.where(np.arange(12)[:, None] < 6, p, [[0, 0, 1]]))
    refuses(ValueError, "not parallel", read_ismrmrd, path)


def without_samples(content):
    """The table is whole, but the lines' samples lie in a part of the file that was overwritten."""
    return content.replace(b"GCOL", b"XXXX")


@pytest.mark.parametrize("damage", [lambda c: c[: len(c) // 3], lambda c: c[: 9 * len(c) // 10], without_samples])
def test_truncated_and_damaged_files(tmp_path, damage):
    path = tmp_path / "DOE_JANE.h5"
    write_example_ismrmrd(path, image(2, 32, 32))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(OSError, match=r"truncated|damaged") as caught:
        read_kspace(path)
    assert "DOE" not in str(caught.value)


HEADER_ERRORS = [
    ({"xml": lambda x: x.replace("cartesian", "radial")}, "must be cartesian, the header says radial"),
    ({"xml": lambda x: x.replace("cartesian", "wiggly")}, "the header says unknown"),
    ({"xml": lambda x: x.replace("<z>1<", "<z>12<", 1)}, "must be 2D, the header describes a 3D one with 12"),
    ({"xml": lambda x: x.replace("<x>16<", "<x>many<")}, "encoded matrix size must hold integers"),
    ({"xml": lambda x: x.replace("<x>8<", "<x>0<")}, "recon matrix size must hold integers"),
    ({"xml": lambda x: x.replace("</ismrmrdHeader>", "")}, "header cannot be read"),
    (
        {"xml": lambda x: x.replace("<encoding>", "<nothing>").replace("</encoding>", "</nothing>")},
        "one encoding, .* 0",
    ),
    ({"xml": lambda x: x.replace("</ismrmrdHeader>", x[x.index("<encoding>") :])}, "one encoding, .* describes 2"),
    ({"contrast": lambda c: c + np.arange(len(c)) % 2}, "must hold one contrast, it holds 2"),
    ({"set": lambda c: c + np.arange(len(c)) % 2}, "must hold one set, it holds 2"),
    ({"kspace_encode_step_2": lambda c: c + 1}, "must be 2D, lines have a second phase encoding"),
    ({"kspace_encode_step_1": lambda c: c + 1}, "outside the encoded grid of 6 lines"),
    ({"encoding_space_ref": lambda c: c + 1}, "an encoding that the header does not describe"),
    ({"active_channels": lambda c: c + np.arange(len(c)) % 2}, r"one number of coils, found \[1, 2\]"),
    ({"slice": lambda c: c * 0}, "slices are missing: the header announces 3, the lines are of 1"),
    ({"flags": lambda c: c | 1 << 18}, "no imaging line among its 19 acquisitions"),
    ({"position": lambda p: np.where(p[:, 2:] > 27, p + 4, p)}, "slices are not equally spaced"),
    ({"position": lambda p: p * 0 + 5}, "several slices lie at one place"),
    ({"position": lambda p: p + np.arange(len(p))[:, None]}, "different positions or directions"),
    ({"read_dir": lambda p: p * np.nan}, "geometry of the lines holds NaN"),
]


@pytest.mark.parametrize(("changes", "message"), HEADER_ERRORS)
def test_headers_are_refused_before_a_sample_is_read(tmp_path, changes, message):
    path = tmp_path / "scan.h5"
    write_example_ismrmrd(path, image(3, 8, 6))
    edit(path, **changes)
    for refuse in (check_ismrmrd, read_ismrmrd, check_kspace_file, read_kspace):
        refuses(ValueError, message, refuse, path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line(np.full(8, np.nan), 3, center_sample=4)], "NaN or Inf"),
        ([line(np.ones(8), 3, center_sample=3)], "lie at 1 to 8 of the readout, outside the encoded matrix of 8"),
        ([line(np.ones(9), 3, center_sample=5)], "lie at -1 to 7"),
        ([line(np.ones(8), 3, center_sample=4, discard_pre=5, discard_post=3)], "no sample beside those to discard"),
    ],
)
def test_samples_are_refused(tmp_path, lines, message):
    path = scan_with(tmp_path / "scan.h5", lines)
    check_ismrmrd(path)
    refuses(ValueError, message, read_ismrmrd, path)


@pytest.mark.parametrize("left_out", ["xml", "data"])
def test_files_without_header_or_acquisitions(tmp_path, left_out):
    write_example_ismrmrd(tmp_path / "scan.h5", image(1, 8, 6))
    with h5py.File(tmp_path / "scan.h5", "a") as file:
        del file["dataset"][left_out]
    refuses(ValueError, "lacks the ISMRMRD header or holds no acquisition", check_kspace_file, tmp_path / "scan.h5")


def test_messages_and_representation_hold_no_identifier(tmp_path):
    path = tmp_path / "scan.h5"
    write_example_ismrmrd(path, image(1, 8, 6))
    assert not any(value in repr(read_ismrmrd(path)) for value in EXAMPLE_SUBJECT.values() if len(value) > 4)
    edit(path, lambda xml: xml.replace("<patientName>", "<patientName><"))
    with pytest.raises(ValueError, match="header cannot be read") as caught:
        check_ismrmrd(path)
    assert "EXAMPLE" not in str(caught.value)


def test_header_without_limits_puts_dc_in_the_middle():
    def space(name, columns, width):
        matrix = f"<matrixSize><x>{columns}</x><y>7</y><z>1</z></matrixSize>"
        view = f"<fieldOfView_mm><x>{width}</x><y>7</y><z>3</z></fieldOfView_mm>"
        return f"<{name}>{matrix}{view}</{name}>"

    header = f"""<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><experimentalConditions>
        <H1resonanceFrequency_Hz>1</H1resonanceFrequency_Hz></experimentalConditions><encoding>
        {space("encodedSpace", 8, 16)}{space("reconSpace", 4, 8)}
        <encodingLimits/><trajectory>cartesian</trajectory></encoding><somethingNew/></ismrmrdHeader>"""
    encoding = parse_encoding(header)
    assert encoding[:5] == (8, 7, 4, 3, (2.0, 1.0))
    assert (encoding.thickness, encoding.slices, encoding.vendor) == (3.0, None, "")


def inverse(data):
    """The image of ``fourier``."""
    shifted = np.fft.ifft2(np.fft.ifftshift(data, (-2, -1)), norm="ortho")
    return np.fft.fftshift(shifted, (-2, -1))


def test_example_options(tmp_path):
    good = {"path": tmp_path / "scan.h5", "image": image(1, 8, 6)}
    refuses_each(write_example_ismrmrd, good, image=[np.ones(3)], lines=[[6], []], missing_samples=[8])
    assert not list(tmp_path.iterdir())
