"""Command lines: that of the applications, and a parser whose errors do not repeat what was given."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from infomri_monai.deploy.case import EXIT_USAGE, DeployError

__all__ = ["QuietParser", "application_arguments", "check_given", "named_path"]

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


def application_arguments(name: str) -> argparse.Namespace:
    """The SDK's arguments and environment; its own parser would print and log the paths.

    Args:
        name: the application's name.

    Returns:
        input, output and model, each a Path or None; config, likewise; log_level.
    """
    parser = QuietParser(prog=f"python -m infomri_monai.deploy.{name}")
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
    parser.add_argument("-w", "--workdir", type=Path, help="accepted for the SDK; not used")
    levels = ("DEBUG", "INFO", "WARN", "ERROR", "CRITICAL")
    parser.add_argument("-l", "--log-level", type=str.upper, default="INFO", choices=levels)
    return parser.parse_args()


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
