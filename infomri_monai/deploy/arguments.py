"""A parser of command lines whose errors do not repeat what was given."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

from infomri_monai.deploy.case import EXIT_USAGE

__all__ = ["QuietParser"]


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

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong, and exit."""
        about = message.partition(":")[0] if message.startswith("argument -") else "the arguments"
        verb = "does" if about.startswith("argument") else "do"
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {about} {verb} not fit this usage; see --help.", file=sys.stderr)
        sys.exit(EXIT_USAGE)
