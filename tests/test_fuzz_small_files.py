"""Damaged checkpoints, statistics, thresholds, phase encodes, lists and settings, and any options of ``infomri-export-masks``."""

import json
import math
import random
import shutil
import warnings

import numpy as np
import pytest
import torch
from fuzzing import ODD, SEED, bytes_changed, judge
from torch import nn

from infomri_monai.acquisition import KSpaceStatistics
from infomri_monai.data import decathlon_slices, read_split
from infomri_monai.data.fastmri_plus import read_annotations, read_file_list
from infomri_monai.data.skm_tea import _subjects
from infomri_monai.deploy.settings import load_settings
from infomri_monai.networks import load_network
from infomri_monai.sampling import LOUPE, PatternGenerationNetwork, VariableDensity, load_policy, save_policy
from infomri_monai.scanner.export import main
from infomri_monai.scanner.gradient_echo import GradientEcho
from infomri_monai.scanner.mask_files import write_masks
from infomri_monai.scanner.ordering import read_phase_encodes
from infomri_monai.scanner.pulseq import read_pulseq_lines
from infomri_monai.triage import ReviewThreshold, save_threshold
from infomri_monai.triage.threshold import load_threshold


def state(module):
    return [value for value in module.state_dict().values() if value.dtype != torch.bool]


#: suffix and inputs of a kind, and what reads it, as tensors
KINDS = {
    "policy": (".pt", 150, lambda path: state(load_policy(path))),
    "network": (".pt", 150, lambda path: state(load_network(nn.Linear(3, 2), path))),
    "statistics": (".npz", 150, lambda path: [KSpaceStatistics.load(path).variance_real]),
    "threshold": (".json", 100, lambda path: [load_threshold(path).acceptable]),
    "encodes": (".csv", 100, lambda path: [read_phase_encodes(path).mask]),
    "sequence": (".seq", 40, lambda path: [read_pulseq_lines(path).mask]),
    "split": (".txt", 60, lambda path: [len(read_split(path))]),
    "annotations": (".csv", 60, lambda path: [len(read_annotations(path))]),
    "names": (".csv", 60, lambda path: [len(read_file_list(path))]),
    "decathlon": (".json", 80, lambda path: [len(decathlon_slices(path, "training"))]),
    "scans": (".json", 60, lambda path: [len(_subjects(path))]),
    "settings": (".yaml", 60, lambda path: [len(load_settings(path, path))]),
    "export": (".pt", 100, None),
}
POLICIES = (PatternGenerationNetwork((8, 6)), LOUPE((8, 6)), VariableDensity(power=2, readout_axis=0))
TEXTS = {
    "split": "file1000000.h5\nfile1000007.h5\n",
    "annotations": "file,slice,study_level,x,y,width,height,label\nfile1000001,14,No,90,173,35,10,Meniscus Tear\n",
    "names": "file1000001\nfile1000000\nKnee data\n",
    "decathlon": json.dumps({"training": [{"image": "a.nii", "label": ["b.nii", None]}], "test": ["c.nii"]}),
    "scans": json.dumps({"images": [{"scan_id": "MTR_001", "subject_id": 1}]}),
    "settings": "bundle: {ratio: 0.125, swap_axes: true}\ndicom: {keep_empty_frames: false}\n",
}


def write(kind, path, draw):
    """A good file."""
    if kind in ("policy", "export"):
        save_policy(draw.choice(POLICIES), path)
    elif kind == "network":
        torch.save(nn.Linear(3, 2).state_dict(), path)
    elif kind == "statistics":
        KSpaceStatistics.from_images(torch.rand(3, 1, 6, 5, generator=torch.Generator().manual_seed(0))).save(path)
    elif kind == "threshold":
        save_threshold(ReviewThreshold(0.6, 0.05, 0.0, 0.75, 40, 0.7), path)
    elif kind in ("encodes", "sequence"):
        name, protocol = ("csv", None) if kind == "encodes" else ("seq", GradientEcho(fov_mm=(200, 200)))
        options = {"formats": [name], "protocol": protocol}
        shutil.move(write_masks(POLICIES[2], [0.5], (16, 12), path.parent / "out", 0, **options)[0], path)
        shutil.rmtree(path.parent / "out")
    else:
        path.write_text(TEXTS[kind])


def edited(content, draw):
    """Some values of nested dictionaries and tensors are others."""
    if isinstance(content, dict) and content:
        key = draw.choice(sorted(content, key=str))
        if draw.random() < 0.15:
            return {name: value for name, value in content.items() if name != key}
        return {**content, key: edited(content[key], draw)}
    if isinstance(content, list) and content and draw.random() < 0.8:
        return [edited(content[0], draw), *content[1:]]
    if isinstance(content, torch.Tensor) and draw.random() < 0.7:
        changes = [lambda t: t * math.nan, lambda t: t[..., :1], lambda t: t.to(torch.complex64), lambda t: t.bool()]
        return draw.choice([*changes, lambda t: t.double() * 1e300, lambda t: t[None], lambda t: -t])(content)
    return draw.choice(ODD)


def damage(path, draw):
    """Other values in a file that stays one, or other bytes."""
    if draw.random() < 0.5:
        path.write_bytes(bytes_changed(path.read_bytes(), draw))
    elif path.suffix == ".pt":
        torch.save(edited(torch.load(path, weights_only=True), draw), path)
    elif path.suffix == ".npz":
        with np.load(path) as file:
            arrays = dict(file)
        name = draw.choice(sorted(arrays))
        changes = [
            lambda a: a * math.nan,
            lambda a: a[..., :1],
            lambda a: -a,
            lambda a: a[None],
            lambda a: a.astype(complex),
        ]
        changed = arrays[name] if arrays[name].dtype.kind not in "fiu" or not arrays[name].ndim else None
        arrays[name] = (
            np.asarray(draw.choice(ODD), object) if changed is not None else draw.choice(changes)(arrays[name])
        )
        np.savez(path, **arrays)
    elif path.suffix == ".json":
        path.write_text(json.dumps(edited(json.loads(path.read_text()), draw), default=str))
    else:
        words = path.read_text().replace(",", " , ").split(" ")
        words[draw.randrange(len(words))] = draw.choice(["", "-1", "nan", "x", "9" * 30, "1e400", '"', "\0", "[", "é"])
        path.write_text(" ".join(words).replace(" , ", ","))


def export(path, draw):
    """The command with a checkpoint and options, some of them odd; where it refuses, there is no file."""
    out = path.parent / "out"

    def odd(*good):
        return draw.choice([*good, *good, "0", "-1", "nan", "inf", "1e9", "", "x"])

    given = ["--checkpoint", str(path), "--out", str(out), "--ratios", odd("0.25", "1"), odd("0.5", "0.3")]
    extra = {
        "--grid": [odd("8"), odd("6")],
        "--seed": [odd("3")],
        "--formats": [odd("npz"), odd("csv", "npy", "png", "seq")],
        "--ordering": [odd("random", "interleaved", "center_out")],
        "--shots": [odd("2")],
        "--fov": [odd("200")],
        "--te": [odd("5")],
    }
    for option in draw.sample(sorted(extra), draw.randrange(4)):
        given += [option, *extra[option]]
    try:
        main(given)
    except SystemExit as end:
        if end.code != 2 or (out.exists() and list(out.iterdir())):
            raise AssertionError(f"exit {end.code}, files left in {out}") from end
    return []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_small_files(tmp_path, capsys, kind):
    suffix, count, read = KINDS[kind]
    complaints = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(count):
            folder, draw = tmp_path / str(number), random.Random(f"{SEED} {kind} {number}")
            folder.mkdir()
            path = folder / f"given{suffix}"
            write(kind, path, draw)
            if number and (kind != "export" or number % 3 == 0):
                damage(path, draw)
            arguments = (path,) if read else (path, draw)
            judge(read or export, arguments, complaints, f"{kind} {number}")
            if read is not None and [left.name for left in folder.iterdir()] != [path.name]:
                complaints.append(f"{kind} {number}: a file was left")
    capsys.readouterr()
    assert not complaints, f"{len(complaints)} of {count}: " + "\n".join(complaints[:40])
