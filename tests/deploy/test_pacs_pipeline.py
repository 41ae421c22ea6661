"""From a PACS and back into it: a study is stored, fetched, processed, and its results open in Orthanc where they belong."""

from __future__ import annotations

import importlib
import json
import urllib.request
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

pytest.importorskip("highdicom")
import pydicom
from pacs_helper import as_file, new_study, secrets, written
from PIL import Image
from validate import assert_valid_dicom

from hospital.programs import fetch, find, search, store
from hospital.proof import prove
from hospital.result import read_result, recognised
from infomri_monai.data.dicom.series import find_series
from infomri_monai.deploy.bundle import DeployBundle, volume_of
from infomri_monai.deploy.cases import find_cases
from infomri_monai.deploy.dicom.save import save_objects

ROOT = Path(__file__).parents[2]
BUNDLES = {
    "reconstruction": ("reconstruction", "infomri_recon"),
    "segmentation": ("segmentation", "infomri_segmentation"),
    "privacy_classification": ("classification", "infomri_privacy_classification"),
}
#: application, kind of the series, how it is stored and fetched, how the results are stored and fetched (C-GET brings
#: no parametric maps)
JOURNEYS = (
    ("segmentation", "classic", "get", "web"),
    ("segmentation", "enhanced", "web", "move"),
    ("reconstruction", "classic", "web", "move"),
    ("reconstruction", "enhanced", "move", "web"),
    ("privacy_classification", "classic", "move", "get"),
    ("privacy_classification", "enhanced", "web", "web"),
)
SLICES = 3
#: series of results: SEG, probability, entropy, report; images and sigma; report
SERIES = {"segmentation": 4, "reconstruction": 2, "privacy_classification": 1}


class Journey(NamedTuple):
    """What was stored, fetched, said and made; ``back`` are the results as the PACS gave them."""

    application: str
    sent: list[Any]
    case: Any
    result: Any
    made: list[Any]
    words: list[str]
    folder: Path
    back: list[Any]
    bundle: Any


@cache
def bundle_of(application):
    """With the settings of the application's app.yaml."""
    task, name = BUNDLES[application]
    settings = yaml.safe_load((ROOT / "infomri_monai/deploy" / application / "app.yaml").read_text())
    return DeployBundle(ROOT / "bundles" / name, task, settings["bundle"])


def every(*applications):
    """All journeys, or those of some applications."""
    ways = [way for way in JOURNEYS if not applications or way[0] in applications]
    return pytest.mark.parametrize("way", ways, ids="-".join)


@pytest.fixture(scope="module")
def travel(orthanc, tmp_path_factory):
    """Makes a journey, once."""
    return cache(partial(_travel, orthanc, tmp_path_factory))


@pytest.fixture
def journey(travel, way):
    """The journey of a test that is marked by ``every``."""
    return travel(*way)


def _travel(orthanc, tmp_path_factory, application, kind, there, home):
    """There and back."""
    folder, sent = tmp_path_factory.mktemp("journey"), new_study(SLICES, kind)
    study, patient = str(sent[0].StudyInstanceUID), str(sent[0].PatientID)
    store(orthanc, there, written(sent, folder / "sent"))
    fetch(orthanc, there, folder / "received", study)
    cases, notes = find_cases(folder / "received")
    assert (len(cases), notes) == (1, [])
    case, bundle = cases[0](1), bundle_of(application)
    inference = bundle(case)
    build = importlib.import_module(f"infomri_monai.deploy.{application}.objects").build_objects
    save_objects(build(case, inference, bundle), folder / "output")
    paths = sorted((folder / "output").rglob("*.dcm"))
    store(orthanc, home, paths)
    made = [pydicom.dcmread(path) for path in paths]
    back = [pydicom.dcmread(path) for path in fetch(orthanc, home, folder / "back", study)]
    found = [str(answer.StudyInstanceUID) for answer in find(orthanc, "STUDY", PatientID=patient, StudyInstanceUID="")]
    words = prove(found.count(study), len(search(orthanc, "series", "--study", study)), sent, made, back)
    uids = {dataset.SOPInstanceUID for dataset in made}
    results = [dataset for dataset in back if dataset.SOPInstanceUID in uids]
    return Journey(application, sent, case, inference.result, made, words, folder, results, bundle)


@pytest.fixture
def ask(orthanc):
    """Ask Orthanc's own interface, which has no proxy between."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(path, data=None, accept="application/json"):
        request = urllib.request.Request(orthanc.http_url + path, data, {"Accept": accept})
        with opener.open(request, timeout=300) as answer:
            return answer.read()

    return get


def identifier(ask, uid):
    """Orthanc's own name of an instance."""
    (found,) = json.loads(ask("/tools/lookup", str(uid).encode()))
    assert found["Type"] == "Instance"
    return found["ID"]


@every()
def test_the_proof_holds(journey):
    frames = {"segmentation": 3 * SLICES * 2 + SLICES, "reconstruction": 2 * SLICES, "privacy_classification": 0}
    text = "\n".join(journey.words)
    assert f"{1 + SERIES[journey.application]} series, {len(journey.sent) + len(journey.made)} instances" in text
    sources = f"all {len(journey.sent)} source instances" if len(journey.sent) > 1 else "1 source instance"
    assert f"every series refers to {sources}\n" in text
    said = int(journey.words[-1].split()[0])
    assert said <= frames[journey.application]  # frames without a structure are left out
    assert (said > 0) == (journey.application != "privacy_classification")
    assert not any(secret in text for secret in secrets(journey.sent))


@every()
def test_orthanc_has_them_in_the_patients_study(journey, ask):
    header = as_file(journey.sent[0])
    source = identifier(ask, header.SOPInstanceUID)
    above = {level: json.loads(ask(f"/instances/{source}/{level}")) for level in ("patient", "study")}
    assert above["patient"]["MainDicomTags"]["PatientName"] == str(header.PatientName)
    for dataset in journey.made:
        own = identifier(ask, dataset.SOPInstanceUID)
        for level, expected in above.items():
            assert json.loads(ask(f"/instances/{own}/{level}"))["ID"] == expected["ID"]
        series = json.loads(ask(f"/instances/{own}/series"))
        assert series["MainDicomTags"]["Modality"] == dataset.Modality
        assert series["ID"] != json.loads(ask(f"/instances/{source}/series"))["ID"]


@every("segmentation", "reconstruction")
def test_images_open_in_orthanc(journey, ask):
    """Those with whole-numbered pixels, as its viewer shows them; a report has no image."""
    for dataset in journey.made:
        if "PixelData" in dataset:
            name = identifier(ask, dataset.SOPInstanceUID)
            with Image.open(BytesIO(ask(f"/instances/{name}/preview", accept="image/png"))) as picture:
                assert picture.size == (dataset.Columns, dataset.Rows)
                assert np.asarray(picture).any()


@every()
def test_results_come_back_valid(journey):
    assert len(journey.back) == len(journey.made)
    for path in (journey.folder / "back").iterdir():
        assert_valid_dicom(path)


@every("segmentation")
def test_the_segmentation_is_read_by_its_references(journey):
    candidates = find_series(journey.folder / "back")
    assert len(candidates.candidates) == 1  # results are no further cases
    assert candidates.notes == ("passed over series that are no MR images to process: 1 MR, 2 SEG, 1 SR",)
    read = read_result(candidates.candidates[0], recognised(journey.back))
    case, bundle, result = journey.case, journey.bundle, journey.result
    np.testing.assert_array_equal(read.images, case.data[0].numpy().transpose(2, 1, 0))
    labels = volume_of(result.segmentation, case, bundle).transpose(2, 1, 0)
    np.testing.assert_array_equal(read.masks, np.stack([labels == n for n in (1, 2, 3)]))
    probabilities = volume_of(result.class_probabilities, case, bundle, 1).transpose(0, 3, 2, 1)[1:]
    np.testing.assert_allclose(read.probabilities, probabilities, rtol=0, atol=1 / 510 + 1e-5)
    entropy = volume_of(result.entropy, case, bundle).transpose(2, 1, 0)
    np.testing.assert_allclose(read.entropy, entropy, rtol=0, atol=1e-5)
