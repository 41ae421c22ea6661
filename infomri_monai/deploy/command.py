"""The command line of the applications: ``python -m infomri_monai.deploy.<name> -i IN -o OUT -m MODELS``."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infomri_monai.deploy.arguments import application_arguments, check_given
from infomri_monai.deploy.case import EXIT_NOTHING_TO_DO, EXIT_USAGE, DeployError, system_words
from infomri_monai.deploy.case_log import CaseFormatter
from infomri_monai.deploy.counted import counted
from infomri_monai.deploy.interruption import Interrupted, Interruption
from infomri_monai.deploy.launch import INTERRUPTED
from infomri_monai.deploy.quiet import LOGGERS
from infomri_monai.deploy.settings import load_settings

if TYPE_CHECKING:
    from infomri_monai.deploy.inputs import ReadableCase

__all__ = ["run_application"]

_LOGGER = logging.getLogger("infomri_monai.deploy")
_CASE = re.compile("case_[0-9]")
_HALF_WRITTEN = (
    "interrupted; a case was still being written after a minute, and its hidden folder is left in the output folder."
)


def run_application(name: str, task: str, load_writer: Callable[[], Any], folder: Path) -> None:
    """Run one of the applications and end the process with its exit code.

    Args:
        name: the application's name.
        task: what its bundle does, see :func:`~infomri_monai.deploy.model_files.find_bundle`.
        load_writer: returns the :class:`~infomri_monai.deploy.operators.BuildObjects`; called when the arguments are fine.
        folder: the application's folder, which holds ``app.yaml``.
    """
    start = time.perf_counter()
    given = application_arguments(name)
    _quiet(given.log_level)
    interruption = Interruption()
    try:
        with interruption:
            code = _run(name, task, load_writer, given, folder / "app.yaml", start, interruption)
    except DeployError as error:
        _LOGGER.error("%s", error)
        code = error.code
    except Interrupted as error:
        _LOGGER.error("%s", INTERRUPTED if error.orderly else _HALF_WRITTEN)
        code = error.code
    except Exception as error:
        code = _failed(error, interruption)
    _flush()
    if interruption.came:
        os._exit(code)  # Holoscan's threads still run, and would be waited for
    sys.exit(code)


def _failed(error: Exception, interruption: Interruption) -> int:
    """Say that something unforeseen happened, and give the exit code."""
    if interruption.came:  # what was being imported has made another error of the signal's
        _LOGGER.error("%s", INTERRUPTED)
        return Interrupted(interruption.came).code
    from infomri_monai.deploy.journal import where

    _LOGGER.error("the application failed (%s).", type(error).__name__)
    _LOGGER.debug("at\n%s", where(error))
    return 1


def _flush() -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()


def _run(
    name: str,
    task: str,
    load_writer: Callable[[], Any],
    given: argparse.Namespace,
    own_settings: Path,
    start: float,
    interruption: Interruption,
) -> int:
    """Check what was given, find the cases, load the bundle, run; what takes long to import is imported when it is needed."""
    _check(given)
    settings = load_settings(own_settings, given.config)
    cases = _cases(given.input)

    from infomri_monai.deploy.bundle import DeployBundle
    from infomri_monai.deploy.journal import Journal
    from infomri_monai.engines.hardware import keep_freed_memory

    keep_freed_memory()  # half of the time at 256 x 256 (benchmarks/deploy_timeline.py)

    bundle = DeployBundle(given.model, task, settings)
    journal = Journal(name, bundle.identity, len(cases), bundle.beside, bundle.settings)

    from infomri_monai.deploy.application import BundleApplication

    _LOGGER.info("%s, %s", counted(len(cases), "case"), name)
    _make_output(given.output)
    application = BundleApplication(cases, bundle, load_writer(), given.output, journal)
    try:
        interruption.run(application, journal.writing)
    finally:
        journal.save(given.output / "summary.json", time.perf_counter() - start)
    return journal.exit_code


def _check(given: argparse.Namespace) -> None:
    """All that can be known to be wrong before anything is read."""
    check_given(given)
    _check_input(given.input)
    _check_output(given.output)


def _check_input(path: Path) -> None:
    try:
        if not path.exists():
            raise DeployError("input: the path does not exist.", EXIT_USAGE)
        if path.is_dir():
            os.scandir(path).close()
    except OSError as error:
        raise DeployError(f"input: the path cannot be read ({system_words(error)}).", EXIT_USAGE) from None


def _cases(path: Path) -> list[ReadableCase]:
    """The cases of the input, at least one; what was passed over is logged."""
    from infomri_monai.deploy.inputs import ACCEPTED, KSPACE_SUFFIXES, find_cases

    if not path.is_dir() and path.suffix.lower() not in KSPACE_SUFFIXES:
        raise DeployError(
            f"input: must be a folder, or a file of raw k-space ({', '.join(KSPACE_SUFFIXES)}); got another file: give its folder.",
            EXIT_USAGE,
        )
    cases, notes = find_cases(path)
    for note in notes:
        _LOGGER.info("%s", note)
    if not cases:
        raise DeployError(
            f"input: there is no DICOM series and no raw k-space; accepted are {ACCEPTED}.", EXIT_NOTHING_TO_DO
        )
    return cases


def _check_output(output: Path) -> None:
    """A folder that holds results would mix those of two patients, and a case that fails would leave an earlier one's."""
    try:
        names = os.listdir(output)
    except FileNotFoundError:
        return
    except OSError as error:
        if os.path.exists(output) and not os.path.isdir(output):
            raise DeployError("output: the path is a file, a folder is needed.", EXIT_USAGE) from None
        raise DeployError(f"output: the path cannot be read ({system_words(error)}).", EXIT_USAGE) from None
    if any(name == "summary.json" or _CASE.match(name) for name in names):
        raise DeployError(
            "output: the folder holds results of an earlier run; give a new or empty one, so that they do not mix.",
            EXIT_USAGE,
        )


def _make_output(output: Path) -> None:
    """Make the folder, and try to write there before any work is done."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output) as file:
            file.write(b"0")
    except OSError as error:
        raise DeployError(
            f"output: the folder cannot be made or written to ({system_words(error)}).", EXIT_USAGE
        ) from None


def _quiet(level: str) -> None:
    """Log this project's words only: what other libraries say may hold headers or paths."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("HOLOSCAN_LOG_LEVEL", "ERROR")
    logging.basicConfig(level=logging.ERROR, force=True)
    logging.getLogger().handlers[0].setFormatter(CaseFormatter("%(asctime)s %(levelname)s %(message)s"))
    shown = getattr(logging, level)
    logging.getLogger().handlers[0].setLevel(shown)
    logging.getLogger().handlers[0].addFilter(logging.Filter("infomri_monai"))
    # warnings arise whether they are shown or not: they go into the DICOM objects
    logging.getLogger("infomri_monai").setLevel(min(shown, logging.WARNING))
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
