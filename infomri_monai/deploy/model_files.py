"""Finding the one bundle in a models folder that an application runs: a bundle's directory or a TorchScript archive."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.files import system_words

__all__ = ["BundleFiles", "find_bundle", "sha256"]

#: task -> class name of its inferer
INFERERS = {
    "reconstruction": "VolumeInferer",
    "segmentation": "SegmentationInferer",
    "classification": "ClassificationInferer",
}
_ARCHIVES = (".ts", ".pt", ".pth", ".torchscript")
_CONFIGS = ("inference.json", "metadata.json")


class BundleFiles(NamedTuple):
    """A bundle as it lies on disk.

    Attributes:
        root: folder that "bundle_root" of the configuration stands for.
        config: content of inference.json.
        metadata: content of metadata.json.
        archive: the TorchScript archive that holds weights, config and metadata; None for a directory.
    """

    root: Path
    config: dict[str, Any]
    metadata: dict[str, Any]
    archive: Path | None

    @property
    def task(self) -> str | None:
        """What the configured inferer does; None if it is none of ours."""
        inferer = self.config.get("inferer", {})
        inner = inferer.get("inferer", inferer) if isinstance(inferer, dict) else {}
        target = str(inner.get("_target_", "")).rpartition(".")[2] if isinstance(inner, dict) else ""
        return next((task for task, name in INFERERS.items() if name == target), None)


def find_bundle(models: Path, task: str) -> BundleFiles:
    """Find the bundle for a task.

    Args:
        models: a bundle's directory (with ``configs/inference.json`` and ``models/``); a TorchScript archive of ``monai.bundle
            ckpt_export``, with ``policy.pt`` (and, for segmentation, ``triage.json``) beside it; or a folder with such directories
            or archives, at most one level further down, of which one is for the task.
        task: "reconstruction", "segmentation" or "classification".

    Returns:
        Its files and configuration.

    Raises:
        DeployError: if there is none, or several, or it cannot be read; exit code ``EXIT_USAGE``.

    Example:
        >>> import tempfile
        >>> models = Path(tempfile.mkdtemp())
        >>> (models / "mine/configs").mkdir(parents=True)
        >>> config = {"inferer": {"_target_": "infomri_monai.engines.SegmentationInferer"}}
        >>> for name, content in zip(_CONFIGS, (config, {"version": "1.0"})):
        ...     _ = (models / "mine/configs" / name).write_text(json.dumps(content))
        >>> find_bundle(models, "segmentation").root.name
        'mine'
    """
    try:
        if not models.exists():
            raise DeployError("models: the path does not exist.", EXIT_USAGE)
        found = [files for path in _candidates(models) if (files := _read(path)) is not None]
        place = "file" if models.is_file() else "folder"
    except OSError as error:
        raise DeployError(f"models: the path cannot be read ({system_words(error)}).", EXIT_USAGE) from None
    fitting = [files for files in found if files.task == task]
    if len(fitting) == 1:
        return fitting[0]
    tasks = sorted(str(files.task) for files in found)
    what = f"holds {len(fitting)} bundles" if fitting else f"holds no bundle (found: {', '.join(tasks) or 'none'})"
    if place == "file" and not found:
        what += ", it may be the weights or the policy of one,"
    raise DeployError(
        f"models: the {place} {what} for {task}; give one bundle's directory (configs/inference.json) or one TorchScript archive "
        "that was exported from it.",
        EXIT_USAGE,
    )


def sha256(path: Path) -> str:
    """Checksum of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _candidates(models: Path) -> list[Path]:
    """Bundle directories and archives; a bundle's own files are not searched for archives."""
    if models.is_file() or _is_bundle(models):
        return [models]
    found: list[Path] = []
    for path in sorted(models.iterdir()):
        if path.is_dir():
            found += [path] if _is_bundle(path) else [p for p in sorted(path.iterdir()) if p.is_file()]
        else:
            found.append(path)
    return [path for path in found if path.is_dir() or path.suffix in _ARCHIVES]


def _is_bundle(path: Path) -> bool:
    return (path / "configs/inference.json").is_file()


def _read(path: Path) -> BundleFiles | None:
    """The bundle at a path; None for an archive without configuration (a plain checkpoint)."""
    try:
        if path.is_dir():
            config, metadata = (_mapping((path / "configs" / name).read_bytes()) for name in _CONFIGS)
            return BundleFiles(path, config, metadata, None)
        with zipfile.ZipFile(path) as archive:
            by_name = {Path(name).name: name for name in archive.namelist() if "/extra/" in name}
            if not set(_CONFIGS) <= set(by_name):
                return None
            config, metadata = (_mapping(archive.read(by_name[name])) for name in _CONFIGS)
            return BundleFiles(path.parent, config, metadata, path)
    except zipfile.BadZipFile:
        raise DeployError(
            f"models: {path.name} is damaged, or no TorchScript archive of monai.bundle ckpt_export.", EXIT_USAGE
        ) from None
    except (OSError, ValueError) as error:
        raise DeployError(
            f"models: configuration of {path.name} cannot be read ({type(error).__name__}).", EXIT_USAGE
        ) from None


def _mapping(content: bytes) -> dict[str, Any]:
    """The object in a JSON file."""
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError
    return found
