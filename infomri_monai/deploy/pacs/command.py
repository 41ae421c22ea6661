"""The command ``python -m infomri_monai.deploy.pacs``: look into a PACS, fetch a study from it, store results in it."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from infomri_monai.deploy.case import EXIT_NOTHING_TO_DO, EXIT_OK, EXIT_USAGE, DeployError
from infomri_monai.deploy.files import counted, passed_over
from infomri_monai.deploy.launch import Interrupted, Interruption
from infomri_monai.deploy.pacs.options import command_line

if TYPE_CHECKING:
    from infomri_monai.deploy.pacs.transfer import Pacs

__all__ = ["main"]

#: studies that find lists
MOST_STUDIES = 100
#: where nobody reads the output any more: as a shell gives it for a program that SIGPIPE ends
EXIT_PIPE = 128 + 13
#: what a signal leaves
_LEFT = {
    "pull": "; the folder holds all of the study, or nothing",
    "push": "; instances that were stored before stay in the PACS",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. What takes long to import is imported when the arguments have been read.

    Args:
        arguments: of the command line; None takes the process's.

    Returns:
        An exit code of :mod:`infomri_monai.deploy.case`; 128 and the signal's number where a signal ended it or
        nobody reads the output, 1 at a defect.
    """
    given = command_line().parse_args(arguments)
    run = {"echo": _echo, "find": _find, "pull": _pull, "push": _push}[given.command]
    try:
        with Interruption():
            return run(_pacs(given), given)
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    except Interrupted as error:
        print(f"interrupted{_LEFT.get(given.command, '')}.", file=sys.stderr)
        return error.code
    except BrokenPipeError:  # who reads the output, as head does, has enough; connections' own come as a DeployError
        if given.command in _LEFT:
            print(f"the output was closed{_LEFT[given.command]}.", file=sys.stderr)
        return EXIT_PIPE
    except Exception as error:  # its message may quote a header
        lines = "".join(traceback.format_tb(error.__traceback__))
        print(f"error: the command failed ({type(error).__name__}) at\n{lines}", end="", file=sys.stderr)
        return 1


def _pacs(given: argparse.Namespace) -> Pacs:
    from infomri_monai.deploy.pacs.dicomweb import WebPacs
    from infomri_monai.deploy.pacs.dimse import DimsePacs
    from infomri_monai.deploy.pacs.encryption import Tls

    files = (given.tls_ca, given.tls_cert, given.tls_key)
    encrypted = given.tls or any(file is not None for file in files)
    if given.dicomweb:
        if encrypted:
            raise DeployError("--tls is for --dicom; by DICOMweb, give a URL of https.", EXIT_USAGE)
        names = ("USER", "PASSWORD", "TOKEN")
        user, password, token = (os.environ.get(f"INFOMRI_PACS_{name}", "") for name in names)
        return WebPacs(given.dicomweb, user, password, token, given.timeout)
    host, _, port = given.dicom.rpartition(":")
    if not host or not port.isdecimal():
        raise DeployError("--dicom must be HOST:PORT.", EXIT_USAGE)
    return DimsePacs(
        host.strip("[]"),
        int(port),
        given.aet,
        given.calling_aet,
        retrieve=given.retrieve,
        move_port=given.move_port,
        move_host=given.move_host,
        timeout=given.timeout,
        tls=Tls(*files, os.environ.get("INFOMRI_PACS_KEY_PASSWORD", "")) if encrypted else None,
    )


def _study(given: argparse.Namespace) -> str:
    return sys.stdin.readline().strip() if given.study == "-" else given.study


def _echo(pacs: Pacs, given: argparse.Namespace) -> int:
    pacs.echo()
    print("the PACS answers")
    return EXIT_OK


def _find(pacs: Pacs, given: argparse.Namespace) -> int:
    from infomri_monai.deploy.pacs.records import StudyQuery

    query = StudyQuery(os.environ.get("INFOMRI_PACS_PATIENT_ID", ""), date=given.date, modality=given.modality)
    if given.study:
        if query.date:
            raise DeployError("--date is of studies; leave it out with --study.", EXIT_USAGE)
        return _list_series(pacs, _study(given), query.modality, given.show_identifiers)
    hidden: tuple[str, ...] = ()
    found = pacs.find_studies(query, MOST_STUDIES + 1)
    for number, study in enumerate(found[:MOST_STUDIES], 1):
        counts = (counted(study.series, "series"), counted(study.instances, "instance"))
        if given.show_identifiers:
            hidden = (study.study_uid, study.date, study.patient_id)
        print(number, "/".join(study.modalities) or "?", *counts, *hidden, sep="\t")
    if not found:
        print("0 studies")
    if len(found) > MOST_STUDIES:
        print(
            f"there are more than {MOST_STUDIES} studies: ask for fewer by --date, --modality or INFOMRI_PACS_PATIENT_ID"
        )
    return EXIT_OK


def _list_series(pacs: Pacs, study: str, modality: str, show_identifiers: bool) -> int:
    """Series keep their number among all of the study."""
    numbered = [(n, one) for n, one in enumerate(pacs.find_series(study), 1) if modality in ("", one.modality)]
    for number, series in numbered:
        hidden = (series.series_uid, series.description) if show_identifiers else ()
        print(number, series.modality or "?", counted(series.instances, "instance"), *hidden, sep="\t")
    if not numbered:
        print("0 series")
    return EXIT_OK


def _pull(pacs: Pacs, given: argparse.Namespace) -> int:
    from infomri_monai.deploy.pacs.matching import matching_modality

    modality, study = matching_modality(given.modality), _study(given)
    series_uids: list[str] = []
    if modality:
        found = pacs.find_series(study)
        series_uids = [series.series_uid for series in found if series.modality == modality]
        if not series_uids:
            raise DeployError(f"the study has {len(found)} series, none of modality {modality}.", EXIT_NOTHING_TO_DO)
    print(f"{counted(len(pacs.pull(study, given.folder, series_uids)), 'instance')} fetched")
    return EXIT_OK


def _push(pacs: Pacs, given: argparse.Namespace) -> int:
    from infomri_monai.deploy.pacs.instance_files import instance_files

    files, passed = instance_files(given.paths)
    if passed:
        print(passed_over(passed))
    report = pacs.push(files)
    print(f"{len(files) - len(report.failures)} of {counted(len(files), 'instance')} stored")
    for outcome in report.outcomes:
        if outcome.stored and outcome.note:
            print(f"instance {outcome.number}: {outcome.note}")
    report.check()
    return EXIT_OK
