"""Settings of an application: its own app.yaml, what a user's file changes in it, and what the bundle makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.files import is_of_disk, system_words

if TYPE_CHECKING:
    from monai.bundle import ConfigParser

__all__ = ["blame", "check_dicom", "check_settings", "class_names", "evaluate_settings", "load_settings"]

#: task -> key of inference.json, and the network's attribute that says how many names there are
_KEYS = {"segmentation": ("structures", "structures"), "classification": ("labels", "num_classes")}


def class_names(task: str, config: Any, network: nn.Module) -> tuple[str, ...]:
    """Check the names: they become segments and codes of the DICOM objects.

    Args:
        task: "reconstruction", "segmentation" or "classification".
        config: has ``get_parsed_content``, as MONAI's ConfigParser.
        network: the bundle's network.

    Returns:
        One name for every structure of a segmentation (the background has none) or class of a classification; else none.

    Raises:
        ValueError: if they are not a list of different texts, one each; the message begins with the key.

    Example:
        >>> from types import SimpleNamespace
        >>> config = SimpleNamespace(get_parsed_content={"structures": "csf"}.get)
        >>> class_names("segmentation", config, SimpleNamespace(structures=3))
        Traceback (most recent call last):
        ValueError: structures must be a list of 3 different names, got 'csf'.
    """
    if task not in _KEYS:
        return ()
    key, attribute = _KEYS[task]
    names, number = config.get_parsed_content(key), int(getattr(network, attribute))
    texts = isinstance(names, (list, tuple)) and all(isinstance(name, str) and name.strip() for name in names)
    if not texts or len({name.strip() for name in names}) != number or len(names) != number:
        what = "1 name" if number == 1 else f"{number} different names"
        raise ValueError(f"{key} must be a list of {what}, got {names!r}.")
    return tuple(names)


#: keys of inference.json that an application sets itself
_OWN = (
    *("cases", "handlers", "imports", "output_dir", "bundle_root", "run"),
    *("dataset_dir", "pattern", "kind", "name_by", "figure", "save_samples"),
)
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list"}
_YAML = "; in YAML numbers have a decimal point and no quotes, those with an exponent also its sign: 5.0e-4"


def load_settings(own: Path, given: Path | None = None, section: str = "bundle") -> dict[str, Any]:
    """What stands in a section of an application's file, with a user's settings in place of those that both have.

    Args:
        own: the application's app.yaml.
        given: the user's file; its keys at the top must be those of the application's.
        section: "bundle", settings of the bundle; or "dicom", what goes in and out, whose keys are those of the application's file.

    Returns:
        Names and values, also of keys that only the user's file has.

    Raises:
        DeployError: if a file cannot be read, is empty, or holds something else; exit code ``EXIT_USAGE``.

    Example:
        >>> import tempfile
        >>> own, mine = (Path(tempfile.mkdtemp()) / "app.yaml" for _ in range(2))
        >>> _ = own.write_text("bundle: {ratio: 0.125, swap_axes: true}"), mine.write_text("bundle: {ratio: 0.25}")
        >>> load_settings(own, mine)
        {'ratio': 0.25, 'swap_axes': True}
    """
    content = _content(own)
    settings = dict(content.get(section) or {})
    if given is None:
        return settings
    changed = _content(given)
    if unknown := [key for key in changed if key not in content]:
        raise DeployError(
            f"config: there is no key {', '.join(map(repr, unknown))} at the top of the file, only {', '.join(content)}; settings "
            "of the bundle stand below 'bundle:'.",
            EXIT_USAGE,
        )
    if section == "dicom":
        check_dicom(changed.get("dicom") or {}, settings)
    return settings | (changed.get(section) or {})


def _content(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DeployError(f"config: the file cannot be read ({type(error).__name__}).", EXIT_USAGE) from None
    if content is None:
        raise DeployError("config: the file is empty; settings of the bundle stand below 'bundle:'.", EXIT_USAGE)
    if not isinstance(content, dict) or not isinstance(content.get("bundle", {}), (dict, type(None))):
        raise DeployError("config: 'bundle' must be a mapping of settings of the bundle's inference.json.", EXIT_USAGE)
    if not isinstance(content.get("dicom", {}), (dict, type(None))):
        raise DeployError("config: 'dicom' must be a mapping of settings of DICOM in and out.", EXIT_USAGE)
    return content


def check_dicom(given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Check settings of DICOM in and out.

    Args:
        given: a user's.
        known: all that there are, with their defaults.

    Raises:
        DeployError: exit code ``EXIT_USAGE``.

    Example:
        >>> check_dicom({"keep_empty_frames": 1}, {"keep_empty_frames": False})
        Traceback (most recent call last):
        infomri_monai.deploy.case.DeployError: settings: dicom: keep_empty_frames must be true or false, got 1.
    """
    for key, value in given.items():
        if key not in known:
            raise DeployError(f"settings: dicom has no setting {key!r}; there are {', '.join(known)}.", EXIT_USAGE)
        if not _fits(value, known[key]):
            kind = _KINDS[type(known[key])]
            raise DeployError(f"settings: dicom: {key} must be {kind}, got {value!r}.", EXIT_USAGE)


def check_settings(settings: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Check that settings exist and are of the kind that the configuration has.

    Args:
        settings: names and values; a text that begins with "$" or "@" is an expression of MONAI, which is not looked into.
        config: content of inference.json.

    Raises:
        DeployError: exit code ``EXIT_USAGE``.

    Example:
        >>> check_settings({"seed": "x"}, {"ratio": 0.125, "seed": 0})
        Traceback (most recent call last):
        infomri_monai.deploy.case.DeployError: settings: seed must be a whole number, got 'x'; in YAML numbers have ...
    """
    wrong = [key for key in settings if key not in config or key in _OWN]
    if wrong:
        raise DeployError(
            f"settings: the bundle has no setting {', '.join(map(repr, wrong))}; there are "
            f"{', '.join(key for key, value in config.items() if key not in _OWN and not isinstance(value, dict))}.",
            EXIT_USAGE,
        )
    for key, value in settings.items():
        default = config[key]
        if type(default) not in _KINDS or _is_expression(default) or _is_expression(value) or _fits(value, default):
            continue
        hint = _YAML if isinstance(value, str) and type(default) in (int, float) else ""
        raise DeployError(f"settings: {key} must be {_KINDS[type(default)]}, got {value!r}{hint}.", EXIT_USAGE)


def evaluate_settings(settings: Mapping[str, Any], parser: ConfigParser) -> None:
    """Evaluate the settings that are expressions of MONAI, so that what is wrong with one is not taken for a fault of the model.

    Args:
        settings: names and values; the parser has them, too.
        parser: of the bundle's configuration.

    Raises:
        DeployError: exit code ``EXIT_USAGE``.

    Example:
        >>> from monai.bundle import ConfigParser
        >>> evaluate_settings({"samples": "$8 / 0"}, ConfigParser({"samples": "$8 / 0"}))
        Traceback (most recent call last):
        infomri_monai.deploy.case.DeployError: settings: samples cannot be evaluated (ZeroDivisionError), got '$8 / 0'.
    """
    for key, value in settings.items():
        if not _is_expression(value):
            continue
        try:
            parser.get_parsed_content(key)
        except Exception as error:  # whatever an expression raises
            kind = type(_unwrapped(error)).__name__
            raise DeployError(f"settings: {key} cannot be evaluated ({kind}), got {value!r}.", EXIT_USAGE) from None


def _is_expression(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("$", "@"))


def _fits(value: Any, default: bool | int | float | str | list[Any]) -> bool:
    """Whether a value is of the kind of another one."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, str):
        return value is None or isinstance(value, str)
    if isinstance(default, list):
        return isinstance(value, list)
    return isinstance(value, (int, float) if isinstance(default, float) else int)


def blame(error: BaseException, settings: Mapping[str, Any]) -> str:
    """What is wrong if a bundle cannot be built, beginning with "settings:" where a setting is at fault, else with "models:".

    Args:
        error: whatever the configuration raised; its message names files of the model, not of a patient.
        settings: what was set.

    Example:
        >>> blame(ValueError("ratio must lie in (0, 1], got 2."), {"ratio": 2})
        'settings: ratio must lie in (0, 1], got 2.'
        >>> blame(ValueError("model.pt is damaged."), {"ratio": 2})
        'models: the bundle cannot be built: ValueError: model.pt is damaged.'
    """
    reason = _unwrapped(error)
    said = f"{type(reason).__name__}: {reason}"
    if isinstance(reason, ValueError) and str(reason).partition(" ")[0].partition("=")[0] in settings:
        return f"settings: {reason}"
    for key, value in settings.items():
        if key.endswith("_path") and isinstance(value, str) and value and value in said:
            return f"settings: {key}: {said}"
    if is_of_disk(reason) and reason.filename is not None:
        said = f"{Path(str(reason.filename)).name} cannot be read ({system_words(reason)})."
    return f"models: the bundle cannot be built: {said}"


def _unwrapped(error: BaseException) -> BaseException:
    """What MONAI wraps into a RuntimeError of its own; causes of our errors are no news to a user."""
    return error.__cause__ if type(error) is RuntimeError and error.__cause__ else error
