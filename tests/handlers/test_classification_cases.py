"""Files of classified cases hold the known diagnosis and no image; an interruption loses nothing."""

import nibabel
import numpy as np
import pytest
import torch
from case_runs import engine_of, files, rows, says, sidecar
from helper import refuses
from ignite.engine import Events
from known_diagnoses import classifier, write_case
from small_engines import on_two_ranks

import infomri_monai
from infomri_monai.acquisition import image_to_kspace
from infomri_monai.engines import ClassificationInferer
from infomri_monai.handlers import WriteClassification
from infomri_monai.sampling import PatternGenerationNetwork, VariableDensity

LOGITS = [[1.0, 0.2], [0.1, 1.4], [0.6, 0.6]]


def diagnose(*args, **options):
    """The evaluator of the classification bundle, small."""
    return engine_of("classification", *args, **options)


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
    diagnose(tmp_path / "in", tmp_path / "out", labels=["no lesion", "lesion"]).run()
    assert files(tmp_path / "out") == ["report.csv", "sub-1/t1.json"]
    of_slices = softmax(LOGITS)
    mean = of_slices.mean(0)
    entropy = -(mean * np.log(mean)).sum()
    (row,) = rows(tmp_path / "out")
    numbers = {"probability_no lesion": mean[0], "probability_lesion": mean[1], "entropy_nats": entropy}
    assert {name: float(row[name]) for name in numbers} == pytest.approx(numbers, abs=1e-5)
    warning = "k-space was simulated from an image"
    says(row, case="1", name="sub-1/t1", status="ok", reason="", simulated="yes", warnings=warning, acceleration="1.0")
    says(row, ratio_requested="1.0", ratio_realised="1.0", ratio_of_all_masks="1.0", masks="1", slices="3")
    says(row, case_rule="mean", most_probable="lesion", mutual_information_nats="")
    case = sidecar(tmp_path / "out" / "sub-1" / "t1.json")
    says(case, simulated=True, ratio_requested=1.0, seed=3, labels=["no lesion", "lesion"], multi_label=False, masks=1)
    says(case, case_rule="mean", slices=3, most_probable="lesion", warnings=[warning], network="ImageClassifier")
    says(case, mutual_information=None, slice_mutual_information=None, version=infomri_monai.__version__)
    assert list(case["probabilities"].values()) == pytest.approx(mean, abs=1e-5)
    np.testing.assert_allclose(np.transpose(list(case["slice_probabilities"].values())), of_slices, atol=1e-5)
    np.testing.assert_allclose(case["slice_entropy"], -(of_slices * np.log(of_slices)).sum(1), atol=1e-5)
    assert case["entropy"] == float(row["entropy_nats"])


def test_independent_labels_and_several_masks(tmp_path):
    write_case(tmp_path / "in" / "knee.nii.gz", [[0.2, 1.5, 0.4], [1.1, 0.3, 0.2]])
    labels, network = ["acl", "meniscus", "abnormal"], classifier(3, multi_label=True)
    acquire = {"policy": VariableDensity(), "inferer": {"ratio": 0.6, "masks": 3}}
    diagnose(tmp_path / "in", tmp_path / "out", network=network, labels=labels, multi_label=True, **acquire).run()
    (row,), case = rows(tmp_path / "out"), sidecar(tmp_path / "out" / "knee.json")
    known = {name: float(row[f"probability_{name}"]) for name in labels}
    assert known == case["probabilities"]
    above = "; ".join(name for name, probability in known.items() if probability > 0.5)
    says(row, above_one_half=above, most_probable=max(known, key=known.get), case_rule="max", masks="3")
    assert float(row["mutual_information_nats"]) == case["mutual_information"] > 0
    assert len(case["slice_mutual_information"]) == 2
    assert float(row["ratio_of_all_masks"]) > float(row["ratio_realised"]) == pytest.approx(0.6, abs=0.01)
    assert "3 masks are as many acquisitions, see ratio_of_all_masks" in row["warnings"].split("; ")


@pytest.mark.parametrize("kind", ["image", "kspace"])
def test_no_file_is_an_image_and_no_array_is_in_the_json(tmp_path, kind):
    volume = write_case(tmp_path / "in" / "a.nii.gz", LOGITS, shape=(40, 36))
    if kind == "kspace":
        (tmp_path / "in" / "a.nii.gz").unlink()
        spectra = image_to_kspace(torch.from_numpy(np.moveaxis(volume, -1, 0).copy())).numpy()
        np.savez(tmp_path / "in" / "a.npz", kspace=spectra, mask=np.arange(36) % 3 == 0)
    diagnose(tmp_path / "in", tmp_path / "out", kind=kind, inferer={"ratio": 0.5}).run()
    assert files(tmp_path / "out") == ["a.json", "report.csv"]
    values = leaves(sidecar(tmp_path / "out" / "a.json"))
    lists = [value for value in values if isinstance(value, list)]
    assert max(map(len, lists)) == len(LOGITS)  # one value a slice
    assert not [item for own in lists for item in own if isinstance(item, (list, dict))]
    assert sum(isinstance(item, float) for value in values for item in np.atleast_1d(np.array(value, object))) < 30
    assert (tmp_path / "out" / "a.json").stat().st_size < 4000
    (row,) = rows(tmp_path / "out")
    told = {"image": ("yes", "0.5", "k-space was simulated from an image"), "kspace": ("no", "", "")}[kind]
    assert (row["simulated"], row["ratio_requested"], row["warnings"]) == told
    assert float(row["ratio_realised"]) == pytest.approx(0.5 if kind == "image" else 1 / 3, abs=1e-3)


def test_an_interruption_loses_nothing(tmp_path):
    for name in ("a", "b", "c", "d"):
        volume = write_case(tmp_path / "in" / f"{name}.nii.gz", LOGITS)
    nibabel.Nifti1Image(volume * np.nan, np.eye(4)).to_filename(tmp_path / "in" / "b.nii.gz")

    def interrupt():
        raise KeyboardInterrupt

    engine = diagnose(tmp_path / "in", tmp_path / "out")
    engine.add_event_handler(Events.ITERATION_STARTED(once=3), interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.run()
    assert [(row["name"], row["status"]) for row in rows(tmp_path / "out")] == [("a", "ok"), ("b", "failed")]
    assert files(tmp_path / "out") == ["a.json", "report.csv"]


def test_slices_without_signal_are_null_and_said(tmp_path):
    volume = write_case(tmp_path / "in" / "a.nii.gz", LOGITS)
    volume[..., 1] = 0
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "in" / "a.nii.gz")
    diagnose(tmp_path / "in", tmp_path / "out").run()
    case = sidecar(tmp_path / "out" / "a.json")
    for values in (*case["slice_probabilities"].values(), case["slice_entropy"]):
        assert [value is None for value in values] == [False, True, False]
    assert list(case["probabilities"].values()) == pytest.approx(softmax(LOGITS)[[0, 2]].mean(0), abs=1e-5)
    assert "1 of 3 slices have no signal and do not count" in case["warnings"]


def test_a_ratio_beyond_the_trained_ones_and_a_phase_that_is_not_modelled_are_said(tmp_path):
    volume = write_case(tmp_path / "in" / "a.nii.gz", LOGITS)
    policy = PatternGenerationNetwork((13, 11), ratio_range=(0.1, 0.3))
    diagnose(tmp_path / "in", tmp_path / "image", policy=policy, inferer={"ratio": 0.5}).run()
    assert "the sampling ratio lies outside the range" in rows(tmp_path / "image")[0]["warnings"]
    np.save(tmp_path / "in" / "a.npy", image_to_kspace(torch.from_numpy(volume[..., 0].copy())).numpy())
    diagnose(tmp_path / "in", tmp_path / "kspace", network=classifier(real_valued=True), kind="kspace").run()
    assert rows(tmp_path / "kspace")[0]["warnings"] == "the network takes the measured object for real-valued"


def test_several_masks_of_measured_kspace_are_a_reason_in_clear_words(tmp_path):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", np.ones((6, 5), np.complex64))
    engine = diagnose(tmp_path / "in", tmp_path / "out", kind="kspace", inferer={"masks": 2})
    refuses(RuntimeError, "masks must be 1 for measured k-space", engine.run)
    assert rows(tmp_path / "out")[0]["status"] == "failed"


def test_classification_refuses_what_does_not_fit_before_any_file(tmp_path):
    write_case(tmp_path / "in" / "a.nii.gz", LOGITS)
    engine = diagnose(tmp_path / "in", tmp_path / "out", labels=["lesion"])
    refuses(ValueError, r"labels must be 2 names, .*got \('lesion',\)", engine.run)
    engine = diagnose(tmp_path / "in", tmp_path / "out", multi_label=True)
    refuses(ValueError, "multi_label=True, but the network has multi_label=False", engine.run)
    assert not (tmp_path / "out").exists()


def test_the_handler_knows_nothing_of_pictures():
    refuses(TypeError, "figure", WriteClassification, "out", figure=True)
    refuses(TypeError, "reconstruct", ClassificationInferer, None, None, 0.25, reconstruct=True)


@pytest.mark.slow
def test_two_processes_write_what_one_writes(tmp_path):
    for i in range(5):
        volume = write_case(tmp_path / "in" / f"{i}.nii.gz", LOGITS, seed=i)
    nibabel.Nifti1Image(volume * np.nan, np.eye(4)).to_filename(tmp_path / "in" / "2.nii.gz")
    on_two_ranks("ranks_diagnosis.py", tmp_path / "in", tmp_path / "two")
    refuses(RuntimeError, "1 of 5 cases failed", diagnose(tmp_path / "in", tmp_path / "one").run)
    assert files(tmp_path / "two") == files(tmp_path / "one")
    for name in files(tmp_path / "one"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
