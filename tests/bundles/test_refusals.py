"""What the bundles' trainings and evaluations refuse, before any work is done."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bundle_table import BUNDLES, Refusal, every_bundle, first_bundle_fast
from running import evaluate, files, run_bundle, tiny

#: of what fails at the first validation, epochs later, or at the end: told before the first step
OF_EVERY_BUNDLE = (
    Refusal(
        {"volume_key": "patient"},
        "validation_data cannot be validated with: volume_key 'patient' is no key of the data",
    ),
    Refusal(
        {"validation_data#grid": [32, 48]},
        "its images have the shape (1, 32, 48), those of the training (1, 32, 32)",
        slow=True,
    ),
    Refusal({"tracking_uri": "http://127.0.0.1:9"}, "tracking_uri: no server answers at 127.0.0.1", slow=True),
    Refusal(
        {"output_dir": "/dev/null/out"},
        "output_dir: /dev/null/out cannot be written: /dev/null is no folder",
        slow=True,
    ),
    Refusal({"ratio_range": [0, 2]}, "ratio_range must lie in (0, 1]"),
    Refusal({"evaluation_ratios": [0.0]}, "ratios must lie in (0, 1]", slow=True),
)


def assert_refused(done, message, output):
    assert done.returncode != 0
    assert message in done.stderr
    assert not output.exists()


@pytest.mark.parametrize(
    ("bundle", "refusal"),
    [
        pytest.param(b, r, id=f"{b.name}-{'-'.join(r.values)}", marks=[pytest.mark.slow] if r.slow else [])
        for b in BUNDLES
        for r in (*OF_EVERY_BUNDLE, *b.refusals)
    ],
)
def test_bad_values(bundle, refusal, tmp_path):
    done = run_bundle(bundle, ["train"], tmp_path / "out", tiny(bundle, **refusal.values))
    assert_refused(done, refusal.message, tmp_path / "out")


def paths(bundle, trained):
    own = {key: trained / name for key, name in bundle.statistics.items()}
    return {"policy_path": trained / "policy.pt", "model_path": trained / "model.pt", **own}


@first_bundle_fast
def test_evaluating_on_another_grid(bundle, trained, tmp_path):
    done = evaluate(bundle, tmp_path / "out", grid=[48, 40], **paths(bundle, trained))
    assert_refused(done, bundle.other_grid, tmp_path / "out")


@pytest.mark.slow
@every_bundle
def test_statistics_of_other_data(bundle, trained, tmp_path):
    if not bundle.statistics:
        pytest.skip("this bundle's evaluation reads none")
    done = evaluate(bundle, tmp_path / "out", **{**paths(bundle, trained), "train_data#subjects": 5})
    assert_refused(done, "belongs to another data set: it was computed from 16 images", tmp_path / "out")


@pytest.mark.slow
@every_bundle
def test_weights_of_another_architecture(bundle, trained, tmp_path):
    overlay, network = bundle.other_architecture
    done = evaluate(bundle, tmp_path / "out", [overlay], **paths(bundle, trained))
    assert_refused(done, f"another architecture than {network}", tmp_path / "out")


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.pt", "model.pt is not a plain checkpoint"),
        ("policy.pt", "policy.pt is not a plain checkpoint"),
        ("checkpoint.pt", "Weights only load failed"),
    ],
)
@every_bundle
def test_a_pickle_that_executes_code(bundle, name, message, trained, tmp_path):
    torch.save({"system": Malicious(tmp_path / "executed")}, tmp_path / name)
    if name == "checkpoint.pt":
        done = run_bundle(bundle, ["train"], tmp_path / "out", tiny(bundle, resume_from=tmp_path / name))
    else:
        values = {**paths(bundle, trained), f"{name.removesuffix('.pt')}_path": tmp_path / name}
        done = evaluate(bundle, tmp_path / "out", **values)
    assert done.returncode != 0
    assert message in done.stderr  # its name alone is in the log anyway
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "out").exists() or not files(tmp_path / "out")
