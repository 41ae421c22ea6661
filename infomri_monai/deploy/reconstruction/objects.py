"""The DICOM objects of a reconstruction: an MR series, and a parametric map of its standard deviation."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from infomri_monai.deploy.bundle import DeployBundle, Inference, as_reference, slice_names, volume_of
from infomri_monai.deploy.case import DeployCase
from infomri_monai.deploy.dicom.mr_series import mr_series
from infomri_monai.deploy.dicom.parametric_map import parametric_map
from infomri_monai.deploy.logs import quiet
from infomri_monai.deploy.words import derivation
from infomri_monai.engines import VolumeReconstruction

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["build_objects"]

_SERIES, _SIGMA = 9001, 9002


@quiet()
def build_objects(case: DeployCase, inference: Inference, bundle: DeployBundle) -> dict[str, Dataset]:
    """``reconstruction/slice_<n>.dcm``, the posterior mean's magnitude, and ``sigma.dcm``, its standard deviation.

    The map refers to the source's instances, or (raw k-space) to those of the reconstruction.

    Args:
        case: what was reconstructed.
        inference: the bundle's result.
        bundle: the bundle.
    """
    result: VolumeReconstruction = inference.result
    warnings = (*case.warnings, *inference.warnings)
    said = partial(derivation, record=result.record, ratio=result.ratio, model=bundle.identity, warnings=warnings)
    mean, sigma = (volume_of(m, case, bundle) for m in (result.mean, result.sigma))
    how = said("reconstruction", more="Magnitude of the posterior mean.")
    series = mr_series(mean, case.affine, case.source, how, _SERIES)
    source = case.source if case.source.instances else as_reference(series, case.source)
    how = said("sigma", more="Standard deviation of the reconstruction per real component, same units.")
    sigma_map = parametric_map(sigma, case.affine, source, source.instances, how, "sigma", _SIGMA)
    return {**slice_names("reconstruction", series), "sigma.dcm": sigma_map}
