"""ISMRMRD files that leave something open: which lines belong to the image, what of the readout is oversampling, which group."""

import logging

import numpy as np
import pytest
import torch
from helper import refuses, seeded

ismrmrd = pytest.importorskip("ismrmrd")
import h5py  # noqa: E402
from test_ismrmrd import assert_close, edit, fourier, inverse  # noqa: E402

from hospital.raw_scan import example_head, write_example_fastmri, write_example_ismrmrd  # noqa: E402
from infomri_monai.data.ismrmrd import is_ismrmrd, read_ismrmrd  # noqa: E402
from infomri_monai.data.kspace_file import read_kspace_file  # noqa: E402
from infomri_monai.deploy.cases import read_raw  # noqa: E402

CALIBRATION, BOTH = (
    1 << (ismrmrd.ACQ_IS_PARALLEL_CALIBRATION - 1),
    1 << (ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING - 1),
)
LINES = sorted({*range(0, 48, 3), *range(18, 30)})


def with_calibration(path, mode):
    """Every third line, and calibration lines between them in the middle, as a Siemens scan or ISMRMRD's generator marks them."""
    truth = example_head(2, (48, 48))
    write_example_ismrmrd(path, truth, LINES)
    flags = {line: BOTH if line % 3 == 0 else CALIBRATION for line in range(18, 30)}
    with h5py.File(path) as file:
        steps = file["dataset/data"].fields("head")[()]["idx"]["kspace_encode_step_1"]
    change = np.array([0, *(flags.get(int(step), 0) for step in steps[1:])], np.uint64)  # the noise scan comes first
    steps = "".join(f"<kspace_encoding_step_{axis}>{by}</kspace_encoding_step_{axis}>" for axis, by in ((1, 3), (2, 1)))
    factor = f"<accelerationFactor>{steps}</accelerationFactor>"
    parts = factor + (f"<calibrationMode>{mode}</calibrationMode>" if mode else "")
    added = f"</trajectory><parallelImaging>{parts}</parallelImaging>"
    edit(path, lambda xml: xml.replace("</trajectory>", added), flags=lambda before: before | change)
    return truth


@pytest.mark.parametrize(
    ("mode", "kept", "warns"), [("embedded", True, 0), ("separate", False, 0), ("", False, 1), ("other", False, 1)]
)
def test_embedded_calibration_lines_belong_to_the_image(tmp_path, caplog, mode, kept, warns):
    truth = with_calibration(tmp_path / "scan.h5", mode)
    with caplog.at_level(logging.INFO):
        scan = read_ismrmrd(tmp_path / "scan.h5")
    wanted = [line for line in LINES if kept or line % 3 == 0]
    assert np.flatnonzero(scan.mask[0, 0]).tolist() == wanted
    assert_close(scan.kspace, fourier(truth) * scan.mask)
    assert len(scan.warnings) == warns
    assert ("16 calibration" in caplog.text) is not kept
    assert "left out: " in caplog.text
    assert "1 noise" in caplog.text
    error = np.abs(np.abs(inverse(scan.kspace)) - np.abs(truth))
    psnr = -20 * np.log10(np.sqrt((error**2).mean()) / np.abs(truth).max())
    assert bool(psnr > 16) is kept  # zero-filled: 22 dB with them, 11 without


def test_counters_that_a_reader_would_mix_in_silence(tmp_path):
    """A line that is measured again in another segment is no average; lines of two directions lack their correction."""
    path, truth = tmp_path / "scan.h5", example_head(1, (16, 16))
    write_example_ismrmrd(path, truth, averages=2, reverse=True)
    assert read_ismrmrd(path).warnings == ()
    edit(path, average=lambda a: a * 0, segment=lambda s: np.arange(len(s)) % 2)
    assert read_ismrmrd(path).warnings == (
        "16 lines repeat others without being counted as averages; they were averaged.",
    )
    write_example_ismrmrd(path, truth, reverse=True)
    correction = 1 << (ismrmrd.ACQ_IS_PHASECORR_DATA - 1)
    edit(path, flags=lambda f: np.where(np.arange(len(f)) == 0, correction, f))
    assert "no phase correction is made" in read_ismrmrd(path).warnings[0]
    for counter in ("repetition", "phase"):
        write_example_ismrmrd(path, truth)
        edit(path, **{counter: lambda c: np.arange(len(c)) % 2})
        refuses(ValueError, f"must hold one {counter}, it holds 2", read_ismrmrd, path)


def recon(name, value):
    """Change the recon space in a header."""
    return lambda xml: f"<x>{value}<".join(xml.rsplit(f"<x>{name}<", 1))


def wide(head, noise, seed=0):
    """A head that needs the whole readout: nothing of it is oversampling."""
    return head + noise * torch.randn(head.shape, dtype=torch.complex64, generator=seeded(seed)).numpy()


@pytest.mark.parametrize("noise", [0, 0.02])
@pytest.mark.parametrize("fact", ["views", "matrices", "only matrices", "both"])
@pytest.mark.parametrize("oversampled", [True, False])
def test_contradicting_facts_never_cut_a_head(tmp_path, fact, oversampled, noise):
    """The fields of view say twofold oversampling and the matrices none, or the other way round; the samples decide."""
    truth, path = example_head(2, (48, 40)), tmp_path / "scan.h5"
    padded = np.pad(truth, ((0, 0), (24, 24), (0, 0))) if oversampled else example_head(8, (96, 90))[3:5]
    write_example_ismrmrd(path, wide(padded, noise), oversampling=1)
    # both fields of view are 192 mm, both matrices 96
    if fact in ("views", "both"):
        edit(path, recon("192.0", "96.0"))
    if fact != "views":
        edit(path, recon("96", "48"))
    if fact == "only matrices":
        edit(path, lambda xml: xml.replace("<x>192.0<", "<x>0.0<"))
    scan = read_ismrmrd(path)
    cropped = oversampled or fact == "both"  # two facts that agree are believed
    assert scan.kspace.shape[:2] == (2, 48 if cropped else 96)
    if cropped == oversampled:
        error = inverse(scan.kspace) - (truth if oversampled else padded)
        assert np.abs(error).mean() < 2 * noise + 1e-5
    told = [text for text in scan.warnings if "contradicts" in text]
    assert len(told) == (fact in ("views", "matrices") or (fact == "only matrices" and not oversampled))
    if told:
        assert ("nothing but noise" in told[0]) is oversampled
        pixel = np.linalg.norm(scan.affine[:3, 0]) if scan.affine is not None else None
        assert pixel in (
            None,
            pytest.approx(
                2.0 if fact == "views" and oversampled else (4.0 if oversampled else (1.0 if fact == "views" else 2.0))
            ),
        )


def test_a_fastmri_file_whose_header_contradicts_itself_says_so(tmp_path):
    """All of its readout is kept; the samples tell the size of a pixel."""
    path = tmp_path / "knee.h5"
    write_example_fastmri(path, example_head(8, (96, 90))[3:5], pixel=(2.0, 2.0))
    with h5py.File(path, "a") as file:
        xml = file["ismrmrd_header"][()].decode()
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = recon("192.0", "96.0")(xml)
    case = read_raw(path, 1)
    assert any("contradicts" in text and "signal there" in text for text in case.warnings)
    assert np.linalg.norm(case.affine[:3, 0]) == pytest.approx(1.0) or np.linalg.norm(
        case.affine[:3, 1]
    ) == pytest.approx(1.0)
    assert case.data.shape == (1, 96, 90, 2)


def test_a_wrong_centre_line_is_told(tmp_path):
    path, truth = tmp_path / "scan.h5", example_head(2, (48, 48))
    write_example_ismrmrd(path, truth, range(12, 36), coils=2)
    assert len(read_ismrmrd(path).warnings) == 1  # several coils
    edit(path, lambda xml: xml.replace("<center>24<", "<center>14<"))
    (text,) = [text for text in read_kspace_file(path).warnings if "not centred" in text]
    assert "34 of 48 (expected 24) along axis -1" in text
    assert "correct the centre in its header" in text


def test_groups_of_other_names(tmp_path):
    path, truth = tmp_path / "scan.h5", example_head(1, (16, 16))
    write_example_ismrmrd(path, truth)
    with h5py.File(path, "a") as file:
        file.move("dataset", "DOE^JANE")
        file.create_group("images")["data"] = np.ones(3)
    assert is_ismrmrd(path)
    assert_close(read_ismrmrd(path).kspace, fourier(truth))
    with h5py.File(path, "a") as file:
        file.copy("DOE^JANE", "dataset_2")
    refuses(ValueError, "one group with an ISMRMRD header, it holds number 1, dataset_2", read_kspace_file, path)
