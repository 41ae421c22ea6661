"""The DICOM objects of a reconstruction: an MR series, and a parametric map of its standard deviation."""

from __future__ import annotations

from functools import partial
from typing import Any

from pydicom.dataset import Dataset

from infomri_monai.data.dicom.quiet import quiet
from infomri_monai.deploy.bundle import DeployBundle, Inference, volume_of
from infomri_monai.deploy.case import CaseSource, DeployCase
from infomri_monai.deploy.derivation import Derivation, derived
from infomri_monai.deploy.dicom.mr_series import mr_series
from infomri_monai.deploy.dicom.parametric_map import parametric_map
from infomri_monai.engines import VolumeReconstruction

__all__ = ["build_objects", "series_files"]

_SERIES, _SIGMA = 9001, 9002


@quiet()
def build_objects(case: DeployCase, inference: Inference, bundle: DeployBundle) -> dict[str, Dataset]:
    """``reconstruction/slice_<n>.dcm``, the posterior mean's magnitude, and ``sigma.dcm``, the magnitude's standard deviation.

    The map refers to the source's instances, or (raw k-space) to those of the reconstruction.

    Args:
        case: what was reconstructed.
        inference: the bundle's result.
        bundle: the bundle.
    """
    result: VolumeReconstruction = inference.result
    warnings = (*case.warnings, *inference.warnings)
    said = partial(derived, record=result.record, ratio=result.ratio, model=bundle.identity, warnings=warnings)
    mean, sigma = (volume_of(m, case, bundle) for m in (result.mean, result.sigma))
    how = said("reconstruction", more="Magnitude of the posterior mean.")
    files, source = series_files("reconstruction", mean, case, how, _SERIES)
    how = said("sigma", more="Standard deviation of the magnitude, same units.")
    return {**files, "sigma.dcm": parametric_map(sigma, case.affine, source, how, "sigma", _SIGMA)}


def series_files(
    folder: str, image: Any, case: DeployCase, derivation: Derivation, number: int
) -> tuple[dict[str, Dataset], CaseSource]:
    """An image of a case as an MR series, and what further objects of the case refer to.

    Args:
        folder: of the files.
        image: what :func:`~infomri_monai.deploy.dicom.mr_series.mr_series` takes, like the arguments below.
        case: what it is of.
        derivation: of the series.
        number: of the series.

    Returns:
        File names and instances, numbered from 1; the case's source, or the new series, where it has no instances (raw k-space)
        or one whose slices nothing can refer to (a mosaic).
    """
    series = mr_series(image, case.affine, case.source, derivation, number)
    files = {f"{folder}/slice_{n:04d}.dcm": instance for n, instance in enumerate(series, 1)}
    referable = case.source.instances and not case.source.tiled
    source = case.source if referable else CaseSource(tuple(series), case.source.attributes)
    return files, source
