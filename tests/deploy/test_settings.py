"""A user's file changes single settings of an application; everything else in it is refused."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from application_runs import APPLICATIONS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import infomri_monai.deploy
from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.settings import blame, check_settings, load_settings

FOLDER = Path(infomri_monai.deploy.__path__[0])
BUNDLES = Path(__file__).parents[2] / "bundles"
every_application = pytest.mark.parametrize("name", APPLICATIONS)


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@every_application
def test_one_setting_leaves_the_others(name, tmp_path):
    own = FOLDER / name / "app.yaml"
    shipped = yaml.safe_load(own.read_text())["bundle"]
    assert shipped["swap_axes"] is True
    assert load_settings(own) == shipped
    found = load_settings(own, written(tmp_path / "mine.yaml", "bundle:\n  ratio: 0.3\n  noise_std: 0.0\n"))
    assert found == {**shipped, "ratio": 0.3, "noise_std": 0.0}
    check_settings(found, json.loads((BUNDLES / APPLICATIONS[name] / "configs/inference.json").read_text()))
    assert load_settings(own, own) == shipped


@pytest.mark.parametrize("text", ["bundle:\n", "application:\n  title: mine\n", "bundle: {}\n"])
def test_a_file_without_settings_changes_nothing(text, tmp_path):
    own = FOLDER / "segmentation/app.yaml"
    assert load_settings(own, written(tmp_path / "mine.yaml", text)) == load_settings(own)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(*(st.dictionaries(st.sampled_from("abcd"), st.integers() | st.booleans() | st.text("xyz")),) * 2)
def test_the_users_value_wins_and_no_key_is_lost(tmp_path_factory, own, given_):
    folder = tmp_path_factory.mktemp("settings")
    files = [
        written(folder / f"{n}.yaml", yaml.safe_dump({"bundle": content})) for n, content in enumerate((own, given_))
    ]
    found = load_settings(*files)
    assert found.keys() == own.keys() | given_.keys()
    assert all(found[key] == given_.get(key, own.get(key)) for key in found)


@given(
    st.sampled_from([True, 3, 0.5, "adapt", [2]]),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("abc1.,-", max_size=5) | st.just([1]),
)
def test_a_value_is_of_its_defaults_kind(default, value):
    """A whole number is a number, true is none; a text may be absent."""
    kinds = {bool: (bool,), int: (int,), float: (int, float), str: (str, type(None)), list: (list,)}
    fits = type(value) in kinds[type(default)]
    with nullcontext() if fits else pytest.raises(DeployError) as error:
        check_settings({"a": value}, {"a": default})
    if not fits:
        assert str(error.value).startswith("settings: a must be ")
        assert repr(value) in str(error.value)


def test_what_is_no_plain_value_is_left_to_the_bundle():
    config = {"noise": {"_target_": "x"}, "none": None, "path": "$@bundle_root + '/a'", "seed": 0}
    check_settings({"noise": None, "none": 3, "path": 4, "seed": "@other"}, config)


def test_only_the_wrapper_of_monai_is_taken_off():
    """Our own errors say more than what led to them."""
    ours = ValueError("triage.json is not JSON.")
    ours.__cause__ = json.JSONDecodeError("Expecting property name", "{", 1)
    wrapped = RuntimeError("Failed to instantiate component")
    wrapped.__cause__ = ours
    for error in (ours, wrapped):
        assert blame(error, {}) == "models: the bundle cannot be built: ValueError: triage.json is not JSON."
    assert blame(RuntimeError("no cause"), {}) == "models: the bundle cannot be built: RuntimeError: no cause"
