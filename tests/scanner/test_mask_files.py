"""Masks written to files, from Python and from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helper import refuses, refuses_each
from monai.data import NumpyReader
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from PIL import Image

from infomri_monai.data.image_files import file_volume, read_volume
from infomri_monai.handlers.cases import write_files
from infomri_monai.sampling import PatternGenerationNetwork, UniformRandom, VariableDensity, save_policy
from infomri_monai.scanner import GradientEcho, read_phase_encodes, read_pulseq_lines, write_masks
from infomri_monai.scanner.export import main
from infomri_monai.scanner.mask_files import FORMATS
from infomri_monai.transforms import Undersampled

PROTOCOL, HASTY = GradientEcho(fov_mm=(220, 200)), GradientEcho(fov_mm=(220, 200), te_ms=1)


def test_npz_and_png_hold_the_mask_and_how_it_was_made(tmp_path):
    policy, grid = VariableDensity(), (20, 30)
    paths = write_masks(policy, [0.1, 0.251], grid, tmp_path / "new" / "masks", seed=7)
    assert [path.suffix for path in paths] == [".npz", ".png"] * 2
    for ratio, npz, png in zip([0.1, 0.251], paths[::2], paths[1::2], strict=True):
        expected = policy(ratio, grid, torch.Generator().manual_seed(7)).mask[0, 0].numpy()
        with np.load(npz, allow_pickle=False) as file:
            assert file["mask"].dtype == np.uint8
            np.testing.assert_array_equal(file["mask"], expected)
            kept = [file[key].item() for key in ("ratio_requested", "ratio_realised", "seed", "policy")]
            assert kept == [ratio, pytest.approx(expected.mean()), 7, "VariableDensity"]
            assert file["grid"].tolist() == [20, 30]
            assert "lines" not in file
        with Image.open(png) as image:
            np.testing.assert_array_equal(np.asarray(image), expected.T)
            assert (image.text["seed"], image.text["ratio_requested"]) == ("7", str(ratio))
    assert len(list((tmp_path / "new" / "masks").iterdir())) == 4


def test_npy_has_its_record_beside_it(tmp_path):
    npy, record = write_masks(UniformRandom(readout_axis=1), [0.5], (8, 4), tmp_path, seed=0, formats=["npy"])
    content = json.loads(record.read_text())
    assert np.load(npy).mean() == content["ratio_realised"] == 0.5
    assert len(content["lines"]) == 4


@pytest.mark.parametrize("grid", [(12, 20), (16, 16), (7, 5)])
@pytest.mark.parametrize("readout_axis", [None, 0, 1])
def test_monai_reads_the_mask_that_was_written(grid, readout_axis, tmp_path):
    """Values and orientation, of every format that MONAI reads; a case's NIfTI mask, too. Then it measures what it should."""
    policy = VariableDensity(readout_axis=readout_axis)
    npz, npy, _, png = write_masks(policy, [0.4], grid, tmp_path, seed=3, formats=["npz", "npy", "png"])
    with np.load(npz) as file:
        mask = file["mask"]
    write_files(tmp_path / "case", {"mask": (torch.from_numpy(mask), np.diag([3.0, 2, 1, 1]))}, {}, "")
    readers = {npz: NumpyReader(npz_keys="mask"), npy: None, png: None, tmp_path / "case_mask.nii.gz": None}
    kspace = torch.randn((1, *grid), dtype=torch.complex64)
    for path, reader in readers.items():
        entry = Compose([LoadImaged("mask", reader), EnsureChannelFirstd("mask")])({"mask": path, "kspace": kspace})
        np.testing.assert_array_equal(entry["mask"][0], mask)
        assert torch.equal(Undersampled("kspace")(entry)["kspace"].as_tensor(), kspace * torch.from_numpy(mask))
    volume = read_volume(file_volume(png, "mask.png"))
    np.testing.assert_array_equal(volume[0], mask)


def test_a_mask_of_0_and_255_from_elsewhere_is_refused_and_how_to_mend_it_said(tmp_path):
    mask = np.zeros((12, 20), np.uint8)
    mask[3:9] = 255
    Image.fromarray(mask.T).save(tmp_path / "mask.png")
    load = Compose([LoadImaged("mask"), EnsureChannelFirstd("mask")])
    entry = load({"mask": tmp_path / "mask.png", "kspace": torch.ones((1, 12, 20), dtype=torch.complex64)})
    refuses(
        ValueError,
        "got 0, 255; divide by 255, and see that its axes are those of k-space",
        Undersampled("kspace"),
        entry,
    )
    measured = Undersampled("kspace")({**entry, "mask": entry["mask"] / 255})["kspace"]
    np.testing.assert_array_equal(measured.real[0], mask / 255)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratios": [0.2, 0.2]}, "different"),
        ({"ratios": [0.2, 1e-5]}, "cannot be met"),
        ({"shape": (8, 9)}, "for_grid"),
        ({"formats": ["csv"], "ordering": "zigzag"}, "ordering"),
        ({"formats": ["csv"], "ordering": "interleaved", "shots": 65}, "shots"),
        ({"formats": ["seq"]}, "protocol"),
        ({"formats": ["npz"], "protocol": PROTOCOL}, "protocol"),
        ({"formats": ["npz", "seq"], "protocol": PROTOCOL}, "single positions"),
        ({"policy": UniformRandom(), "shape": (4, 4, 4), "formats": ["npz", "png"]}, "png"),
        ({"policy": UniformRandom(), "shape": (4, 4, 4), "formats": ["csv"]}, "'csv' for 3 phase-encode axes"),
        ({"policy": UniformRandom(0), "shape": (4, 4, 4), "formats": ["seq"], "protocol": PROTOCOL}, "2D grid"),
        ({"policy": UniformRandom(0), "formats": ["npz", "csv", "seq"], "protocol": HASTY}, "shortest"),
    ],
)
def test_bad_input_writes_nothing(change, message, tmp_path):
    pytest.importorskip("pypulseq")
    good = {"ratios": [0.2], "shape": (8, 8), "seed": 0, "formats": ["npz"], "folder": tmp_path}
    good["policy"] = PatternGenerationNetwork((8, 8))
    refuses(ValueError, message, write_masks, **{**good, **change})
    refuses_each(write_masks, good, ratios=[[0.2, 1.5], []], seed=[-1], formats=[["tiff"], []])
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_writing_leaves_the_old_files(tmp_path, monkeypatch):
    (old,) = write_masks(UniformRandom(), [0.2], (8, 8), tmp_path, seed=0, formats=["npz"])
    before = old.read_bytes()
    refuses(NotADirectoryError, old.name, write_masks, UniformRandom(), [0.2], (8, 8), old, seed=0)

    def full_disk(stem, drawn):
        raise OSError("no space left")

    monkeypatch.setitem(FORMATS, "png", full_disk)
    refuses(OSError, "no space left", write_masks, VariableDensity(), [0.2], (8, 8), tmp_path, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == [old.name]
    assert old.read_bytes() == before


def test_command_line(tmp_path, capsys):
    checkpoint = save_policy(PatternGenerationNetwork((16, 16)), tmp_path / "policy.pt")
    options = "--ratios 0.1 0.2 --grid 24 20"
    main(["--checkpoint", str(checkpoint), "--out", str(tmp_path / "a"), *options.split()])
    assert len(capsys.readouterr().out.split()) == len(list((tmp_path / "a").iterdir())) == 4
    with np.load(tmp_path / "a" / "mask_ratio0.2_seed0.npz") as file:
        assert file["mask"].shape == (24, 20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--ratios 2", "ratio"),
        ("--checkpoint none.pt", "none.pt"),
        ("--formats seq", "--fov is needed"),
        ("--formats seq --fov 1 2 3", "--fov"),
        ("--formats seq --fov 0", "fov_mm"),
        ("--formats csv --te 5", "--formats seq"),
        ("--formats csv --fov 220", "--formats seq"),
        ("--formats seq --fov 220 --te 1", "shortest"),
        ("--formats csv --shots 2", "interleaved"),
    ],
)
def test_command_line_errors_are_one_clear_line(options, message, tmp_path, capsys):
    pytest.importorskip("pypulseq")
    checkpoint = save_policy(PatternGenerationNetwork((8, 8), readout_axis=0), tmp_path / "policy.pt")
    start = ["--checkpoint", str(checkpoint), "--out", str(tmp_path / "a"), "--ratios", "0.5"]
    refuses(SystemExit, "2", main, [*start, *options.split()])
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "a").exists()


def test_says_where_a_ratio_lies_outside_the_trained_range(tmp_path, caplog):
    policy = PatternGenerationNetwork((16, 16), ratio_range=(0.1, 0.3))
    write_masks(policy, [0.2, 0.5], (16, 16), tmp_path, seed=0)
    assert [record.getMessage() for record in caplog.records] == [
        "ratio=0.5 is extrapolated: the policy was trained for the range (0.1, 0.3)"
    ]


@pytest.mark.parametrize(("axis", "grid"), [(0, (16, 25)), (1, (24, 15))])
def test_all_formats_hold_the_same_lines(axis, grid, tmp_path):
    pytest.importorskip("pypulseq")
    policy = PatternGenerationNetwork(grid, readout_axis=axis)
    paths = write_masks(
        policy, [0.2, 0.5], grid, tmp_path, 3, ["npz", "csv", "seq"], "interleaved", shots=2, protocol=PROTOCOL
    )
    for npz, table, sequence in zip(paths[::3], paths[1::3], paths[2::3], strict=True):
        assert npz.stem == table.stem == sequence.stem
        with np.load(npz) as file:
            np.testing.assert_array_equal(read_phase_encodes(table).mask, file["mask"])
            np.testing.assert_array_equal(read_pulseq_lines(sequence).mask, file["mask"])
            np.testing.assert_array_equal(np.sort(read_pulseq_lines(sequence).positions[:, 0]), file["lines"])
        np.testing.assert_array_equal(read_pulseq_lines(sequence).positions, read_phase_encodes(table).positions)
        np.testing.assert_array_equal(read_pulseq_lines(sequence).shot, read_phase_encodes(table).shot)
        assert "Policy PatternGenerationNetwork" in sequence.read_text()
        assert '"policy": "PatternGenerationNetwork"' in table.read_text()


def test_command_line_for_a_scanner(tmp_path):
    pypulseq = pytest.importorskip("pypulseq")
    checkpoint = save_policy(PatternGenerationNetwork((32, 32), readout_axis=0), tmp_path / "policy.pt")
    options = (
        "--ratios 0.25 --formats npz csv seq --ordering centric --fov 220 --te 6 --tr 15.5 --flip-angle 20 --dummies 4"
    )
    main(["--checkpoint", str(checkpoint), "--out", str(tmp_path / "a"), *options.split()])
    (sequence,) = (tmp_path / "a").glob("*.seq")
    found = read_pulseq_lines(sequence)
    assert (np.diff(np.abs(found.signed[:, 0])) >= 0).all()
    with np.load(sequence.with_suffix(".npz")) as file:
        np.testing.assert_array_equal(found.mask, file["mask"])
    parsed = pypulseq.Sequence()
    parsed.read(str(sequence))
    kept = [float(parsed.definitions[key]) for key in ("TE", "TR", "FlipAngle", "Dummies")]
    assert kept == pytest.approx([0.006, 0.0155, 20, 4])


def test_an_export_leaves_no_file_behind_that_belongs_to_another(tmp_path):
    """A sequence in one order beside a table in another, of the same name, would be taken for its own."""
    policy = VariableDensity(power=3, readout_axis=0)
    write_masks(policy, [0.25, 0.5], (16, 16), tmp_path, 0, ["npy", "csv"], "centric")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=r"folder holds mask_ratio0\.5_seed0\.npy of an earlier export"):
        write_masks(policy, [0.5], (16, 16), tmp_path, 0, ["csv"], "sequential")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    write_masks(policy, [0.5], (16, 16), tmp_path, 1, ["csv"], "sequential")  # another seed, another name
    replaced = write_masks(policy, [0.5], (16, 16), tmp_path, 0, ["npy", "csv"], "sequential")
    assert read_phase_encodes(replaced[-1]).ordering == "sequential"
