"""Options of the command ``python -m infomri_monai.deploy.pacs``, and its help."""

from __future__ import annotations

import argparse

from infomri_monai.deploy.command import QuietParser, named_path

__all__ = ["command_line"]

ABOUT = "Look into a PACS, fetch a study from it, store results in it."
EPILOG = """COMMAND --help tells more of each.

environment:
  INFOMRI_PACS_USER, INFOMRI_PACS_PASSWORD   for --dicomweb by basic authentication,
  INFOMRI_PACS_TOKEN                         or a bearer token instead
  INFOMRI_PACS_KEY_PASSWORD                  of --tls-key, if it is encrypted
  INFOMRI_PACS_PATIENT_ID                    find: studies of this patient only

exit codes:
  0  done; find: also where nothing was found
  2  arguments are wrong, or a file, folder, port or host that was given cannot be used, or the PACS does not
     offer the way to retrieve that was chosen; nothing was fetched or stored
  3  the PACS cannot be reached or refuses, or did not take or send all
  4  pull: the PACS holds no such study, or no such series in it
  129, 130, 143  interrupted (hangup, Ctrl+C, termination)
  141  the output was closed before all was printed, e.g. by head
  1  a defect of this software

Nothing that is printed identifies a patient unless --show-identifiers is given."""

ECHO = "Ask whether the PACS answers: C-ECHO; by DICOMweb, a query for one study."
FIND = """List studies, or with --study the series of one. Columns are separated by tabs:
  studies  number, modalities joined by "/", series, instances;
           with --show-identifiers then study UID, date, patient's ID
  series   number, modality, instances;
           with --show-identifiers then series UID, description
"?" stands for what the PACS does not say. Where nothing is found: "0 studies" or "0 series"."""
PULL = "Fetch a study, or its series of one modality, into a new folder: all of it or nothing."
PUSH = """Store DICOM files. What is not DICOM (such as an application's summary.json) is passed over, as are hidden
files and a DICOMDIR. An instance that fails does not stop the others; messages number them in the order of
the paths given, below a folder in the order of their paths."""


def command_line() -> argparse.ArgumentParser:
    """The parser; what it gives holds ``command``: echo, find, pull or push.

    Example:
        >>> given = command_line().parse_args(["find", "--dicom", "pacs:104", "--date", "2024-02-29"])
        >>> given.command, given.date, given.timeout
        ('find', '2024-02-29', 30.0)
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = QuietParser("python -m infomri_monai.deploy.pacs", description=ABOUT, epilog=EPILOG, formatter_class=raw)
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND", title="commands")

    def command(name: str, says: str, about: str, usage: str = "") -> argparse.ArgumentParser:
        line = f"%(prog)s (--dicom HOST:PORT | --dicomweb URL) [options]{usage}"
        return commands.add_parser(
            name, parents=[_where()], help=says, description=about, usage=line, formatter_class=raw
        )

    command("echo", "does it answer?", ECHO)

    find = command("find", "list studies, or the series of one", FIND)
    find.add_argument(
        "--study", metavar="UID", help='list the series of this study; "-" reads the UID from standard input'
    )
    find.add_argument("--modality", default="", help="studies with a series of it, or series of it, e.g. MR")
    find.add_argument(
        "--date",
        default="",
        help="studies of a day, YYYYMMDD or YYYY-MM-DD, or of a range: FIRST-LAST, FIRST- or, written --date=-LAST, up to a day",
    )
    find.add_argument(
        "--show-identifiers", action="store_true", help="print UIDs, dates, patients' IDs and descriptions"
    )

    pull = command("pull", "fetch a study into a new folder", PULL, " --study UID FOLDER")
    pull.add_argument("--study", metavar="UID", required=True, help='which; "-" reads the UID from standard input')
    pull.add_argument("--modality", default="", help="only series of it, e.g. MR")
    pull.add_argument("folder", metavar="FOLDER", type=named_path, help="new or empty")

    push = command("push", "store files, or all DICOM files below folders", PUSH, " PATH [PATH ...]")
    push.add_argument(
        "paths", metavar="PATH", type=named_path, nargs="+", help="a DICOM file, or a folder of any nesting"
    )
    return parser


def _where() -> QuietParser:
    """Options that say where the PACS is and how to talk to it."""
    parser = QuietParser(add_help=False)
    where = parser.add_argument_group("where the PACS is")
    which = where.add_mutually_exclusive_group(required=True)
    which.add_argument("--dicom", metavar="HOST:PORT", help="by DICOM's own protocol (DIMSE)")
    which.add_argument("--dicomweb", metavar="URL", help="by DICOMweb, e.g. https://pacs.example.org/dicom-web")
    where.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="without an answer, then it counts as lost (default: %(default)g)",
    )
    dimse = parser.add_argument_group("with --dicom")
    dimse.add_argument("--aet", default="ORTHANC", metavar="TITLE", help="AE title of the PACS (default: %(default)s)")
    dimse.add_argument("--calling-aet", default="INFOMRI", metavar="TITLE", help="our AE title (default: %(default)s)")
    dimse.add_argument(
        "--retrieve", choices=("get", "move"), default="get", help="pull by C-GET or C-MOVE (default: %(default)s)"
    )
    dimse.add_argument("--move-port", type=int, metavar="PORT", help="at which the PACS reaches us for C-MOVE")
    dimse.add_argument(
        "--move-host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="of this machine, to listen at for C-MOVE; a PACS on another machine needs one that it can reach, or 0.0.0.0 "
        "(default: %(default)s)",
    )
    tls = parser.add_argument_group("with --dicom, encrypted")
    tls.add_argument(
        "--tls", action="store_true", help="encrypt; authorities that this machine trusts vouch for the PACS"
    )
    tls.add_argument(
        "--tls-ca", type=named_path, metavar="FILE", help="encrypt; these certificates (PEM) vouch for the PACS"
    )
    tls.add_argument("--tls-cert", type=named_path, metavar="FILE", help="encrypt; our certificate (PEM)")
    tls.add_argument(
        "--tls-key", type=named_path, metavar="FILE", help="its private key (PEM), if it is not in the same file"
    )
    return parser
