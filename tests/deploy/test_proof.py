"""The proof that results are in a PACS fails where they are not, or not as they must be."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from helper import refuses

pytest.importorskip("highdicom")
from derived_cases import DERIVATION, image_case
from pacs_helper import as_file, secrets

from hospital.proof import prove
from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.dicom.mr_series import mr_series
from infomri_monai.deploy.dicom.parametric_map import parametric_map
from infomri_monai.deploy.dicom.segmentation import binary_segmentation


@pytest.fixture(params=["classic", "enhanced"])
def results(request):
    """Sources; and of them a segmentation, a map and a series of images, the reports being for the tests of the pipeline."""
    case = image_case(request.param)
    given = case.affine, case.source, DERIVATION
    mask = (case_image(case) > 0).astype("uint8")
    segmentation = binary_segmentation(mask, ["brain"], *given, 901)
    entropy = parametric_map(case_image(case), *given, "entropy", 902)
    images = mr_series(case_image(case), case.affine, case.source, DERIVATION, 903)
    made = [as_file(dataset) for dataset in (segmentation, entropy, *images)]
    return [as_file(dataset) for dataset in case.instances], made


def case_image(case):
    columns, rows, slices = case.shape
    return 1.0 + np.indices((columns, rows, slices)).sum(0)


def proved(sources, made, stored, found=1):
    """What is proved of a PACS that has ``stored``, as files."""
    series = len({dataset.SeriesInstanceUID for dataset in stored})
    return prove(found, series, sources, made, [as_file(dataset) for dataset in stored])


def test_holds(results):
    sources, made = results
    words = proved(sources, made, [*sources, *made])
    assert words[0] == f"queries find the patient's study with 4 series, {len(sources) + len(made)} instances"
    assert words[1].endswith("1 x Segmentation Storage, 1 x Parametric Map Storage, 4 x MR Image Storage")
    assert words[3].startswith("12 frames lie on the slices")


def _other_patient(dataset):
    dataset.PatientName = "ROE^RICHARD"


def _other_study(dataset):
    dataset.StudyID = "OTHER"


def _other_frame_of_reference(dataset):
    dataset.FrameOfReferenceUID = "1.2.3"


def _no_reference(dataset):
    for element in dataset.iterall():
        if element.keyword == "ReferencedSOPInstanceUID":
            element.value = "1.2.3"


def _moved(dataset):
    frame = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    frame.ImagePositionPatient = [frame.ImagePositionPatient[0] + 0.001, *frame.ImagePositionPatient[1:]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_other_patient, "result 1 has another PatientName than its source"),
        (_other_study, "result 1 has another StudyID than its source"),
        (_other_frame_of_reference, "result 1 has another frame of reference"),
        (_moved, "a frame lies 0.001 mm from its source's slice"),
        (_no_reference, "refers to a slice that is not of the source"),
    ],
)
def test_damaged_results(results, damage, message):
    sources, made = results
    damage(made[0])
    with pytest.raises(DeployError, match=message) as raised:
        proved(sources, made, [*sources, *made])
    assert not any(secret in str(raised.value) for secret in secrets(sources))


def test_not_stored_changed_or_not_found(results):
    sources, made = results
    number = len(sources) + len(made)
    with pytest.raises(DeployError, match=f"the PACS has {number - 1} instances of the study, not the {number} stored"):
        proved(sources, made, [*sources, *made[1:]])
    stored = copy.deepcopy(made)
    stored[0].SeriesDescription = "another"
    refuses(DeployError, "result 1 did not come back as it was made", proved, sources, made, [*sources, *stored])
    refuses(DeployError, "finds the study 0 times", proved, sources, made, [*sources, *made], found=0)
