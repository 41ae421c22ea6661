"""The k-space positions that the application measured, for the picture: no DICOM object holds them, so they are drawn again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.deploy import segmentation
from infomri_monai.deploy.bundle import DeployBundle
from infomri_monai.engines.case import SimulatedSlices

__all__ = ["drawn_masks"]


def drawn_masks(models: Path, slices: int, rows: int, columns: int) -> NDArray[np.bool_] | None:
    """The masks of the segmentation application with its own ``app.yaml``: a draw depends on ratio, seed and slice alone.

    Args:
        models: bundle of a segmentation.
        slices: number of slices of the MR series.
        rows: of a slice.
        columns: of a slice.

    Returns:
        Measured or not, DC at ``n // 2``, (slices, rows, columns); None where the settings do not say how to draw.

    Example:
        >>> from infomri_monai.deploy.model_files import find_bundle
        >>> drawn_masks(Path("bundles/infomri_segmentation"), 2, 64, 48).mean().round(3)
        np.float64(0.125)
    """
    folder = Path(str(segmentation.__path__[0]))
    settings = yaml.safe_load((folder / "app.yaml").read_text(encoding="utf-8")).get("bundle") or {}
    if not {"ratio", "seed"} <= settings.keys() or settings.get("grid_mode", "adapt") != "adapt":
        return None
    bundle = DeployBundle(models, "segmentation", settings)
    grid = (rows, columns) if bundle.swap_axes else (columns, rows)
    images = torch.zeros(slices, 1, *grid)
    ratio, seed = float(settings["ratio"]), int(settings["seed"])
    acquired = SimulatedSlices(images, bundle.policy.for_grid(grid), FourierMeasurement(), ratio, seed, grid, "adapt")
    masks = torch.cat([acquired.acquire(index)[1][0] for index in range(slices)]).numpy() > 0
    return masks if bundle.swap_axes else masks.swapaxes(1, 2)
