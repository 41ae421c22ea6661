"""What a mask hides stays hidden, down to the sign of zero; and a mask is 0 and 1 at every door."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest
import torch
from helper import refuses, seeded

from hospital.raw_scan import write_example_fastmri
from infomri_monai import acquisition as acq
from infomri_monai import scanner
from infomri_monai.acquisition.measurement import apply_mask
from infomri_monai.data.kspace_file import read_kspace
from infomri_monai.engines import VolumeInferer
from infomri_monai.engines.case import MeasuredSlices
from infomri_monai.information import MarginalEntropy
from infomri_monai.networks import ThreeLayerReconstructor
from infomri_monai.sampling import UniformRandom
from infomri_monai.systems import ReconstructionSystem
from infomri_monai.transforms import RandKSpaceNoise, SimulateAcquisition, Undersample, Undersampled

GRID = (12, 10)
IMAGE = torch.randn(1, 1, *GRID, generator=seeded(0), dtype=torch.complex64)
KSPACE = acq.image_to_kspace(IMAGE)
MASK = (torch.rand(1, 1, *GRID, generator=seeded(1)) < 0.4).float()
#: hidden samples are zero, with the signs that a product leaves
SIGNED = KSPACE * MASK


def _system() -> ReconstructionSystem:
    return ReconstructionSystem(UniformRandom(), acq.FourierMeasurement(), ThreeLayerReconstructor()).eval()


def _simulated(noise_std: float) -> tuple[Any, Any]:
    result = SimulateAcquisition(UniformRandom(), 0.4, noise_std).set_random_state(0)(IMAGE[0])
    return result.kspace, result.mask


def _from_npz(folder, kspace, **mask):
    np.savez(folder / "scan.npz", kspace=kspace[0].numpy(), **mask)
    return read_kspace(folder / "scan.npz")[0]


def _from_fastmri(folder, coils):
    write_example_fastmri(
        folder / "scan.h5", np.random.default_rng(0).random((1, 16, 16)) - 0.5, range(0, 16, 2), coils=coils
    )
    return read_kspace(folder / "scan.h5")


def _written(folder):
    _from_fastmri(folder, 2)
    with h5py.File(folder / "scan.h5") as file:
        return file["kspace"][()], file["mask"][()]


#: place -> k-space and the mask that hid some of it
PLACES = {
    "Undersample": lambda _: (Undersample()(KSPACE[0], MASK[0]), MASK[0]),
    "Undersampled": lambda _: (Undersampled("k")({"k": KSPACE[0], "mask": MASK[0]})["k"], MASK[0]),
    "SimulateAcquisition": lambda _: _simulated(0.01),
    "SimulateAcquisition without noise": lambda _: _simulated(0.0),
    "FourierMeasurement": lambda _: (acq.FourierMeasurement()(IMAGE, MASK), MASK),
    "combine_coils, one": lambda _: (acq.combine_coils(KSPACE[0], MASK[0, 0]), MASK[0, 0]),
    "combine_coils, two": lambda _: (acq.combine_coils(KSPACE[0].expand(2, *GRID), MASK[0, 0]), MASK[0, 0]),
    "root_sum_of_squares": lambda _: (acq.root_sum_of_squares(SIGNED[0], MASK[0, 0]), MASK[0, 0]),
    "hermitian_completion": lambda _: acq.hermitian_completion(SIGNED, MASK),
    "System.acquire": lambda _: (lambda result: (result.kspace, result.mask))(_system()(IMAGE.real, 0.4, seeded(0))),
    "reconstruct": lambda _: (_system().reconstruct(KSPACE, MASK).kspace, MASK),
    "MeasuredSlices": lambda _: MeasuredSlices(KSPACE, MASK).acquire(0),
    "MeasuredSlices without mask": lambda _: MeasuredSlices(SIGNED).acquire(0),
    "npz": lambda folder: (_from_npz(folder, KSPACE, mask=MASK[0].numpy()), MASK[0]),
    "npz without mask": lambda folder: (_from_npz(folder, SIGNED), MASK[0]),
    "fastMRI": lambda folder: _from_fastmri(folder, 1),
    "fastMRI, coils": lambda folder: _from_fastmri(folder, 2),
    "fastMRI, written": _written,
}


@pytest.mark.parametrize("place", PLACES)
def test_hidden_samples_are_plus_zero_and_their_signs_say_nothing(place, tmp_path):
    kspace, mask = (np.asarray(part) for part in PLACES[place](tmp_path))
    hidden = kspace[np.broadcast_to(mask == 0, kspace.shape)]
    assert len(hidden) > 10
    assert not hidden.any()
    for part in (hidden.real, hidden.imag):
        assert not np.signbit(part).any(), f"signs of {np.signbit(part).sum()} of {len(hidden)} hidden samples are told"


def test_a_product_would_tell_every_sign_and_ours_keeps_its_gradients():
    told = torch.signbit(SIGNED.real) | torch.signbit(SIGNED.imag)
    assert torch.equal(told[MASK == 0], (KSPACE.real < 0)[MASK == 0])
    gradients = []
    for masked in (lambda k, m: k * m, apply_mask):
        k, m = KSPACE.clone().requires_grad_(), MASK.clone().requires_grad_()
        (masked(k, m) - 0.5 * KSPACE).abs().square().sum().backward()
        gradients.append((k.grad, m.grad))
    assert float(gradients[0][1][MASK == 0].abs().min()) > 0
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)


def _inferred(mask):
    inferer = VolumeInferer(None, acq.FourierMeasurement(), 1.0, progress=False)
    return inferer(KSPACE, ThreeLayerReconstructor().eval(), mask=mask, domain="kspace")


#: door -> a call with a mask of KSPACE
MASKED = {
    "Undersample": lambda m: Undersample()(KSPACE[0], m[0]),
    "Undersampled": lambda m: Undersampled("k")({"k": KSPACE[0], "mask": m[0]}),
    "RandKSpaceNoise": lambda m: RandKSpaceNoise()(KSPACE[0], mask=m[0]),
    "forward": lambda m: acq.FourierMeasurement()(IMAGE, m),
    "adjoint": lambda m: acq.FourierMeasurement().adjoint(KSPACE, m),
    "reconstruct": lambda m: _system().reconstruct(KSPACE, m),
    "combine_coils": lambda m: acq.combine_coils(KSPACE[0], m[0, 0]),
    "root_sum_of_squares": lambda m: acq.root_sum_of_squares(KSPACE[0], m[0, 0]),
    "hermitian_completion": lambda m: acq.hermitian_completion(KSPACE, m),
    "split_by_symmetry": acq.split_by_symmetry,
    "redundancy_ratio": acq.redundancy_ratio,
    "off_centre": lambda m: acq.off_centre(KSPACE, m),
    "MarginalEntropy": lambda m: MarginalEntropy(torch.ones(GRID), torch.ones(GRID), 0.1)(m),
    "VolumeInferer": _inferred,
    "phase_encodes": lambda m: scanner.phase_encodes(m[0, 0]),
}
BAD = {"255": MASK * 255, "0.5": MASK * 0.5, "-1": -MASK, "nan": MASK.masked_fill(MASK == 0, torch.nan)}


@pytest.mark.parametrize("door", MASKED)
def test_a_mask_is_0_and_1_at_every_door(door, tmp_path):
    for told, mask in BAD.items():
        refuses(ValueError, f"mask must hold 0 and 1 only, got .*{told}", MASKED[door], mask)
    for kind in (torch.bool, torch.uint8, torch.int64, torch.float16):
        MASKED[door](MASK.to(kind))


@pytest.mark.parametrize("told", BAD)
def test_a_mask_in_a_file_is_0_and_1(told, tmp_path):
    refuses(
        ValueError, f"mask must hold 0 and 1 only, got .*{told}", _from_npz, tmp_path, KSPACE, mask=BAD[told][0].numpy()
    )


def test_two_channels_are_named_as_that():
    channels = torch.randn(2, *GRID)
    for call in (lambda: Undersample()(channels, MASK[0]), lambda: acq.combine_coils(channels, MASK[0, 0])):
        refuses(ValueError, "two real channels", call)
    refuses(ValueError, "two channels: real and imaginary", acq.FourierMeasurement(), channels[None], MASK)


def test_a_policys_own_mask_is_not_checked():
    learned = (MASK * 0.5).requires_grad_()
    acq.FourierMeasurement()(IMAGE, learned).abs().sum().backward()
    assert learned.grad is not None
