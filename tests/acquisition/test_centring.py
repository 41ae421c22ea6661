"""k-space whose centre is not at n // 2 is told at every door; real data, noise and scans without their centre are not."""

import logging
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helper import seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import DataLoader

from infomri_monai.acquisition import CentreCheck, FourierMeasurement, image_to_kspace, off_centre
from infomri_monai.data import CaseDataset, ReadCased, ReadFastMRISliced, embedded_subjects
from infomri_monai.data.kspace_file import read_kspace, read_kspace_file
from infomri_monai.engines import PrepareCase, TolerantInferer, VolumeInferer
from infomri_monai.networks import UnrolledReconstructor
from infomri_monai.transforms import KSpaceToImage, KSpaceToImaged

SHARED = Path(__file__).parents[3] / "shared" / "data"


def heads(*grid):
    stack = np.stack([entry["image"][0] for entry in embedded_subjects("test", subjects=2, grid=grid)])
    return torch.from_numpy(stack)


@pytest.mark.parametrize("grid", [(96, 80), (65, 64), (64, 65)])
@pytest.mark.parametrize("axes", [(-2,), (-1,), (-2, -1)])
def test_a_shift_along_one_axis_or_both_is_named_with_what_mends_it(grid, axes):
    centred = image_to_kspace(heads(*grid))
    assert off_centre(centred) == ""
    shifted = torch.fft.ifftshift(centred, dim=axes)
    text = off_centre(shifted)
    for axis in axes:
        assert f"0 of {grid[axis]} (expected {grid[axis] // 2}) along axis {axis}" in text
    assert f"numpy.fft.fftshift(kspace, axes={axes})" in text
    assert ("axis -1" in text, "axis -2" in text) == (-1 in axes, -2 in axes)
    assert off_centre(torch.fft.fftshift(shifted, dim=axes)) == ""
    assert off_centre(torch.fft.ifftshift(shifted, dim=axes)) == ""  # one sample of an odd axis is a phase
    wrong = off_centre(centred.roll(20, -2))
    assert "numpy.roll(kspace, (-20,), axis=(-2,))" in wrong
    assert f"{grid[0] // 2 + 20} of {grid[0]}" in wrong


def test_the_vote_of_coils_and_slices_is_not_decided_by_a_spike_or_a_loud_slice():
    kspace = image_to_kspace(heads(64, 64))
    kspace[3] *= 1e4
    kspace[:2, 5, 5] = 1e6
    kspace[4:6] = 0
    assert off_centre(kspace) == ""
    check = CentreCheck()
    for plane in torch.fft.ifftshift(kspace, dim=(-2, -1)):
        check.add(plane[None].repeat(3, 1, 1))
    assert "not centred" in check.warning()
    assert CentreCheck().warning() == ""


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(["phase", "partial", "echo", "equispaced", "no centre", "random", "noise", "small", "zeros"]),
    grid=st.sampled_from([(64, 64), (48, 65), (65, 96)]),
    seed=st.integers(0, 99),
)
def test_no_false_alarm(kind, grid, seed):
    draw, kspace = seeded(seed), image_to_kspace(heads(*grid))
    columns = torch.zeros(grid[1])
    if kind == "phase":  # an object whose phase runs through one turn and a half over the field of view
        kspace = image_to_kspace(heads(*grid) * torch.exp(3j * np.pi * torch.arange(grid[1]) / grid[1]))
    elif kind == "partial":
        kspace[..., : grid[1] // 2 - 2] = 0
    elif kind == "echo":
        kspace[..., : grid[0] // 2 - 3, :] = 0
    elif kind == "equispaced":
        columns[int(torch.randint(4, (1,), generator=draw)) :: 4] = 1
        kspace = kspace * columns
    elif kind == "no centre":
        width = 1 + int(torch.randint(grid[1] // 4, (1,), generator=draw))
        kspace[..., grid[1] // 2 - width : grid[1] // 2 + width + 1] = 0
    elif kind == "random":
        kspace = kspace * (torch.rand(grid, generator=draw) < 0.06)
    elif kind == "noise":
        kspace = torch.randn(3, *grid, dtype=torch.complex64, generator=draw)
    elif kind == "small":
        kspace = torch.fft.fft2(torch.rand(2, 12, 8, generator=draw))
    else:
        kspace = torch.zeros_like(kspace)
    assert off_centre(kspace) == ""


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_undersampled_and_noisy_k_space_that_is_shifted_is_told(share):
    kspace = torch.fft.ifftshift(image_to_kspace(heads(64, 64)), dim=(-2, -1))
    kspace = (
        kspace + 0.02 * kspace.abs().max() * torch.randn(kspace.shape, dtype=torch.complex64, generator=seeded(1)) / 8
    )
    columns = (torch.rand(64, generator=seeded(0)) < share) | (torch.arange(64) < 4)
    assert "along axis -1" in off_centre(kspace * columns)
    assert "along axis -2" in off_centre(kspace * columns, columns.float())


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
@pytest.mark.shared_data
def test_no_false_alarm_on_real_data():
    brains = np.load(SHARED / "brain_complex_180.npz")
    images = torch.from_numpy(brains["real"][::9].astype(np.float32) + 1j * brains["imag"][::9].astype(np.float32))
    coils = torch.from_numpy(np.load(SHARED / "multicoil_16.npz")["kspace"])
    for kspace in (image_to_kspace(images), coils):
        assert off_centre(kspace) == ""
        assert all(off_centre(one) == "" for one in kspace)
        assert all("not centred" in off_centre(torch.fft.ifftshift(one, dim=(-1,))) for one in kspace)


def doors(folder, kspace):
    """Every door of raw k-space, by name; a call gives the warnings of those that return them."""
    array = kspace.numpy()
    np.savez(folder / "scan.npz", kspace=array)
    np.save(folder / "scan.npy", array)
    for name, table in (("one", array), ("coils", np.stack([array, 0.5 * array], 1))):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["kspace"] = table
    case = {"kspace": folder / "scan.npz", "name": "a", "index": 1}
    volume, network = kspace.movedim(0, -1)[None], UnrolledReconstructor(phases=1, channels=2)
    yield from ((name, lambda name=name: read_kspace_file(folder / name).warnings) for name in ("scan.npz", "scan.npy"))
    yield from ((name, lambda name=name: read_kspace_file(folder / f"{name}.h5").warnings) for name in ("one", "coils"))
    yield "read_kspace", lambda: read_kspace(folder / "scan.npy")
    yield "ReadCased", lambda: ReadCased()(case)
    yield "fastMRI", lambda: ReadFastMRISliced(crop=None, target_key=None)({"kspace": folder / "one.h5", "slice": 3})
    yield "KSpaceToImage", lambda: KSpaceToImage()(volume)
    yield "KSpaceToImaged", lambda: KSpaceToImaged("kspace")({"kspace": volume})
    inferer = VolumeInferer(None, FourierMeasurement(), 1.0, progress=False)
    yield "inference", lambda: inferer(volume[None], network.eval(), domain="kspace")


@pytest.mark.parametrize("wrong", [True, False], ids=["shifted", "centred"])
def test_every_door_tells(tmp_path, caplog, wrong):
    kspace = image_to_kspace(heads(32, 48))
    kspace = torch.fft.ifftshift(kspace, dim=(-2, -1)) if wrong else kspace
    for name, call in doors(tmp_path, kspace):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            told = (
                [text for text in call() if isinstance(text, str)]
                if "." in name or name in ("one", "coils")
                else call()
            )
        texts = (told if isinstance(told, list) else []) + [record.getMessage() for record in caplog.records]
        assert any("not centred" in text for text in texts) == wrong, name


def test_a_bundle_says_it_once(tmp_path, caplog):
    """Of a file the reader, which sees the coils; of an array the inferer."""
    shifted = torch.fft.ifftshift(image_to_kspace(heads(32, 48)), dim=(-2, -1))
    *_, (name, _) = doors(tmp_path, shifted)
    assert name == "inference"
    network = UnrolledReconstructor(phases=1, channels=2).eval()
    inferer = TolerantInferer(VolumeInferer(None, FourierMeasurement(), 1.0, progress=False))
    for source in (tmp_path / "scan.npy", tmp_path / "coils.h5", shifted.movedim(0, -1)[None]):
        caplog.clear()
        entry = {"kspace": source, "name": "a", "index": 1}
        (batch,) = DataLoader(CaseDataset([entry], ReadCased()), batch_size=1)
        inputs, _, args, told = PrepareCase()(batch)
        inferer(inputs, network, *args, **told)
        assert sum("not centred" in record.getMessage() for record in caplog.records) == 1


def test_a_transform_says_it_once(caplog):
    shifted, transform = torch.fft.ifftshift(image_to_kspace(heads(32, 48)), dim=(-1,)), KSpaceToImage()
    for plane in shifted:
        transform(plane[None])
    assert [record.getMessage()[:23] for record in caplog.records] == ["k-space is not centred:"]
