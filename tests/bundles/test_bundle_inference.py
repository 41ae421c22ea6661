"""configs/inference.json of every bundle as a user runs it, with small random weights."""

import shutil

import pytest
from bundle_table import every_bundle
from inferring import copied_bundle, network, record, refusal, workflow
from running import files


@pytest.fixture
def root(bundle, tmp_path, monkeypatch):
    """The root of a copy of the bundle; it is the working directory, as the model zoo's commands want it."""
    copied = copied_bundle(bundle.root, tmp_path / "bundle", network(bundle.root, **bundle.tiny_model))
    for name in bundle.models:
        shutil.copy(bundle.root / "models" / name, copied / "models" / name)
    monkeypatch.chdir(copied)
    return copied


@every_bundle
def test_it_works_out_of_the_box_and_has_the_zoos_properties(bundle, root):
    flow = workflow(**bundle.tiny_model, **bundle.tiny_inference)
    flow.initialize()
    assert not flow.check_properties()
    flow.run()
    output = root / "output" / "inference"
    subjects = sorted(path.stem for path in output.glob("subject_*.json"))
    assert len(subjects) == bundle.embedded_cases
    assert files(output) == {name + end for name in subjects for end in bundle.case_files} | bundle.folder_files
    sidecar = record(output / f"{subjects[0]}.json")
    assert (sidecar["simulated"], sidecar["ratio_requested"]) == (True, 0.125)
    size = sidecar["shape"] if bundle.maps else [*sidecar["grid"], sidecar["slices"]]
    assert size == [*bundle.grid, 4]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratio": 0}, "ratio must lie in"),
        ({"ratio": 8}, "An acceleration of 4 is a ratio of 0.25"),
        ({"dataset_dir": "nowhere"}, "there is no nowhere"),
        ({"grid_mode": "stretch"}, "grid_mode must be"),
        ({"model_path": "models/policy.pt"}, "not a plain state dict"),
        ({"policy_path": "models/model.pt"}, "not a policy checkpoint"),
    ],
)
@every_bundle
def test_bad_input_is_refused_before_any_work(bundle, root, values, message):
    assert message in refusal(**{**bundle.tiny_model, **values})
    assert not (root / "output").exists()
