"""A study goes into a PACS, the segmentation application works on it, and its results are found in the PACS.

``python examples/hospital_demo.py --output demo_output_deploy``, or ``make demo-deploy``. Needs Debian's packages orthanc and
orthanc-dicomweb, and the extras ``deploy``, ``pacs`` and ``figures``. Orthanc serves this machine only; it and all that it stored
are gone when the demonstration ends, however it ends. Without --series an invented patient with a synthetic head is used.
"""

from __future__ import annotations

from infomri_monai.deploy.launch import raise_stack_limit

if __name__ == "__main__":
    raise_stack_limit()

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pydicom
from pydicom import Dataset

from hospital.mr_series import ExamplePatient, write_example_series
from hospital.orthanc import LocalPacs, local_orthanc, orthanc_missing
from hospital.programs import fetch, find, search, store
from hospital.proof import prove
from hospital.report import report_text
from infomri_monai.data.dicom.quiet import DicomError
from infomri_monai.data.dicom.series import find_series
from infomri_monai.deploy.case import EXIT_OK, EXIT_USAGE, DeployError, counted
from infomri_monai.deploy.command import QuietParser
from infomri_monai.deploy.journal import where
from infomri_monai.deploy.launch import Interrupted, Interruption
from infomri_monai.deploy.logs import guarded
from infomri_monai.deploy.model_files import find_bundle
from infomri_monai.files import atomic_path

EXIT_FAILED = 1
#: by this file a former demonstration is known
RECORD = "demo.json"
PATIENT = ExamplePatient(
    "SYNTHETIC^HEAD", "DEMO-0001", "19700101", "DEMO-A1", "DEMO-S1", "NOBODY^REFERRING", "Demonstration"
)
#: T1-like contrast, a subject of the test split; 96 x 96 pixels of 2.3 mm
EXAMPLE = {"kind": "classic", "slices": 8, "grid": (96, 96), "oblique": True, "seed": 4}


class Step(NamedTuple):
    """A step that is done: its name, the seconds that it took, and what it did, without identifiers."""

    name: str
    seconds: float
    notes: tuple[str, ...]


class Timeline:
    """Times steps and prints each as it is done."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time a block; it fills in the notes."""
        notes: list[str] = []
        start = time.perf_counter()
        yield notes
        done = Step(name, time.perf_counter() - start, tuple(notes))
        self.steps.append(done)
        print(f"{name:<14}{done.seconds:>5.1f} s", "\n                       ".join(notes), sep="  ", flush=True)

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return sum(step.seconds for step in self.steps)


def demonstrate(output: Path, models: Path, series: Path | None = None) -> Timeline:
    """Send a study to a PACS, fetch it, segment it, store the results, prove that they are there, and draw what comes back.

    Args:
        output: gets ``source`` (what was sent), ``received`` (what was fetched), ``application`` (its output), ``retrieved`` (the
            study as it is then in the PACS), ``segmentation.png``, ``triage.txt`` and ``demo.json``; see :func:`workspace`.
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
            sources = _study(work / "source", series)
            files = counted(len(sources), "file")
            notes.append(f"MR series of {files}" + ("" if series else ", an oblique synthetic head"))
        with timeline.step("start Orthanc") as notes:
            pacs = stack.enter_context(local_orthanc())
            notes.append("on this machine's loopback, storage in a temporary folder")
        _through_the_pacs(pacs, sources, work, models, timeline)
        stack.close()
        with timeline.step("picture") as notes:
            notes.append(_tell(work, models))
        content = {"steps": [step._asdict() for step in timeline.steps], "seconds": timeline.seconds}
        (work / RECORD).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    shown = f"picture: {output / 'segmentation.png'}, report: {output / 'triage.txt'}"
    print(f"{'all':<14}{timeline.seconds:>5.1f} s  {shown}")
    return timeline


@contextmanager
def workspace(output: Path) -> Iterator[Path]:
    """A temporary folder beside ``output``; what it holds moves there when the block ends well, and vanishes when it does not.

    Only its owner can read it, and ``output`` if that is new: a user's own series may be a patient's.

    Args:
        output: new or empty, or with the ``RECORD`` of a former demonstration, whose files of the same names are replaced.

    Yields:
        Where to write.

    Raises:
        DeployError: if ``output`` is a file or holds something else, before anything is written, or if it cannot be made.
    """
    output = output.absolute()
    if output.exists() and not (output.is_dir() and ((output / RECORD).exists() or not any(output.iterdir()))):
        raise DeployError(
            "output must be new or empty, or the folder of a former demonstration; it is a file, or a folder with other files.",
            EXIT_USAGE,
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".demo-", dir=output.parent))
    except OSError as error:
        raise DeployError(f"output cannot be made ({error.strerror}).", EXIT_USAGE) from None
    try:
        yield part
        output.mkdir(mode=0o700, exist_ok=True)
        for path in sorted(
            part.iterdir(), key=lambda path: path.name == RECORD
        ):  # it comes last and says that all is there
            target = output / path.name
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(path, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _study(folder: Path, series: Path | None) -> list[Dataset]:
    """Make or copy the series; its headers."""
    folder.mkdir()
    if series is None:
        write_example_series(folder, patient=PATIENT, **EXAMPLE)  # type: ignore[arg-type]
    else:
        try:
            candidates = find_series(series).candidates
        except DicomError as error:
            raise DeployError(f"series: {error}", EXIT_USAGE) from None
        if len(candidates) != 1 or candidates[0].problem:
            problems = "".join(f"; number {found.number}: {found.problem}" for found in candidates if found.problem)
            raise DeployError(
                f"series must be a folder with one MR series, found {len(candidates)}{problems}", EXIT_USAGE
            )
        for number, path in enumerate(candidates[0].files, 1):
            shutil.copyfile(path, folder / f"image{number:04d}.dcm")
    with guarded("reading the series"):
        return [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.iterdir())]


def _through_the_pacs(pacs: LocalPacs, sources: list[Dataset], work: Path, models: Path, timeline: Timeline) -> None:
    """All that needs the PACS, by the programs that a hospital would use."""
    patient, study = str(sources[0].get("PatientID") or ""), str(sources[0].StudyInstanceUID)
    with timeline.step("send") as notes:
        store(pacs, "get", [work / "source"])
        notes.append(f"{counted(len(sources), 'instance')} by C-STORE (storescu)")
    with timeline.step("pull") as notes:
        if _studies(pacs, patient).count(study) != 1:
            raise DeployError("C-FIND by the patient's ID does not find the study that was sent.")
        keys = {"StudyInstanceUID": study, "Modality": "MR", "SeriesInstanceUID": ""}
        for series in find(pacs, "SERIES", **keys):
            received = fetch(pacs, "get", work / "received", study, str(series.SeriesInstanceUID))
        if len(received) != len(sources):
            raise DeployError(f"C-GET brought {len(received)} of {counted(len(sources), 'instance')}.")
        notes.append(f"{counted(len(received), 'instance')}, found by C-FIND (findscu), fetched by C-GET (getscu)")
    with timeline.step("application") as notes:
        results, words = _application(work, models)
        notes.append(words)
    with timeline.step("push") as notes:
        store(pacs, "web", results)
        notes.append(f"{counted(len(results), 'instance')} by STOW-RS (dicomweb_client)")
    with timeline.step("check") as notes:
        found, series_found = _studies(pacs, patient).count(study), len(search(pacs, "series", "--study", study))
        files = fetch(pacs, "web", work / "retrieved", study)
        with guarded("reading what was made and what came back"):
            made, back = ([pydicom.dcmread(path) for path in paths] for paths in (results, files))
        notes += prove(found, series_found, sources, made, back)


def _studies(pacs: LocalPacs, patient: str) -> list[str]:
    """Studies of a patient."""
    return [str(answer.StudyInstanceUID) for answer in find(pacs, "STUDY", PatientID=patient, StudyInstanceUID="")]


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
    made = f"{counted(len(results), 'DICOM object')} of {counted(case['slices'], 'slice')}"
    return results, f"{made}; its own seconds: {seconds}"


def _tell(work: Path, models: Path) -> str:
    """Write the report as text and draw the picture, both from what came back from the PACS; returns the triage's line."""
    from hospital.result import (  # heavy, and not needed to fail early
        drawn_masks,
        read_result,
        recognised,
        result_figure,
    )
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration.

    Args:
        arguments: of the command line; None takes the process's.

    Returns:
        An exit code of :mod:`infomri_monai.deploy.case`, or the application's; after a signal 128 and its number.
    """
    given = _parser().parse_args(arguments)
    try:
        with Interruption():
            missing = orthanc_missing()
            if missing:
                raise DeployError(missing, EXIT_USAGE)
            demonstrate(given.output, given.models, given.series)
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    except Interrupted as error:
        print("interrupted; nothing is left behind.", file=sys.stderr)
        return error.code
    except Exception as error:  # its message might quote a header
        print(f"{where(error)}error: the demonstration failed ({type(error).__name__}).", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    about, _, more = (__doc__ or "").partition("\n\n")
    parser = QuietParser(description=about, epilog=more)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("demo_output_deploy"),
        help="new or empty folder, or that of a former demonstration, which is replaced (default: %(default)s)",
    )
    parser.add_argument(
        "--models",
        type=Path,
        default=Path("bundles/infomri_segmentation"),
        help="bundle of a segmentation (default: %(default)s)",
    )
    parser.add_argument("--series", type=Path, help="folder with one DICOM MR series, instead of the synthetic head")
    return parser


if __name__ == "__main__":
    sys.exit(main())
