"""The example series: valid by dicom3tools, of one anatomy in both kinds, with the geometry that was asked for."""

import doctest
import importlib
import shutil
import subprocess

import numpy as np
import pytest
from helper import refuses
from series_files import assert_no_identifier

from hospital.mr_series import KINDS, ExamplePatient, example_datasets, main, write_example_series

pydicom = pytest.importorskip("pydicom")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"oblique": False, "grid": (48, 32), "aspect": 1.5}], ids=["oblique", "axial"])
def test_dciodvfy_finds_no_error(tmp_path, kind, options):
    for path in write_example_series(tmp_path, kind, slices=3, **options):
        run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        report = run.stdout + run.stderr
        assert "MRImage" in report  # it recognised the object
        assert "Error" not in report


@pytest.mark.parametrize("kind", KINDS)
def test_one_seed_gives_one_series_to_the_byte(tmp_path, kind):
    first, again, other = (
        [path.read_bytes() for path in write_example_series(tmp_path / name, kind, slices=2, grid=(32, 48), seed=seed)]
        for name, seed in (("first", 3), ("again", 3), ("other", 4))
    )
    assert first == again != other


def test_both_kinds_have_the_same_pixels_study_and_frame_of_reference():
    classic, (enhanced,) = (
        example_datasets(slices=3, grid=(48, 32)),
        example_datasets("enhanced", slices=3, grid=(48, 32)),
    )
    np.testing.assert_array_equal(np.stack([d.pixel_array for d in classic]), enhanced.pixel_array)
    assert enhanced.pixel_array.shape == (3, 32, 48)
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert {d[keyword].value for d in classic} == {enhanced[keyword].value}
    assert classic[0].SeriesInstanceUID != enhanced.SeriesInstanceUID
    assert len({d.SOPInstanceUID for d in classic}) == 3


@pytest.mark.parametrize(("oblique", "aspect"), [(True, 1.0), (True, 1.5), (False, 0.75)])
def test_geometry_is_what_was_asked_for(oblique, aspect):
    datasets = example_datasets(slices=3, grid=(40, 48), oblique=oblique, aspect=aspect, spacing=5.0)
    row, column = np.reshape(datasets[0].ImageOrientationPatient, (2, 3)).astype(float)
    normal = np.cross(row, column)
    np.testing.assert_allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=1e-12)
    assert (np.abs(np.stack([row, column, normal])).max() < 1) == oblique
    positions = np.array([d.ImagePositionPatient for d in datasets], dtype=float)
    np.testing.assert_allclose(np.diff(positions, axis=0), np.stack([5 * normal] * 2), atol=1e-9)
    rows, columns = map(float, datasets[0].PixelSpacing)
    assert rows / columns == pytest.approx(aspect)
    centre = positions.mean(0) + row * columns * (40 - 1) / 2 + column * rows * (48 - 1) / 2
    np.testing.assert_allclose(centre, 0, atol=1e-9)


def test_the_heads_shape_in_millimetres_does_not_depend_on_the_pixels():
    """Heads are longer than wide; pixels of another shape keep that."""
    for aspect in (1.0, 1.5):
        dataset = example_datasets(slices=1, grid=(64, 64), aspect=aspect)[0]
        inside = dataset.pixel_array > 800
        rows, columns = map(float, dataset.PixelSpacing)
        extent = np.ptp(np.flatnonzero(inside.any(1))) * rows, np.ptp(np.flatnonzero(inside.any(0))) * columns
        assert 1.1 < extent[0] / extent[1] < 1.6
        assert 130 < extent[0] < 215


def test_own_anatomy_and_patient():
    images = np.random.default_rng(0).random((2, 16, 20))
    datasets = example_datasets(images=images, patient=ExamplePatient(name="ROE^RICHARD"))
    assert [str(d.PatientName) for d in datasets] == ["ROE^RICHARD"] * 2
    stored = np.stack([d.pixel_array for d in datasets])
    np.testing.assert_allclose(stored / stored.max(), images / images.max(), atol=0.5 / 4095 + 1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "modern"}, "kind must be one of"),
        ({"aspect": 3}, r"aspect must lie in \[0.5, 2\], got 3"),
        ({"spacing": 0}, "spacing must be positive, got 0"),
        ({"slices": 17}, r"slices_per_subject must lie in \[1, 16\], got 17"),
        ({"grid": (8, 64)}, "grid must lie in"),
        ({"images": np.ones((4, 4))}, r"images must have the shape \(slices, rows, columns\), got \(4, 4\)"),
        ({"images": -np.ones((1, 4, 4))}, "images must be finite and not negative"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path, options, message):
    refuses(ValueError, message, write_example_series, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_command_line(tmp_path, capsys):
    main([str(tmp_path / "out"), "--kind", "enhanced", "--slices", "2", "--grid", "48", "32", "--seed", "7", "--axial"])
    (path,) = (tmp_path / "out").iterdir()
    dataset = pydicom.dcmread(path)
    assert (dataset.NumberOfFrames, dataset.Columns, dataset.Rows) == (2, 48, 32)
    assert_no_identifier(capsys.readouterr().out, [dataset])
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path), "--slices", "0"])
    assert caught.value.code == 2
    assert "slices_per_subject must lie in" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mr_series", "raw_scan", "result"])
def test_examples_in_docstrings(name):
    """No requirement of the package's own, so pytest does not collect them where the extra `deploy` is not installed."""
    for package in ("ismrmrd", "highdicom"):
        pytest.importorskip(package)
    failed, tried = doctest.testmod(
        importlib.import_module(f"hospital.{name}"), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    assert tried
    assert not failed


def test_raw_scans_of_the_command_line(tmp_path):
    pytest.importorskip("ismrmrd")
    from hospital.raw_scan import main as write_scans

    write_scans([str(tmp_path / "out"), "--slices", "2"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["fastmri.h5", "scan.h5"]
