"""The command line of the applications: ``python -m infomri_monai.deploy.<name> -i IN -o OUT -m MODELS``."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from infomri_monai.data.dicom.quiet import LOGGERS
from infomri_monai.deploy.case import EXIT_NOTHING_TO_DO, EXIT_USAGE, DeployError, counted
from infomri_monai.deploy.launch import INTERRUPTED, Interrupted, Interruption
from infomri_monai.deploy.logs import CaseFormatter
from infomri_monai.deploy.settings import load_settings
from infomri_monai.files import system_words

if TYPE_CHECKING:
    from infomri_monai.deploy.cases import ReadableCase

__all__ = ["QuietParser", "application_arguments", "check_given", "named_path", "run_application"]

_LOGGER = logging.getLogger("infomri_monai.deploy")
_CASE = re.compile("case_[0-9]")
_HALF_WRITTEN = (
    "interrupted; a case was still being written after a minute, and its hidden folder is left in the output folder."
)
#: what an application needs, each of which may come from the environment, too
_NEEDED = {
    "input": "folder of DICOM series or raw k-space (ISMRMRD, fastMRI HDF5, npz, npy), or one raw file",
    "output": "folder for the DICOM objects",
    "model": "a bundle's directory, a TorchScript archive of it, or a folder that holds one",
}
_OPTION = re.compile(r"-[A-Za-z]|--[A-Za-z][A-Za-z-]*")


class QuietParser(argparse.ArgumentParser):
    """Its errors name the option that is wrong, but not its value: a path or a UID may identify a patient.

    Example:
        >>> parser = QuietParser(prog="program")
        >>> _ = parser.add_argument("-l", "--level", choices=["INFO"])
        >>> parser.parse_args(["-l", "INFO", "JANE"])
        Traceback (most recent call last):
        SystemExit: 2
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse all arguments; those that are unknown are named if they look like options."""
        given, unknown = self.parse_known_args(args, namespace)
        if unknown:
            names = [word.partition("=")[0] for word in unknown]
            options = [name for name in names if _OPTION.fullmatch(name)]
            about = f" (unknown: {', '.join(options)})" if options else ""
            self._end(f"the arguments do not fit this usage{about}")
        return given

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong, and exit."""
        if message.startswith("the following arguments are required:"):
            self._end(message)  # the program's own names
        about = message.partition(":")[0] if message.startswith("argument -") else "the arguments"
        self._end(f"{about} {'does' if about.startswith('argument') else 'do'} not fit this usage")

    def _end(self, wrong: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {wrong}; see --help.", file=sys.stderr)
        sys.exit(EXIT_USAGE)


def named_path(text: str) -> Path:
    """A path of a command line; an empty one, as of a variable that is not set, would mean the working directory.

    Args:
        text: as it was given.

    Raises:
        argparse.ArgumentTypeError: if it is empty.

    Example:
        >>> named_path(" ")
        Traceback (most recent call last):
        argparse.ArgumentTypeError: a path must not be empty
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("a path must not be empty")
    return Path(text)


def application_arguments(name: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The SDK's arguments and environment; its own parser would print and log the paths.

    Args:
        name: the application's name.
        arguments: that followed the name in the command ``infomri-deploy``; None for those of the process.

    Returns:
        input, output and model, each a Path or None; config and case_list, likewise; select, a list; log_level.
    """
    prog = f"python -m infomri_monai.deploy.{name}" if arguments is None else f"infomri-deploy {name.replace('_', '-')}"
    parser = QuietParser(prog=prog)
    for key, says in _NEEDED.items():
        default = os.environ.get(_variable(key), "").strip()
        parser.add_argument(
            f"-{key[0]}",
            f"--{key}",
            type=named_path,
            default=Path(default) if default else None,
            help=f"{says} ({_variable(key)})",
        )
    parser.add_argument("-c", "--config", type=named_path, help="settings that differ from those of its app.yaml")
    parser.add_argument(
        "-s",
        "--select",
        action="append",
        default=[],
        metavar="RULE",
        help="series to process: SeriesDescription=PATTERN, SeriesNumber=N, SeriesInstanceUID=UID, or a file of rules of the SDK",
    )
    parser.add_argument(
        "--case-list", type=named_path, help="file to write which case is which series; it holds identifiers"
    )
    parser.add_argument("-w", "--workdir", type=Path, help="accepted for the SDK; not used")
    levels = ("DEBUG", "INFO", "WARN", "ERROR", "CRITICAL")
    parser.add_argument("-l", "--log-level", type=str.upper, default="INFO", choices=levels)
    return parser.parse_args(arguments)


def check_given(given: argparse.Namespace) -> None:
    """Check that nothing is lacking.

    Args:
        given: of :func:`application_arguments`.

    Raises:
        DeployError: names what is missing; exit code ``EXIT_USAGE``.

    Example:
        >>> check_given(argparse.Namespace(input=Path("in"), output=None, model=None))
        Traceback (most recent call last):
        infomri_monai.deploy.case.DeployError: output and model must be given, as -o and -m or by HOLOSCAN_OUTPUT_PATH and ...
    """
    lacking = [key for key in _NEEDED if getattr(given, key) is None]
    if lacking:
        words = (lacking, [f"-{key[0]}" for key in lacking], list(map(_variable, lacking)))
        names, options, variables = (" and ".join(filter(None, [", ".join(w[:-1]), w[-1]])) for w in words)
        raise DeployError(f"{names} must be given, as {options} or by {variables}.", EXIT_USAGE)


def _variable(key: str) -> str:
    """Where the SDK's containers have it."""
    return f"HOLOSCAN_{key.upper()}_PATH"


def run_application(name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one of the applications and end the process with its exit code.

    Args:
        name: of its folder, where ``app.yaml`` and what builds its objects lie; says what its bundle does.
        arguments: that followed the name in the command ``infomri-deploy``; None for those of the process.
    """
    start = time.perf_counter()
    given = application_arguments(name, arguments)
    _quiet(given.log_level)
    interruption = Interruption()
    try:
        with interruption:
            code = _run(name, given, start, interruption)
    except DeployError as error:
        _LOGGER.error("%s", error)
        code = error.code
    except Interrupted as error:
        _LOGGER.error("%s", INTERRUPTED if error.orderly else _HALF_WRITTEN)
        code = error.code
    except Exception as error:
        code = _failed(error, interruption)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
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


def _run(name: str, given: argparse.Namespace, start: float, interruption: Interruption) -> int:
    """Check what was given, find the cases, load the bundle, run; what takes long to import is imported when it is needed."""
    check_given(given)
    _check_input(given.input)
    _check_output(given.output)
    own = Path(__file__).parent / name / "app.yaml"
    settings, dicom = load_settings(own, given.config), load_settings(own, given.config, "dicom")
    cases = _cases(given.input, given.select, dicom["selections"])
    if given.case_list is not None:
        from infomri_monai.deploy.selection import case_list

        folders = (given.output, given.input if given.input.is_dir() else given.input.parent)
        case_list(given.case_list, [case.about for case in cases], folders)
        _LOGGER.warning("the case list holds identifiers of patients; keep it where their images may lie, too.")

    from infomri_monai.deploy.bundle import DeployBundle
    from infomri_monai.deploy.journal import Journal
    from infomri_monai.engines.hardware import keep_freed_memory

    keep_freed_memory()  # half of the time at 256 x 256 (benchmarks/deploy_timeline.py)

    bundle = DeployBundle(given.model, name.removeprefix("privacy_"), settings, dicom.get("keep_empty_frames", False))
    journal = Journal(name, bundle.identity, len(cases), bundle.beside, bundle.settings)

    from infomri_monai.deploy.operators import BundleApplication

    _LOGGER.info("%s, %s", counted(len(cases), "case"), name)
    _make_output(given.output)
    build = importlib.import_module(f"infomri_monai.deploy.{name}.objects").build_objects
    application = BundleApplication(cases, bundle, build, given.output, journal)
    try:
        interruption.run(application, journal.writing)
    finally:
        journal.save(given.output / "summary.json", time.perf_counter() - start)
    return journal.exit_code


def _check_input(path: Path) -> None:
    try:
        if not path.exists():
            raise DeployError("input: the path does not exist.", EXIT_USAGE)
        if path.is_dir():
            os.scandir(path).close()
    except OSError as error:
        raise DeployError(f"input: the path cannot be read ({system_words(error)}).", EXIT_USAGE) from None


def _cases(path: Path, words: Sequence[str], selections: list[Any]) -> list[ReadableCase]:
    """The cases of the input, at least one; what was passed over is logged."""
    from infomri_monai.deploy.cases import ACCEPTED, KSPACE_SUFFIXES, find_cases
    from infomri_monai.deploy.selection import check_rules, rules_of

    check_rules(selections)
    rules = rules_of(words) or selections

    if not path.is_dir() and path.suffix.lower() not in KSPACE_SUFFIXES:
        raise DeployError(
            f"input: must be a folder, or a file of raw k-space ({', '.join(KSPACE_SUFFIXES)}); got another file: give its folder.",
            EXIT_USAGE,
        )
    cases, notes = find_cases(path, rules)
    for note in notes:
        _LOGGER.info("%s", note)
    if not cases and rules:
        raise DeployError("input: no DICOM series is what the rules select.", EXIT_NOTHING_TO_DO)
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
