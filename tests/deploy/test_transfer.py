"""Studies go into Orthanc and come back, by every way, with what can go wrong on the way."""

from __future__ import annotations

import logging
import os
import signal
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom
import pytest
from pacs_helper import WAYS, assert_same, client, new_study, study_of
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate

from infomri_monai.deploy.case import EXIT_NOTHING_TO_DO, EXIT_USAGE, DeployError
from infomri_monai.deploy.pacs import dicomweb, pushing
from infomri_monai.deploy.pacs.inbox import Inbox
from infomri_monai.deploy.pacs.orthanc import LocalPacs, free_port, local_orthanc
from infomri_monai.deploy.pacs.presentation import DOCUMENTS, IMAGES
from infomri_monai.deploy.pacs.pushing import (
    GONE,
    LOST,
    PushOutcome,
    readable_instance,
)
from infomri_monai.deploy.pacs.records import StudyQuery

if TYPE_CHECKING:
    from conftest import Silent

pytestmark = pytest.mark.parametrize("way", WAYS)


def encoded(dataset: Dataset, syntax: str) -> Dataset:
    """A copy with a new instance UID in another encoding; the pixels of compressed ones are not decodable."""
    copy = deepcopy(dataset)
    copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    copy.file_meta.TransferSyntaxUID = uid.UID(syntax)
    if copy.file_meta.TransferSyntaxUID.is_compressed and syntax != uid.DeflatedExplicitVRLittleEndian:
        copy.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(range(64))])
        copy["PixelData"].VR = "OB"
        copy["PixelData"].is_undefined_length = True
    return copy


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_comes_back_as_it_was_sent(way: str, kind: str, orthanc: LocalPacs, tmp_path: Path, silent: Silent) -> None:
    sent = new_study(kind=kind)
    archive = client(way, orthanc)
    report = archive.push(sent)
    assert report.outcomes == tuple(PushOutcome(number, True) for number in range(1, len(sent) + 1))
    pulled = archive.pull(study_of(sent), tmp_path / "study")
    assert [path.name for path in pulled] == [f"{number:05d}.dcm" for number in range(1, len(sent) + 1)]
    assert_same(pulled, sent)
    assert [path.name for path in tmp_path.iterdir()] == ["study"]
    silent(sent)


def test_files_are_stored_too_and_twice_is_no_harm(
    way: str, orthanc: LocalPacs, tmp_path: Path, silent: Silent
) -> None:
    sent = new_study()
    files = [tmp_path / f"SECRET-{index}.dcm" for index in range(len(sent))]
    for file, dataset in zip(files, sent, strict=True):
        dataset.save_as(file, enforce_file_format=True)
    archive = client(way, orthanc)
    archive.push(files).check()
    archive.push([str(file) for file in files]).check()
    assert_same(archive.pull(study_of(sent), tmp_path / "study"), sent)
    silent(sent)


def test_encodings_are_kept(way: str, orthanc: LocalPacs, tmp_path: Path) -> None:
    """Every transfer syntax that Orthanc 1.10 knows, in one series; nothing is decoded on the way."""
    template = new_study(1)[0]
    names = ["ImplicitVRLittleEndian", "ExplicitVRLittleEndian", "DeflatedExplicitVRLittleEndian", "RLELossless"]
    names += ["JPEGBaseline8Bit", "JPEGExtended12Bit", "JPEGLosslessSV1", "JPEGLossless", "JPEGLSLossless"]
    names += ["JPEGLSNearLossless", "JPEG2000Lossless", "JPEG2000"]
    sent = [encoded(template, getattr(uid, name)) for name in names]
    archive = client(way, orthanc)
    archive.push(sent).check()
    assert_same(archive.pull(study_of(sent), tmp_path / "study"), sent)


def test_every_sop_class(way: str, orthanc: LocalPacs, tmp_path: Path) -> None:
    """MR, SEG, parametric maps, structured reports...: each a series of its own."""
    template = new_study(1)[0]
    sent = []
    for name in IMAGES + DOCUMENTS:
        dataset = encoded(template, uid.ExplicitVRLittleEndian)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = getattr(uid, name)
        dataset.SeriesInstanceUID = uid.generate_uid()
        sent.append(dataset)
    archive = client(way, orthanc)
    archive.push(sent).check()
    assert len(archive.find_series(study_of(sent))) == len(sent)
    assert_same(archive.pull(study_of(sent), tmp_path / "study"), sent)


def test_some_series(way: str, orthanc: LocalPacs, tmp_path: Path) -> None:
    wanted, other = new_study(), new_study()
    for dataset in other:
        dataset.StudyInstanceUID = study_of(wanted)
        dataset.Modality = "OT"
    archive = client(way, orthanc)
    archive.push([*wanted, *other]).check()
    found = archive.find_series(study_of(wanted))
    assert {(series.series_uid, series.modality, series.instances) for series in found} == {
        (wanted[0].SeriesInstanceUID, "MR", 3),
        (other[0].SeriesInstanceUID, "OT", 3),
    }
    assert_same(archive.pull(study_of(wanted), tmp_path / "mr", [wanted[0].SeriesInstanceUID]), wanted)
    assert_same(archive.pull(study_of(wanted), tmp_path / "all"), [*wanted, *other])
    with pytest.raises(DeployError, match="holds 1 of the 2 series wanted; it has 2") as raised:
        archive.pull(study_of(wanted), tmp_path / "none", [wanted[0].SeriesInstanceUID, "1.2.3"])
    assert raised.value.code == EXIT_NOTHING_TO_DO
    assert not (tmp_path / "none").exists()


def test_studies_are_found(way: str, orthanc: LocalPacs) -> None:
    datasets = new_study()
    patient, day = f"FIND-{os.urandom(6).hex()}", "20240229"
    for dataset in datasets:
        dataset.PatientID, dataset.StudyDate = patient, day
    archive = client(way, orthanc)
    archive.push(datasets).check()
    query = StudyQuery(patient_id=patient, date="20240201-20240301", modality="MR")
    (study,) = archive.find_studies(query)
    assert (study.study_uid, study.patient_id, study.date) == (study_of(datasets), patient, day)
    assert (study.modalities, study.series, study.instances) == (("MR",), 1, 3)
    assert repr(study) == "StudyRecord(modalities=('MR',), series=1, instances=3)"
    assert patient not in repr(query)
    assert archive.find_studies(StudyQuery(patient_id=patient, modality="CT")) == ()
    assert archive.find_studies(StudyQuery(patient_id=patient, date="20240301-")) == ()


def test_no_more_studies_than_the_limit(way: str, orthanc: LocalPacs) -> None:
    archive = client(way, orthanc)
    for _ in range(4):
        archive.push(new_study(1)).check()
    assert len(archive.find_studies(limit=2)) == 2
    assert len(archive.find_studies()) >= 4


def test_unknown_study(way: str, orthanc: LocalPacs, tmp_path: Path, silent: Silent) -> None:
    missing = new_study(1)
    with pytest.raises(DeployError, match="holds no study of this UID") as raised:
        client(way, orthanc).pull(study_of(missing), tmp_path / "study")
    assert raised.value.code == EXIT_NOTHING_TO_DO
    assert not list(tmp_path.iterdir())
    silent(missing)


@pytest.mark.parametrize("study", ["", "*", "1.2.*", "1.2?3", "patient", "1." * 40 + "1", "1.2\\1.3"])
def test_study_uid_is_no_pattern(way: str, study: str, orthanc: LocalPacs, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="study_uid must be a DICOM UID") as raised:
        client(way, orthanc).pull(study, tmp_path / "study")
    assert raised.value.code == EXIT_USAGE


def test_folder_with_files_is_left_alone(way: str, orthanc: LocalPacs, tmp_path: Path) -> None:
    datasets = new_study(1)
    archive = client(way, orthanc)
    archive.push(datasets).check()
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(DeployError, match="folder must be new or empty"):
        archive.pull(study_of(datasets), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert_same(archive.pull(study_of(datasets), tmp_path / "empty"), datasets)


def test_one_bad_instance_does_not_stop_the_rest(way: str, orthanc: LocalPacs, tmp_path: Path, silent: Silent) -> None:
    """No file, no DICOM, half a file, no instance UID, no encoding, a SOP class that Orthanc does not take."""
    sent = new_study(8)
    names = ["good", "gone", "text", "cut", "anonymous", "meta", "private", "last"]
    files = [tmp_path / f"{name}-SECRET.dcm" for name in names]
    sent[6].SOPClassUID = sent[6].file_meta.MediaStorageSOPClassUID = "1.2.3.4.5.6.7"
    for file, dataset in zip(files, sent, strict=True):
        dataset.save_as(file, enforce_file_format=True)
    anonymous = pydicom.dcmread(files[4])
    del anonymous.SOPInstanceUID
    anonymous.save_as(files[4])
    files[1].unlink()
    files[2].write_text("DOE^JANE")
    files[3].write_bytes(files[3].read_bytes()[:200])
    no_meta = deepcopy(sent[5])
    del no_meta.file_meta
    instances: list[Any] = [*files[:5], no_meta, *files[6:]]
    archive = client(way, orthanc)
    report = archive.push(instances)
    taken = [1, 7, 8] if way == "web" else [1, 8]  # its DICOMweb plugin does not look at the SOP class
    assert [outcome.number for outcome in report.outcomes if outcome.stored] == taken
    notes = [outcome.note for outcome in report.failures]
    assert notes[:2] == [
        "not a readable DICOM file (FileNotFoundError)",
        "not a readable DICOM file (InvalidDicomError)",
    ]
    assert "no SOP class or SOP instance UID" in notes[3]
    assert notes[4] == "its file meta information names no transfer syntax"
    with pytest.raises(DeployError, match=r"did not store [56] of 8 instances \(instance 2: .*\)") as raised:
        report.check()
    assert "SECRET" not in str(raised.value)
    assert_same(archive.pull(study_of(sent), tmp_path / "study"), [sent[number - 1] for number in taken])
    silent(sent)


def test_pacs_is_down(way: str, orthanc: LocalPacs, tmp_path: Path, silent: Silent) -> None:
    port = free_port()
    down = orthanc._replace(dicom_port=port, dicomweb_url=f"http://127.0.0.1:{port}/dicom-web")
    archive, datasets = client(way, down, timeout=5), new_study()
    for request in (
        archive.echo,
        archive.find_studies,
        lambda: archive.pull(study_of(datasets), tmp_path / "study"),
        lambda: archive.push(datasets),
    ):
        with pytest.raises(DeployError, match="cannot be reached"):
            request()
    assert not list(tmp_path.iterdir())
    silent(datasets)


def test_dies_while_a_study_is_pulled(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: Silent
) -> None:
    """Orthanc is killed when the second of twenty instances arrives."""
    datasets = new_study(16)
    with local_orthanc() as orthanc:
        archive = client(way, orthanc, timeout=5)
        archive.push(datasets).check()
        add = Inbox.add

        def killing(inbox: Inbox, dataset: Dataset, content: bytes) -> int:
            if inbox.count == 1:
                os.kill(orthanc.process, signal.SIGKILL)
            return add(inbox, dataset, content)

        monkeypatch.setattr(Inbox, "add", killing)
        if way == "web":  # a small series arrives in one piece before it is looked at
            monkeypatch.setattr(dicomweb.dicomweb_client.DICOMwebClient, "iter_series", dying(orthanc))
        with pytest.raises(DeployError, match="broke off"):
            archive.pull(study_of(datasets), tmp_path / "study")
    assert not list(tmp_path.iterdir())
    silent(datasets)


def dying(orthanc: LocalPacs) -> Any:
    """WADO-RS of a server that is killed before it answers."""
    iter_series = dicomweb.dicomweb_client.DICOMwebClient.iter_series

    def request(self: Any, *arguments: Any, **options: Any) -> Any:
        os.kill(orthanc.process, signal.SIGKILL)
        return iter_series(self, *arguments, **options)

    return request


def test_dies_while_instances_are_pushed(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: Silent
) -> None:
    datasets = new_study(6)
    with local_orthanc() as orthanc:

        def killing(instance: Any, header_only: bool = False) -> Dataset:
            if instance is datasets[2] and not header_only:
                os.kill(orthanc.process, signal.SIGKILL)
            return readable_instance(instance, header_only)

        monkeypatch.setattr(pushing, "readable_instance", killing)
        report = client(way, orthanc, timeout=5).push(datasets)
    notes = [outcome.note for outcome in report.outcomes]
    assert notes[:3] == ["", "", LOST]
    assert set(notes[3:]) <= {LOST, GONE}
    assert notes[5] == GONE
    silent(datasets)


def test_full_disk(way: str, orthanc: LocalPacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = new_study()
    archive = client(way, orthanc)
    archive.push(datasets).check()

    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DeployError, match=r"cannot be written \(No space left on device\)") as raised:
        archive.pull(study_of(datasets), tmp_path / "study")
    assert str(tmp_path) not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_loggers_speak_again_afterwards(way: str, orthanc: LocalPacs) -> None:
    client(way, orthanc).echo()
    for name in ("pynetdicom.association", "urllib3.connectionpool", "dicomweb_client.web"):
        assert logging.getLogger(name).isEnabledFor(logging.ERROR)
