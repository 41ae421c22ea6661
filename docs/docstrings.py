"""Our docstrings as mkdocstrings wants them: the package's are written for a terminal as much as for the site.

griffe loads the extension by the name of this file; see ``extensions`` in mkdocs.yml.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|exc):`(~?)([^`]+)`")
# an asterisk before a name, as in (batch, 1, *spatial), outside of code
_STAR = re.compile(r"(`+[^`]*`+)|(?<![\w*\\])\*(?=\w)")


class Docstrings(griffe.Extension):
    """Doctests become code, roles become code, and the asterisk of a shape stays an asterisk."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Mend the docstring of a module, class, function or attribute when it has been read."""
        if obj.docstring is not None:
            obj.docstring.value = for_the_site(obj.docstring.value)


def for_the_site(text: str) -> str:
    r"""A docstring of the package in the words of griffe's parser and of Markdown.

    Example:
        >>> for_the_site("Of shape (batch, *spatial), see :class:`~infomri_monai.sampling.Radial`.")
        'Of shape (batch, \\*spatial), see `Radial`.'
        >>> for_the_site("Example:\n    >>> 2 * 3").splitlines()[0]
        'Examples:'
    """
    lines, in_example = [], False
    for line in text.splitlines():
        if re.fullmatch(r"\w[\w ]*:", line):  # a section at the left edge ends the one before
            in_example = line == "Example:"
            line = "Examples:" if in_example else line
        if not in_example:
            line = _ROLE.sub(lambda role: f"`{role[2].rsplit('.', 1)[-1] if role[1] else role[2]}`", line)
            line = _STAR.sub(lambda star: star[1] or r"\*", line)
        lines.append(line)
    return "\n".join(lines)
