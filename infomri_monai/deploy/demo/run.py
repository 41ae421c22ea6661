"""The demonstration itself, step by step."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from monai.utils import optional_import

from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.deploy.demo.proof import prove
from infomri_monai.deploy.demo.result import read_result, recognised
from infomri_monai.deploy.demo.timeline import Timeline
from infomri_monai.deploy.demo.workspace import RECORD, workspace
from infomri_monai.deploy.dicom.common import guarded
from infomri_monai.deploy.dicom.example import ExamplePatient, write_example_series
from infomri_monai.deploy.dicom.report import report_text
from infomri_monai.deploy.dicom.scan import find_series
from infomri_monai.deploy.files import counted
from infomri_monai.deploy.model_files import find_bundle
from infomri_monai.deploy.pacs.dicomweb import WebPacs
from infomri_monai.deploy.pacs.dimse import DimsePacs
from infomri_monai.deploy.pacs.orthanc import LocalPacs, local_orthanc
from infomri_monai.deploy.pacs.records import StudyQuery
from infomri_monai.files import atomic_path

pydicom, _ = optional_import("pydicom")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["EXAMPLE", "demonstrate"]

PATIENT = ExamplePatient(
    "SYNTHETIC^HEAD", "DEMO-0001", "19700101", "DEMO-A1", "DEMO-S1", "NOBODY^REFERRING", "Demonstration"
)
#: T1-like contrast, a subject of the test split; 96 x 96 pixels of 2.3 mm
EXAMPLE = {"kind": "classic", "slices": 8, "grid": (96, 96), "oblique": True, "seed": 4}


class _Study(NamedTuple):
    """What was sent: its files and headers, study and patient."""

    files: tuple[Path, ...]
    headers: list[Dataset]

    @property
    def uid(self) -> str:
        return str(self.headers[0].StudyInstanceUID)

    @property
    def query(self) -> StudyQuery:
        return StudyQuery(patient_id=str(self.headers[0].get("PatientID") or ""))


def demonstrate(output: Path, models: Path, series: Path | None = None) -> Timeline:
    """Send a study to a PACS, fetch it, segment it, store the results, prove that they are there, and draw what comes back.

    Args:
        output: gets ``source`` (what was sent), ``received`` (what was fetched), ``application`` (its output), ``retrieved`` (the
            study as it is then in the PACS), ``segmentation.png``, ``triage.txt`` and ``demo.json``; see
            :func:`~infomri_monai.deploy.demo.workspace.workspace`.
        models: bundle of a segmentation, see :func:`~infomri_monai.deploy.model_files.find_bundle`.
        series: folder with one MR series; None makes an oblique one of a synthetic head.

    Returns:
        What was done and how long it took.

    Raises:
        DeployError: if something does not work, or the proof fails; then nothing is left behind.
    """
    find_bundle(models, "segmentation")  # before the PACS is started
    timeline = Timeline()
    with workspace(output) as work, ExitStack() as stack:
        with timeline.step("example" if series is None else "series") as notes:
            study = _study(work / "source", series)
            notes.append(
                f"MR series of {counted(len(study.files), 'file')}" + ("" if series else ", an oblique synthetic head")
            )
        with timeline.step("start Orthanc") as notes:
            orthanc = stack.enter_context(local_orthanc())
            notes.append("on this machine's loopback, storage in a temporary folder")
        _through_the_pacs(orthanc, study, work, models, timeline)
        stack.close()
        content = {"steps": [step._asdict() for step in timeline.steps], "seconds": timeline.seconds}
        (work / RECORD).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(
        f"{'all':<14}{timeline.seconds:>5.1f} s  picture: {output / 'segmentation.png'}, report: {output / 'triage.txt'}"
    )
    return timeline


def _study(folder: Path, series: Path | None) -> _Study:
    """Copy or make the series."""
    folder.mkdir()
    if series is None:
        write_example_series(folder, patient=PATIENT, **EXAMPLE)  # type: ignore[arg-type]
    else:
        candidates = find_series(series).candidates
        if len(candidates) != 1 or candidates[0].problem:
            raise DeployError(
                f"series must be a folder with one MR series, found {len(candidates)}"
                + "".join(f"; number {found.number}: {found.problem}" for found in candidates if found.problem),
                EXIT_USAGE,
            )
        for number, path in enumerate(candidates[0].files, 1):
            shutil.copyfile(path, folder / f"image{number:04d}.dcm")
    files = tuple(sorted(folder.iterdir()))
    with guarded("reading the series"):
        return _Study(files, [pydicom.dcmread(path, stop_before_pixels=True) for path in files])


def _through_the_pacs(orthanc: LocalPacs, study: _Study, work: Path, models: Path, timeline: Timeline) -> None:
    """All that needs the PACS."""
    dimse = DimsePacs("127.0.0.1", orthanc.dicom_port, orthanc.ae_title, orthanc.client_aet)
    web = WebPacs(orthanc.dicomweb_url)
    with timeline.step("send") as notes:
        dimse.push(study.files).check()
        notes.append(f"{counted(len(study.files), 'instance')} by C-STORE")
    with timeline.step("pull") as notes:
        found = [found for found in dimse.find_studies(study.query) if found.study_uid == study.uid]
        if len(found) != 1:
            raise DeployError("C-FIND by the patient's ID does not find the study that was sent.")
        wanted = [series.series_uid for series in dimse.find_series(study.uid) if series.modality == "MR"]
        received = dimse.pull(study.uid, work / "received", wanted)
        notes.append(f"{counted(len(received), 'instance')}, found by C-FIND, fetched by C-GET")
    with timeline.step("application") as notes:
        results, words = _application(work, models)
        notes.append(words)
    with timeline.step("push") as notes:
        web.push(results).check()
        notes.append(f"{counted(len(results), 'instance')} by STOW-RS")
    with timeline.step("check") as notes:
        with guarded("reading what the application wrote"):
            made = [pydicom.dcmread(path) for path in results]
        notes += prove(web, study.query, study.headers, made, work / "retrieved")
    with timeline.step("picture") as notes:
        notes.append(_tell(work, models))


def _application(work: Path, models: Path) -> tuple[list[Path], str]:
    """Run the segmentation application as a user does; what it wrote, and what its journal says of its seconds."""
    command = [sys.executable, "-m", "infomri_monai.deploy.segmentation"]
    output = work / "application"
    arguments = ["-i", work / "received", "-o", output, "-m", models.absolute()]
    done = subprocess.run([*command, *map(str, arguments)], stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise DeployError(f"the application ended with exit code {done.returncode}.", max(done.returncode, 1))
    case = json.loads((output / "summary.json").read_text(encoding="utf-8"))["cases"][0]
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in case["seconds"].items())
    results = [output / name for name in case["objects"]]
    return (
        results,
        f"{counted(len(results), 'DICOM object')} of {counted(case['slices'], 'slice')}; its own seconds: {seconds}",
    )


def _tell(work: Path, models: Path) -> str:
    """Write the report as text and draw the picture, both from what came back from the PACS; returns the triage's line."""
    from infomri_monai.deploy.demo.masks import drawn_masks
    from infomri_monai.deploy.demo.picture import result_figure
    from infomri_monai.figures.style import save_figure

    with guarded("reading what came back"):
        datasets = [pydicom.dcmread(path) for path in sorted((work / "retrieved").iterdir())]
    case, objects = find_series(work / "retrieved").candidates[0], recognised(datasets)
    with atomic_path(work / "triage.txt") as part:
        part.write_text(report_text(objects.report) + "\n", encoding="utf-8")
    result = read_result(case, objects)
    masks = drawn_masks(models, *result.images.shape)
    save_figure(result_figure(result, masks), work / "segmentation.png")
    return result.triage
