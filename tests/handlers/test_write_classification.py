"""Reports of diagnosed cases: numbers, provenance, failures and interruptions; and that no image is ever among the files."""

import csv
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from ignite.engine import Events
from known_diagnoses import classifier, evaluator, write_case

import infomri_monai
from infomri_monai.acquisition import image_to_kspace
from infomri_monai.engines import ClassificationInferer
from infomri_monai.handlers import WriteClassification
from infomri_monai.sampling import PatternGenerationNetwork, VariableDensity

LOGITS = [[1.0, 0.2], [0.1, 1.4], [0.6, 0.6]]


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def rows(folder, name="report.csv"):
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def record(path):
    """The JSON file; NaN, which the standard does not know, is an error."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def softmax(logits):
    powers = np.exp(logits)
    return powers / powers.sum(-1, keepdims=True)


def leaves(value):
    """All lists and all other values below a JSON value."""
    if isinstance(value, dict):
        return [leaf for own in value.values() for leaf in leaves(own)]
    return [value]


def test_report_and_json_hold_the_known_diagnosis(tmp_path):
    write_case(tmp_path / "in" / "sub-1" / "t1.nii.gz", LOGITS)
    evaluator(tmp_path / "in", tmp_path / "out", labels=["no lesion", "lesion"]).run()
    assert files(tmp_path / "out") == ["report.csv", "sub-1/t1.json"]
    of_slices = softmax(LOGITS)
    mean = of_slices.mean(0)
    entropy = -(mean * np.log(mean)).sum()
    (row,) = rows(tmp_path / "out")
    expected = {
        "case": "1",
        "name": "sub-1/t1",
        "status": "ok",
        "reason": "",
        "simulated": "yes",
        "ratio_requested": "1.0",
        "ratio_realised": "1.0",
        "ratio_of_all_masks": "1.0",
        "acceleration": "1.0",
        "masks": "1",
        "slices": "3",
        "case_rule": "mean",
        "most_probable": "lesion",
        "mutual_information_nats": "",
        "warnings": "k-space was simulated from an image",
    }
    numbers = {"probability_no lesion": mean[0], "probability_lesion": mean[1], "entropy_nats": entropy}
    assert {**expected, **{name: row[name] for name in numbers}} == row
    assert {name: float(row[name]) for name in numbers} == pytest.approx(numbers, abs=1e-5)
    case = record(tmp_path / "out" / "sub-1" / "t1.json")
    told = {
        "simulated": True,
        "ratio_requested": 1.0,
        "seed": 3,
        "labels": ["no lesion", "lesion"],
        "multi_label": False,
        "masks": 1,
        "case_rule": "mean",
        "slices": 3,
        "most_probable": "lesion",
        "mutual_information": None,
        "slice_mutual_information": None,
        "network": "ImageClassifier",
        "warnings": ["k-space was simulated from an image"],
        "version": infomri_monai.__version__,
    }
    assert told.items() <= case.items()
    assert list(case["probabilities"].values()) == pytest.approx(mean, abs=1e-5)
    np.testing.assert_allclose(np.transpose(list(case["slice_probabilities"].values())), of_slices, atol=1e-5)
    np.testing.assert_allclose(case["slice_entropy"], -(of_slices * np.log(of_slices)).sum(1), atol=1e-5)
    assert case["entropy"] == float(row["entropy_nats"])


def test_independent_labels_and_several_masks(tmp_path):
    write_case(tmp_path / "in" / "knee.nii.gz", [[0.2, 1.5, 0.4], [1.1, 0.3, 0.2]])
    options = {
        "policy": VariableDensity(),
        "inferer": {"ratio": 0.6, "masks": 3},
        "network": classifier(3, multi_label=True),
    }
    evaluator(
        tmp_path / "in", tmp_path / "out", labels=["acl", "meniscus", "abnormal"], multi_label=True, **options
    ).run()
    (row,), case = rows(tmp_path / "out"), record(tmp_path / "out" / "knee.json")
    known = {name: float(row[f"probability_{name}"]) for name in ("acl", "meniscus", "abnormal")}
    assert known == case["probabilities"]
    assert row["above_one_half"] == "; ".join(name for name, probability in known.items() if probability > 0.5)
    assert row["most_probable"] == max(known, key=known.get)
    assert (row["case_rule"], row["masks"]) == ("max", "3")
    assert float(row["mutual_information_nats"]) == case["mutual_information"] > 0
    assert len(case["slice_mutual_information"]) == 2
    assert float(row["ratio_of_all_masks"]) > float(row["ratio_realised"]) == pytest.approx(0.6, abs=0.01)
    assert "3 masks are as many acquisitions, see ratio_of_all_masks" in row["warnings"].split("; ")


@pytest.mark.parametrize("kind", ["image", "kspace"])
def test_no_file_is_an_image_and_no_array_is_in_the_json(tmp_path, kind):
    volume = write_case(tmp_path / "in" / "a.nii.gz", LOGITS, shape=(40, 36))
    if kind == "kspace":
        (tmp_path / "in" / "a.nii.gz").unlink()
        spectra = np.stack(
            [image_to_kspace(torch.from_numpy(plane.copy())).numpy() for plane in np.moveaxis(volume, -1, 0)]
        )
        np.savez(tmp_path / "in" / "a.npz", kspace=spectra, mask=np.arange(36) % 3 == 0)
    evaluator(tmp_path / "in", tmp_path / "out", kind=kind, inferer={"ratio": 0.5}).run()
    assert files(tmp_path / "out") == ["a.json", "report.csv"]
    case = record(tmp_path / "out" / "a.json")
    lists = [leaf for leaf in leaves(case) if isinstance(leaf, list)]
    assert max(map(len, lists)) == len(LOGITS)  # one value a slice
    assert not [item for own in lists for item in own if isinstance(item, (list, dict))]
    numbers = [
        item
        for leaf in leaves(case)
        for item in (leaf if isinstance(leaf, list) else [leaf])
        if isinstance(item, float)
    ]
    assert len(numbers) < 30
    assert (tmp_path / "out" / "a.json").stat().st_size < 4000
    (row,) = rows(tmp_path / "out")
    assert row["simulated"] == ("yes" if kind == "image" else "no")
    assert row["ratio_requested"] == ("0.5" if kind == "image" else "")
    assert row["warnings"] == ("k-space was simulated from an image" if kind == "image" else "")
    assert float(row["ratio_realised"]) == pytest.approx(0.5 if kind == "image" else 1 / 3, abs=1e-3)


def test_broken_cases_have_a_reason_and_no_name_leaves_the_site(tmp_path, caplog):
    for name in ("a", "b", "DOE_JANE", "z"):
        volume = write_case(tmp_path / "in" / f"{name}.nii.gz", LOGITS)
    volume[3, 4, 0] = np.nan
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "in" / "DOE_JANE.nii.gz")
    nibabel.Nifti1Image(np.zeros((9, 8, 2), np.float32), np.eye(4)).to_filename(tmp_path / "in" / "b.nii.gz")
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(RuntimeError, match=r"2 of 4 cases failed.*case 1: .*NaN.*case 3: .*no signal"),
    ):
        evaluator(tmp_path / "in", tmp_path / "out", name_by="index").run()
    assert files(tmp_path / "out") == ["case_0002.json", "case_0004.json", "report.csv"]
    report = rows(tmp_path / "out")
    assert [(row["case"], row["name"], row["status"]) for row in report] == [
        ("1", "case_0001", "failed"),
        ("2", "case_0002", "ok"),
        ("3", "case_0003", "failed"),
        ("4", "case_0004", "ok"),
    ]
    assert report[0]["reason"] == "ValueError: image holds NaN or Inf values."
    assert report[0]["probability_class_0"] == report[0]["most_probable"] == report[0]["ratio_realised"] == ""
    assert "DOE" not in caplog.text
    assert b"DOE" not in b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())


def test_an_interruption_loses_nothing(tmp_path):
    for name in ("a", "b", "c", "d"):
        volume = write_case(tmp_path / "in" / f"{name}.nii.gz", LOGITS)
    nibabel.Nifti1Image(volume * np.nan, np.eye(4)).to_filename(tmp_path / "in" / "b.nii.gz")

    def interrupt():
        raise KeyboardInterrupt

    engine = evaluator(tmp_path / "in", tmp_path / "out")
    engine.add_event_handler(Events.ITERATION_STARTED(once=3), interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.run()
    assert [(row["name"], row["status"]) for row in rows(tmp_path / "out")] == [("a", "ok"), ("b", "failed")]
    assert files(tmp_path / "out") == ["a.json", "report.csv"]


def test_slices_without_signal_are_null_and_said(tmp_path):
    volume = write_case(tmp_path / "in" / "a.nii.gz", LOGITS)
    volume[..., 1] = 0
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "in" / "a.nii.gz")
    evaluator(tmp_path / "in", tmp_path / "out").run()
    case = record(tmp_path / "out" / "a.json")
    for values in (*case["slice_probabilities"].values(), case["slice_entropy"]):
        assert [value is None for value in values] == [False, True, False]
    assert list(case["probabilities"].values()) == pytest.approx(softmax(LOGITS)[[0, 2]].mean(0), abs=1e-5)
    assert "1 of 3 slices have no signal and do not count" in case["warnings"]


def test_a_ratio_beyond_the_trained_ones_and_a_phase_that_is_not_modelled_are_said(tmp_path):
    volume = write_case(tmp_path / "in" / "a.nii.gz", LOGITS)
    policy = PatternGenerationNetwork((13, 11), ratio_range=(0.1, 0.3))
    evaluator(tmp_path / "in", tmp_path / "image", policy=policy, inferer={"ratio": 0.5}).run()
    assert "the sampling ratio lies outside the range" in rows(tmp_path / "image")[0]["warnings"]
    np.save(tmp_path / "in" / "a.npy", image_to_kspace(torch.from_numpy(volume[..., 0].copy())).numpy())
    evaluator(tmp_path / "in", tmp_path / "kspace", network=classifier(real_valued=True), kind="kspace").run()
    assert rows(tmp_path / "kspace")[0]["warnings"] == "the network takes the measured object for real-valued"


def test_several_masks_of_measured_kspace_are_a_reason_in_clear_words(tmp_path):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", np.ones((6, 5), np.complex64))
    with pytest.raises(RuntimeError, match="masks must be 1 for measured k-space"):
        evaluator(tmp_path / "in", tmp_path / "out", kind="kspace", inferer={"masks": 2}).run()
    assert rows(tmp_path / "out")[0]["status"] == "failed"


def test_a_file_that_cannot_be_written_fails_its_case_only(tmp_path):
    for name in ("a", "b"):
        write_case(tmp_path / "in" / f"{name}.nii.gz", LOGITS)
    (tmp_path / "out" / "a.json").mkdir(parents=True)  # a folder where the file should go
    with pytest.raises(RuntimeError, match=r"1 of 2 cases failed.*cannot be written"):
        evaluator(tmp_path / "in", tmp_path / "out").run()
    assert [row["status"] for row in rows(tmp_path / "out")] == ["failed", "ok"]
    assert files(tmp_path / "out") == ["b.json", "report.csv"]


def test_a_second_run_forgets_the_first_and_writes_the_same_bytes(tmp_path):
    write_case(tmp_path / "in" / "a.nii.gz", LOGITS)
    engine = evaluator(tmp_path / "in", tmp_path / "out", policy=VariableDensity(), inferer={"ratio": 0.4, "masks": 2})
    written = []
    for _ in range(2):
        engine.run()
        written.append([(tmp_path / "out" / name).read_bytes() for name in ("a.json", "report.csv")])
    assert written[0] == written[1]
    assert len(rows(tmp_path / "out")) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name_by": "patient"}, "'stem' or 'index'"),
        ({"labels": "lesion"}, "labels must be different names"),
        ({"labels": ["lesion", "lesion"]}, "labels must be different names"),
        ({"labels": []}, "labels must be different names"),
        ({"multi_label": "true"}, "multi_label must be True or False"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        WriteClassification("out", **options)


def test_refuses_what_does_not_fit_the_network_before_any_file(tmp_path):
    write_case(tmp_path / "in" / "a.nii.gz", LOGITS)
    with pytest.raises(ValueError, match=r"labels must be 2 names, .*got \('lesion',\)"):
        evaluator(tmp_path / "in", tmp_path / "out", labels=["lesion"]).run()
    with pytest.raises(ValueError, match="multi_label=True, but the network has multi_label=False"):
        evaluator(tmp_path / "in", tmp_path / "out", multi_label=True).run()
    assert not (tmp_path / "out").exists()


def test_the_handler_knows_nothing_of_pictures():
    with pytest.raises(TypeError, match="figure"):
        WriteClassification("out", figure=True)
    with pytest.raises(TypeError, match="reconstruct"):
        ClassificationInferer(None, None, 0.25, reconstruct=True)


@pytest.mark.slow
def test_two_processes_write_what_one_writes(tmp_path):
    for i in range(5):
        volume = write_case(tmp_path / "in" / f"{i}.nii.gz", LOGITS, seed=i)
    nibabel.Nifti1Image(volume * np.nan, np.eye(4)).to_filename(tmp_path / "in" / "2.nii.gz")
    script = Path(__file__).with_name("ranks_diagnosis.py")
    folders = [str(tmp_path / "in"), str(tmp_path / "two")]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script), *folders]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *launch], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with pytest.raises(RuntimeError, match="1 of 5 cases failed"):
        evaluator(tmp_path / "in", tmp_path / "one").run()
    assert files(tmp_path / "two") == files(tmp_path / "one")
    for name in files(tmp_path / "one"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
