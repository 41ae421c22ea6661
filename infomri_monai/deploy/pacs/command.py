"""The command ``python -m infomri_monai.deploy.pacs``: look into a PACS, fetch a study from it, store results in it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from infomri_monai.deploy.arguments import QuietParser
from infomri_monai.deploy.case import EXIT_NOTHING_TO_DO, EXIT_OK, EXIT_USAGE, DeployError
from infomri_monai.deploy.counted import counted
from infomri_monai.deploy.pacs.dicomweb import WebPacs
from infomri_monai.deploy.pacs.dimse import RETRIEVALS, DimsePacs
from infomri_monai.deploy.pacs.encryption import Tls
from infomri_monai.deploy.pacs.records import StudyQuery
from infomri_monai.deploy.pacs.transfer import Pacs

__all__ = ["main"]

EPILOG = """Credentials for DICOMweb come from the environment: INFOMRI_PACS_USER and INFOMRI_PACS_PASSWORD, or INFOMRI_PACS_TOKEN;
so does the password of --tls-key: INFOMRI_PACS_KEY_PASSWORD. find by a patient's ID: INFOMRI_PACS_PATIENT_ID. UIDs given as "-"
are read from standard input. Nothing that is printed identifies a patient unless --show-identifiers is given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line; None takes the process's.

    Returns:
        An exit code of :mod:`infomri_monai.deploy.case`.
    """
    given = _parser().parse_args(arguments)
    try:
        return int(given.run(_pacs(given), given))
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code


def _parser() -> argparse.ArgumentParser:
    where = QuietParser(add_help=False)
    which = where.add_mutually_exclusive_group(required=True)
    which.add_argument("--dicom", metavar="HOST:PORT", help="by DICOM's own protocol")
    which.add_argument("--dicomweb", metavar="URL", help="by DICOMweb")
    where.add_argument("--aet", default="ORTHANC", help="AE title of the PACS (default: %(default)s)")
    where.add_argument("--calling-aet", default="INFOMRI", help="our AE title (default: %(default)s)")
    where.add_argument("--retrieve", choices=RETRIEVALS, default="get", help="C-GET or C-MOVE (default: %(default)s)")
    where.add_argument("--move-port", type=int, help="port at which the PACS reaches us for C-MOVE")
    where.add_argument(
        "--move-host", default="127.0.0.1", help="address to listen at for C-MOVE (default: %(default)s)"
    )
    where.add_argument(
        "--tls", action="store_true", help="encrypt DICOM's own protocol; this machine's authorities vouch"
    )
    where.add_argument(
        "--tls-ca", type=Path, metavar="FILE", help="--tls, and these certificates (PEM) vouch for the PACS"
    )
    where.add_argument("--tls-cert", type=Path, metavar="FILE", help="--tls, and our certificate (PEM)")
    where.add_argument(
        "--tls-key", type=Path, metavar="FILE", help="its private key (PEM), if it is not in the same file"
    )
    where.add_argument("--timeout", type=float, default=30.0, help="seconds without an answer (default: %(default)g)")

    parser = QuietParser(prog="python -m infomri_monai.deploy.pacs", description=__doc__, epilog=EPILOG)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("echo", parents=[where], help="does it answer?").set_defaults(run=_echo)

    find = commands.add_parser("find", parents=[where], help="list studies, or the series of one")
    find.add_argument("--study", metavar="UID", help="list the series of this study")
    find.add_argument("--modality", default="", help="studies with a series of it, or series of it")
    find.add_argument("--date", default="", help="of studies: YYYYMMDD, or a range YYYYMMDD-YYYYMMDD")
    find.add_argument(
        "--show-identifiers", action="store_true", help="print UIDs, dates, patients' IDs and descriptions"
    )
    find.set_defaults(run=_find)

    pull = commands.add_parser("pull", parents=[where], help="fetch a study into a new folder")
    pull.add_argument("--study", metavar="UID", required=True)
    pull.add_argument("--modality", default="", help="only series of it")
    pull.add_argument("folder", type=Path)
    pull.set_defaults(run=_pull)

    push = commands.add_parser("push", parents=[where], help="store files, or all files in folders")
    push.add_argument("paths", type=Path, nargs="+")
    push.set_defaults(run=_push)
    return parser


def _pacs(given: argparse.Namespace) -> Pacs:
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
    hidden: tuple[str, ...] = ()
    if given.study:
        for number, series in enumerate(pacs.find_series(_study(given)), 1):
            if given.modality in ("", series.modality):
                if given.show_identifiers:
                    hidden = (series.series_uid, series.description)
                print(number, series.modality or "?", counted(series.instances, "instance"), *hidden, sep="\t")
        return EXIT_OK
    query = StudyQuery(os.environ.get("INFOMRI_PACS_PATIENT_ID", ""), date=given.date, modality=given.modality)
    for number, study in enumerate(pacs.find_studies(query), 1):
        counts = (counted(study.series, "series"), counted(study.instances, "instance"))
        if given.show_identifiers:
            hidden = (study.study_uid, study.date, study.patient_id)
        print(number, "/".join(study.modalities) or "?", *counts, *hidden, sep="\t")
    return EXIT_OK


def _pull(pacs: Pacs, given: argparse.Namespace) -> int:
    study, series_uids = _study(given), []
    if given.modality:
        found = pacs.find_series(study)
        series_uids = [series.series_uid for series in found if series.modality == given.modality]
        if not series_uids:
            raise DeployError(
                f"the study has {len(found)} series, none of modality {given.modality}.", EXIT_NOTHING_TO_DO
            )
    print(f"{counted(len(pacs.pull(study, given.folder, series_uids)), 'instance')} fetched")
    return EXIT_OK


def _push(pacs: Pacs, given: argparse.Namespace) -> int:
    files: list[Path] = []
    for number, path in enumerate(given.paths, 1):
        if path.is_dir():
            files += sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        elif path.is_file():
            files.append(path)
        else:
            raise DeployError(f"path {number} of {len(given.paths)} is neither a file nor a folder.", EXIT_USAGE)
    if not files:
        raise DeployError("the folders hold no files.", EXIT_NOTHING_TO_DO)
    report = pacs.push(files)
    print(f"{len(files) - len(report.failures)} of {counted(len(files), 'instance')} stored")
    for outcome in report.outcomes:
        if outcome.stored and outcome.note:
            print(f"instance {outcome.number}: {outcome.note}")
    report.check()
    return EXIT_OK
