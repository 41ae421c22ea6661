"""Measured k-space against the policy: what cannot be reconstructed is an error, what is doubtful a warning."""

import logging

import pytest
import torch
from helper import refuses

from infomri_monai.acquisition import FourierMeasurement, image_to_kspace
from infomri_monai.engines import VolumeInferer
from infomri_monai.engines.case_inferer import check_measured, is_far
from infomri_monai.sampling import PatternGenerationNetwork, VariableDensity
from infomri_monai.sampling.policy import FrozenPolicy

GRID = (16, 20)


def policy(readout_axis=None, ratio_range=(0.1, 0.4)):
    """A policy that measures around DC and nowhere near the edge."""
    y, x = (torch.arange(n) - n // 2 for n in GRID)
    magnitude = torch.exp(-(y[:, None].abs() + x.abs()).float())
    pgn = PatternGenerationNetwork(GRID, readout_axis=readout_axis, ratio_range=ratio_range)
    return pgn.warm_start(magnitude, width=0.05).requires_grad_(False)


def centre(size=8, grid=GRID, slices=1):
    mask = torch.zeros(slices, 1, *grid)
    first = [n // 2 - size // 2 for n in grid]
    mask[..., first[0] : first[0] + size, first[1] : first[1] + size] = 1
    return mask


def warned(caplog, masks, law):
    caplog.clear()
    with caplog.at_level(logging.INFO):
        check_measured(masks, law)
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("law", [None, VariableDensity(), policy(), FrozenPolicy(policy())])
def test_what_the_policy_measures_passes_silently(law, caplog):
    assert warned(caplog, centre(), law) == []
    assert warned(caplog, centre(slices=3).bool(), law) == []


def test_masks_drawn_by_the_policy_pass(caplog):
    for law in (policy(), policy(readout_axis=0)):
        mask = law([0.2], GRID, torch.Generator().manual_seed(0)).mask
        assert warned(caplog, mask.expand(1, 1, *GRID), law) == []


@pytest.mark.parametrize("law", [None, policy()])
@pytest.mark.parametrize("slices", [1, 3])
def test_nothing_acquired(law, slices):
    refuses(ValueError, "nothing was acquired", check_measured, torch.zeros(slices, 1, *GRID), law)


def test_empty_slices_are_passed_over(caplog):
    masks = centre(slices=4)
    masks[1:3] = 0
    assert warned(caplog, masks, policy()) == []  # the ratio, too, is that of the others


@pytest.mark.parametrize("readout_axis", [None, 0])
def test_no_overlap(readout_axis, caplog):
    mask = torch.zeros(1, 1, *GRID)
    mask[..., :3] = 1  # lines at the edge
    with pytest.raises(ValueError, match=r"no overlap .* none of the 48 acquired positions on grid \(16, 20\)"):
        check_measured(mask, policy(readout_axis))
    assert warned(caplog, mask, VariableDensity(readout_axis=readout_axis)) == [
        "the DC position of k-space was not measured in 1 of 1 slices"
    ]
    mask[..., 10] = 1
    assert warned(caplog, mask, policy(readout_axis)) == []


def test_dc_that_was_not_measured(caplog):
    masks = centre(slices=3)
    masks[2, 0, 8, 10] = 0
    (text,) = warned(caplog, masks, None)
    assert text == "the DC position of k-space was not measured in 1 of 3 slices"


@pytest.mark.parametrize(("grid", "far"), [((16, 20), False), ((24, 30), False), ((34, 40), True), ((7, 10), True)])
def test_another_grid_is_a_note_and_one_far_away_a_warning(grid, far, caplog):
    ratio = centre(12).float().mean()
    rows = max(1, round(float(ratio) * grid[0]))
    masks = torch.zeros(1, 1, *grid)
    masks[:, :, grid[0] // 2 - rows // 2 : grid[0] // 2 - rows // 2 + rows] = 1
    caplog.set_level(logging.INFO)
    check_measured(masks, policy())
    told = [(record.levelno, record.getMessage()) for record in caplog.records if "of grid" in record.getMessage()]
    text = f"k-space of grid {grid}, but the model was trained on (16, 20)"
    text += ": the result and its uncertainty are extrapolated" * far
    assert told == ([] if grid == (16, 20) else [(logging.WARNING if far else logging.INFO, text)])


@pytest.mark.parametrize(("size", "outside"), [(4, True), (8, False), (14, True)])
def test_ratio_outside_the_trained_range(size, outside, caplog):
    found = warned(caplog, centre(size), policy())
    assert bool(found) is outside
    assert all("is extrapolated" in text for text in found)
    assert warned(caplog, centre(size), policy(ratio_range=None)) == []


def test_one_position_of_a_policy_of_lines(caplog):
    """A ratio that no mask of whole lines has is checked at the smallest one."""
    mask = torch.zeros(1, 1, *GRID)
    mask[..., 8, 10] = 1
    assert len(warned(caplog, mask, policy(readout_axis=0))) == 1


def test_global_randomness_is_untouched():
    state = torch.get_rng_state()
    check_measured(centre(), policy())
    assert torch.equal(state, torch.get_rng_state())


def test_inference_checks_measured_data(caplog):
    def network(zero_filled, mask):
        raise AssertionError("must not be reached")

    inferer = VolumeInferer(policy(), FourierMeasurement(), 0.2, progress=False)
    full = image_to_kspace(torch.ones(1, 1, *GRID, dtype=torch.complex64))
    edge = torch.zeros(1, 1, *GRID)
    edge[..., :3] = 1
    refuses(ValueError, "no overlap", inferer, full, network, mask=edge, domain="kspace")
    refuses(ValueError, "nothing was acquired", inferer, full, network, mask=edge * 0, domain="kspace")


@pytest.mark.parametrize(
    ("grid", "far"),
    [((16, 20), False), ((32, 40), False), ((33, 20), True), ((16, 41), True), ((8, 10), False), ((7, 10), True)],
)
def test_far_grids_of_simulated_cases_are_a_warning(grid, far, caplog):
    assert is_far(GRID, grid) is far
    inferer = VolumeInferer(policy(), FourierMeasurement(), 0.2, progress=False)
    with caplog.at_level(logging.INFO):
        inferer._simulated(torch.ones(1, 1, *grid))
    levels = [record.levelno for record in caplog.records if "policy carried" in record.getMessage()]
    assert levels == ([] if grid == GRID else [logging.WARNING if far else logging.INFO])
