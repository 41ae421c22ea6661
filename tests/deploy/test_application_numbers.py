"""Numbers in the applications' DICOM objects are those of ``python -m monai.bundle run`` on the same input."""

from __future__ import annotations

import json

import highdicom
import nibabel
import numpy as np
import pytest
from application_runs import CASES, DICOM, NAMES, SHAPES
from reading_objects import Grid, datasets, evaluations, grid_of, numbers, on_grid, volume

every_case = pytest.mark.parametrize("case", CASES)


def both(runs, name, case, dicom, what):
    """The voxels of an application's object, as highdicom reads them, and the bundle's at the same places; classes last.

    From DICOM these are places in the patient: the command was told to swap the axes of the image, and wrote NIfTI files whose
    affine is swapped as well. Raw k-space has no places for the command: voxels are compared by their index, readout first; of
    fastMRI's arrays, which have no geometry, the readout runs down the DICOM image.
    """
    folder = runs.application(name).case(case)
    image = nibabel.load(runs.bundle(name) / f"{NAMES[case]}_{what}.nii.gz")
    array, affine = np.asanyarray(image.dataobj), image.affine
    if case in DICOM:
        columns, rows, slices = SHAPES[case]
        assert array.shape[:3] == (rows, columns, slices)
        grid = Grid(affine, array.shape[:3])
    else:
        assert array.shape[:3] == SHAPES[case]
        assert np.array_equal(affine, np.eye(4))
        grid = grid_of(datasets(folder / ("reconstruction" if name == "reconstruction" else "zero_filled")))
    found, distance = on_grid(volume(folder / dicom), grid)
    found = found.swapaxes(0, 1) if case == "fastmri" else found
    assert distance < 1e-3  # that of the affine in NIfTI's float32, too
    assert found.dtype != np.float16
    return found, array


def sidecar(runs, name, case):
    """The JSON file of the bundle's command."""
    return json.loads((runs.bundle(name) / f"{NAMES[case]}.json").read_text())


@every_case
def test_the_reconstruction_is_the_bundles(runs, case):
    found, mean = both(runs, "reconstruction", case, "reconstruction", "mean")
    assert mean.dtype == np.float32
    bound = float(mean.max() - mean.min()) / 65535 / 2  # of 16 bits, see infomri_monai.deploy.dicom.geometry
    rounding = 1e-9 * float(np.abs(mean).max())  # of slope and intercept, there too
    error = np.abs(found - mean.astype(np.float64)).max()
    assert error <= bound + rounding
    assert error > bound / 10  # the bound is about this image
    assert float(mean.std()) > 1000 * bound


@every_case
@pytest.mark.parametrize(("name", "what"), [("reconstruction", "sigma"), ("segmentation", "entropy")])
def test_a_map_is_the_bundles(runs, name, what, case):
    found, values = both(runs, name, case, f"{what}.dcm", what)
    assert found.dtype == values.dtype == np.float32
    np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-7)
    assert values.max() > (0.3 if what == "entropy" else 0)


@every_case
def test_the_majority_is_the_bundles(runs, case):
    found, labels = both(runs, "segmentation", case, "segmentation.dcm", "segmentation")
    assert found.shape == (*labels.shape, 3)
    for number in (1, 2, 3):
        assert np.array_equal(found[..., number - 1], labels == number)
        assert (labels == number).sum() > 50


@every_case
def test_probabilities_are_the_bundles(runs, case):
    found, probability = both(runs, "segmentation", case, "probability.dcm", "probability")
    assert probability.shape == (*found.shape[:3], 4)  # with the background
    error = np.abs(found - probability[..., 1:]).max()
    assert 1 / 1000 < error <= 1 / 510 + 1e-5


@every_case
def test_the_triage_report_has_the_bundles_numbers(runs, case):
    report = highdicom.sr.srread(runs.application("segmentation").case(case) / "triage.dcm")
    wanted = sidecar(runs, "segmentation", case)
    unit = 1.0
    if case not in DICOM:
        # the command counts voxels of raw k-space; ISMRMRD's geometry, of which fastMRI's has none, gives mm3: 2 x 2 x 5 mm
        assert wanted["volume_unit"] == "voxels"
        unit = 20.0 if case == "ismrmrd" else 1.0
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == list(wanted["volumes"])
    for group, volumes in zip(groups, wanted["volumes"].values(), strict=True):
        low, high = volumes["interval_90"]
        known = {"Median": volumes["median"], "5th percentile": low, "95th percentile": high}
        found = numbers(group)
        assert {how: value / unit for (_, how), (value, _) in found.items()} == pytest.approx(known, rel=1e-5)
        assert {of for _, of in found.values()} == {"{voxels}" if case == "fastmri" else "mm3"}
    (whole,) = report.content.get_image_measurement_groups()
    known = {
        "Agreement: mean pairwise Dice coefficient of the samples": wanted["agreement"],
        "Mean predictive entropy per pixel": wanted["mean_entropy"],
        "Number of posterior samples": 16,
        "Sampling ratio, mean over slices and masks": wanted["ratio_realised"],
    }
    found = {name: value for (name, _), (value, _) in numbers(whole).items()}
    assert {name: found[name] for name in known} == pytest.approx(known, rel=1e-5)
    summary = json.loads((runs.application("segmentation").output / "summary.json").read_text())
    (warnings,) = [row["warnings"] for row in summary["cases"] if row["case"] == CASES[case]]
    assert bool(warnings) is (case not in DICOM)
    answer = evaluations(whole)["A person must review the segmentation"].meaning
    assert answer == ("Yes" if warnings or wanted["review"] else "No")  # what has a warning goes to review


@every_case
def test_the_diagnosis_is_the_bundles(runs, case):
    report = highdicom.sr.srread(runs.application("privacy_classification").case(case) / "report.dcm")
    wanted = sidecar(runs, "privacy_classification", case)
    *labels, whole = report.content.get_image_measurement_groups()
    assert [group.tracking_identifier for group in labels] == wanted["labels"]
    for group, value in zip(labels, wanted["probabilities"].values(), strict=True):
        assert numbers(group) == {("Probability", None): (pytest.approx(value, abs=1e-5), "1")}
    found = {name: value for (name, _), (value, _) in numbers(whole).items()}
    assert found["Predictive entropy"] == pytest.approx(wanted["entropy"], abs=1e-5)
    assert found["Sampling ratio, mean over slices and masks"] == pytest.approx(wanted["ratio_realised"], rel=1e-5)
    assert found["Number of sampling masks"] == wanted["masks"] == 1
    assert evaluations(whole)["Most probable label"].meaning == wanted["most_probable"]
