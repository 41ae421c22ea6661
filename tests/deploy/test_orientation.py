"""Raw k-space that lies turned for the network is told so, in the words of the patient's axes; nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("ismrmrd")
pytest.importorskip("pydicom")
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from hospital.raw_scan import ExampleGeometry, example_head, write_example_fastmri, write_example_ismrmrd
from infomri_monai.deploy.bundle import DeployBundle, orientation_warning
from infomri_monai.deploy.case import CaseSource, DeployCase
from infomri_monai.deploy.cases import find_cases

R, L, A, P, F, H = (np.array(v, float) for v in ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)))
RECON = Path(__file__).parents[2] / "bundles/infomri_recon"
UPRIGHT = {"axial": (P, L), "coronal": (F, L), "sagittal": (F, P)}


def case(read, phase, **options):
    """A case whose axes run towards these directions (LPS)."""
    affine = np.eye(4)
    affine[:3, :3] = np.stack([2 * read, 3 * phase, 5 * np.cross(read, phase)], 1) * np.array([[-1], [-1], [1]])
    return DeployCase(1, "kspace", torch.zeros(1, 8, 8, 2), affine, CaseSource((), Dataset()), **options)


@pytest.mark.parametrize(
    ("read", "phase", "told"),
    [
        (P, L, ""),
        (P, R, ""),  # mirrored
        (A, L, "is upside down for the model: the axial slices were read out from posterior to anterior"),
        (L, P, "lies on its side for the model: the axial slices were read out from right to left"),
        (R, P, "lies on its side for the model: the axial slices were read out from left to right"),
        (F, L, ""),
        (H, L, "is upside down for the model: the coronal slices were read out from feet to head"),
        (R, H, "lies on its side for the model: the coronal slices were read out from left to right"),
        (F, P, ""),
        (H, A, "is upside down for the model: the sagittal slices were read out from feet to head"),
        (A, F, "lies on its side for the model: the sagittal slices were read out from posterior to anterior"),
    ],
)
def test_every_plane(read, phase, told):
    found = orientation_warning(case(read, phase))
    assert found.startswith(f"the anatomy {told}" if told else "")
    assert bool(found) is bool(told)
    wanted = "anterior to posterior" if "axial" in told else "head to feet"
    assert found.endswith(f"upright ones, read out from {wanted}; its results may be worse.") is bool(told)


@settings(deadline=None)
@given(
    plane=st.sampled_from(sorted(UPRIGHT)),
    turn=st.floats(-180, 180),
    tilt=st.floats(-40, 40),
    about_vertical=st.booleans(),
)
def test_turned_in_its_plane_however_that_is_tilted(plane, turn, tilt, about_vertical):
    """More than 45 degrees are told, more than 135 are upside down; tilting the plane changes nothing."""
    down, right = UPRIGHT[plane]
    normal = np.cross(down, right)
    angle = np.deg2rad(tilt)
    if about_vertical:
        right = right * np.cos(angle) + normal * np.sin(angle)
    else:
        down = down * np.cos(angle) + normal * np.sin(angle)
    angle = np.deg2rad(turn)
    read, phase = down * np.cos(angle) + right * np.sin(angle), right * np.cos(angle) - down * np.sin(angle)
    found = orientation_warning(case(read, phase))
    if abs(turn) < 45 - 1e-3:
        assert found == ""
    elif 45 + 1e-3 < abs(turn) < 135 - 1e-3:
        assert "lies on its side" in found
    elif abs(turn) > 135 + 1e-3:
        assert "is upside down" in found


def test_images_and_made_up_geometry_are_passed_over(tmp_path):
    assert orientation_warning(case(L, P))
    assert orientation_warning(case(L, P, has_geometry=False)) == ""
    write_example_fastmri(tmp_path / "knee.h5", example_head(1, (24, 20)))
    assert orientation_warning(find_cases(tmp_path)[0][0](1)) == ""
    image = case(L, P)
    object.__setattr__(image, "domain", "image")
    assert orientation_warning(image) == ""


@pytest.mark.parametrize(("turn", "told"), [(0.0, False), (90.0, True)])
def test_from_file_to_result(tmp_path, turn, told, caplog):
    """Where the settings say that the model knows upright slices, result and log hold it; the numbers stay."""
    geometry = ExampleGeometry(angles=(12.0, -7.0, turn))
    write_example_ismrmrd(tmp_path / "scan.h5", example_head(1, (64, 64)), range(0, 64, 2), geometry=geometry)
    scan = find_cases(tmp_path)[0][0](1)
    upright, reader = (DeployBundle(RECON, "reconstruction", {"swap_axes": swap}) for swap in (True, False))
    found, other = upright(scan), reader(scan)
    side = "the anatomy lies on its side for the model: the axial slices were read out from "
    assert any(text.startswith(side) for text in found.warnings) is told
    assert (side in caplog.text) is told
    assert not any(text.startswith(side) for text in other.warnings)
    assert torch.equal(found.result.mean, other.result.mean)
