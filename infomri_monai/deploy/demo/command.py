"""The command ``python -m infomri_monai.deploy.demo``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from infomri_monai.deploy.case import EXIT_OK, EXIT_USAGE, DeployError
from infomri_monai.deploy.command import QuietParser
from infomri_monai.deploy.launch import Interrupted, Interruption

__all__ = ["main"]

EXIT_FAILED = 1
EPILOG = """Needs Debian's packages orthanc and orthanc-dicomweb. Orthanc serves this machine only; it and all that it stored are
gone when the demonstration ends, however it ends. Without --series an invented patient with a synthetic head is used."""


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
            _run(given)
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    except Interrupted as error:
        print("interrupted; nothing is left behind.", file=sys.stderr)
        return error.code
    except Exception as error:  # its message might quote a header
        from infomri_monai.deploy.journal import where

        print(f"{where(error)}error: the demonstration failed ({type(error).__name__}).", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def _run(given: argparse.Namespace) -> None:
    """Import what is heavy only where the PACS is installed."""
    from infomri_monai.deploy.pacs.orthanc import orthanc_missing

    missing = orthanc_missing()
    if missing:
        raise DeployError(missing, EXIT_USAGE)
    from infomri_monai.deploy.demo.run import demonstrate

    demonstrate(given.output, given.models, given.series)


def _parser() -> argparse.ArgumentParser:
    parser = QuietParser(
        prog="python -m infomri_monai.deploy.demo",
        description="Start a PACS, send it a study, run the segmentation application on it, and find its results in the PACS.",
        epilog=EPILOG,
    )
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
