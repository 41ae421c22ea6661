"""What the documentation site needs beyond mkdocs.yml: which figures a gallery page shows, and the pages that live elsewhere.

mkdocs-gallery loads ``conf`` from here, and MkDocs the events ``on_...`` (a hook).
"""

from __future__ import annotations

import ast
import logging
import posixpath
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

_LOGGER = logging.getLogger("mkdocs.site_build")  # a warning there fails a strict build
ROOT = Path(__file__).resolve().parents[1]
#: pages of the site whose source lies outside docs/: source -> place in the site
PAGES = {
    "bundles/infomri_recon/docs/README.md": "bundles/infomri_recon.md",
    "bundles/infomri_segmentation/docs/README.md": "bundles/infomri_segmentation.md",
    "bundles/infomri_privacy_classification/docs/README.md": "bundles/infomri_privacy_classification.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
#: the package as it is when it is installed, for mkdocstrings, which reads files
SOURCES = ROOT / "build" / "site" / "infomri_monai"
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
_FROM_ELSEWHERE = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|data)=[\"']?(?:https?:)?//[^\s>]*"
    r"|<link\b(?![^>]*\brel=[\"']?(?:canonical|license|next|prev))[^>]*?\bhref=[\"']?(?:https?:)?//[^\s>]*"
)
_PICTURE = re.compile(r"<img\b[^>]*?\bsrc=[\"'](?!data:|(?:https?:)?//)([^\"'#?]*)")
_IMPORTED = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^\s)]*")
_PICTURES = (".png", ".svg", ".jpg")


def on_startup(**_: Any) -> None:
    """Lay the package's folders side by side: ``transforms/`` lies outside ``infomri_monai/`` until it is installed."""
    shutil.rmtree(SOURCES, ignore_errors=True)
    SOURCES.mkdir(parents=True)
    for path in (*(ROOT / "infomri_monai").iterdir(), ROOT / "transforms"):
        if path.name != "__pycache__":
            (SOURCES / path.name).symlink_to(path)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live elsewhere, and the pictures they show."""
    for source, place in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        pictures: dict[str, str] = {}
        text = _LINK.sub(lambda link, s=source, p=place, found=pictures: _link(link, s, p, found), text)
        files.append(File.generated(config, place, content=text))
        for picture, target in pictures.items():
            if not (ROOT / picture).is_file():
                _LOGGER.warning("%s shows %s, which is not there", source, picture)
            elif files.get_file_from_path(target) is None:
                files.append(File.generated(config, target, abs_src_path=str(ROOT / picture)))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that loads anything from elsewhere, which must be read without network, or lacks a picture."""
    site, found = Path(config.site_dir), []
    for path in sorted((*site.rglob("*.*ml"), *site.rglob("*.css"))):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(site)
        loads = _IMPORTED if path.suffix == ".css" else _FROM_ELSEWHERE
        found += [f"{name}: loads from elsewhere, {match[0]}" for match in loads.finditer(text)]
        if path.suffix == ".html" and name.name != "404.html":
            pictures = {match[1] for match in _PICTURE.finditer(text)}
            found += [f"{name}: no file {picture}" for picture in pictures if not (path.parent / picture).is_file()]
    if found:
        raise PluginError("the site is not whole:\n" + "\n".join(found[:20]))


def _link(link: re.Match[str], source: str, place: str, pictures: dict[str, str]) -> str:
    """A link of a page that lives elsewhere, as it must be in the site; to a file that is no page: its text alone."""
    mark, text, target, anchor = link[1], link[2], link[3], link[4] or ""
    if re.match(r"[a-z]+:", target):
        return link[0]
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if wanted.endswith(_PICTURES):
        there = wanted.removeprefix("docs/") if wanted.startswith("docs/") else f"pictures/{posixpath.basename(wanted)}"
        pictures[wanted] = there
    elif wanted in PAGES:
        there = PAGES[wanted]
    elif wanted.startswith("docs/") and wanted.endswith(".md"):
        there = wanted.removeprefix("docs/")
    else:
        return text
    return f"{mark}[{text}]({posixpath.relpath(there, posixpath.dirname(place) or '.')}{anchor})"


def show_last(block: Any, script: Any) -> str:
    """The picture of a block that ends with a figure or a Pillow image, as a notebook shows it.

    mkdocs-gallery's own scraper sees figures of pyplot only, shown or not; the package draws without pyplot.
    """
    from matplotlib import pyplot as plt
    from matplotlib.figure import Figure
    from mkdocs_gallery.scrapers import figure_md_or_html
    from PIL import Image

    code = ast.parse(block[1]).body
    last = script.run_vars.example_globals.get("___") if code and isinstance(code[-1], ast.Expr) else None
    if not isinstance(last, Figure | Image.Image):
        return ""
    path = Path(next(script.run_vars.image_path_iterator))
    if isinstance(last, Figure):
        last.savefig(path, dpi=150)
    else:
        last.save(path)
    plt.close("all")
    return figure_md_or_html([path], script)


def quiet(gallery_conf: Any, file: Any) -> None:
    """Leave log lines and warnings that come again and again, of other people's code, out of the pages."""
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore", "parsing config_file")  # MONAI, at every run: a config may name any object
    warnings.filterwarnings("ignore", "builtin type .* has no __module__ attribute")  # ITK's SWIG modules
    warnings.filterwarnings("ignore", "`torch.jit")  # importing Ignite imports torch.distributed.optim


conf = {"image_scrapers": (show_last,), "reset_modules": (quiet,)}
