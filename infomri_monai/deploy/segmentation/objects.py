"""The DICOM objects of a segmentation: SEG of majority and probability, entropy map, triage report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from infomri_monai.acquisition.fourier import kspace_to_image
from infomri_monai.deploy.bundle import DeployBundle, Inference, as_reference, slice_names, volume_of
from infomri_monai.deploy.case import CaseSource, DeployCase, Derivation
from infomri_monai.deploy.dicom.mr_series import mr_series
from infomri_monai.deploy.dicom.parametric_map import parametric_map
from infomri_monai.deploy.dicom.report import triage_report
from infomri_monai.deploy.dicom.segmentation import binary_segmentation, fractional_segmentation
from infomri_monai.deploy.files import counted
from infomri_monai.deploy.logs import quiet
from infomri_monai.deploy.words import derivation
from infomri_monai.engines import VolumeSegmentation
from infomri_monai.handlers.cases import scaled_entry, worklist_entry

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["build_objects"]

_IMAGE, _SIGMA, _MAJORITY, _PROBABILITY, _ENTROPY, _TRIAGE = range(9100, 9106)


@quiet()
def build_objects(case: DeployCase, inference: Inference, bundle: DeployBundle) -> dict[str, Dataset]:
    """``segmentation.dcm``, ``probability.dcm``, ``entropy.dcm`` and ``triage.dcm``.

    A reconstruction, if the bundle gives one, is written as ``reconstruction/slice_<n>.dcm`` with ``sigma.dcm``. Raw k-space has no
    instances that a segmentation could refer to: then it refers to the reconstruction, or else to
    ``zero_filled/slice_<n>.dcm``.

    Args:
        case: what was segmented.
        inference: the bundle's result.
        bundle: the bundle.
    """
    result: VolumeSegmentation = inference.result
    warnings = (*case.warnings, *inference.warnings)
    said = partial(derivation, record=result.record, ratio=result.ratio, model=bundle.identity, warnings=warnings)
    images, source = _images(case, result, bundle, said)
    place = case.affine, source, source.instances
    majority, probability = _segmentations(case, result, bundle, said, place)
    how = said("entropy", more="Entropy of the mean class probabilities.")
    entropy = parametric_map(volume_of(result.entropy, case, bundle), *place, how, "entropy", _ENTROPY)
    triage = _triage(case, result, bundle, majority, source, warnings)
    named = {
        "segmentation.dcm": majority,
        "probability.dcm": probability,
        "entropy.dcm": entropy,
        "triage.dcm": triage,
    }
    return {**images, **named}


def _segmentations(
    case: DeployCase,
    result: VolumeSegmentation,
    bundle: DeployBundle,
    said: Callable[..., Derivation],
    place: tuple[NDArray[np.float64], CaseSource, Sequence[Any]],
) -> tuple[Dataset, Dataset]:
    """The most probable segmentation, and the probabilities; ``place`` is the affine, the source and what was segmented."""
    multi_label = result.segmentation.ndim > result.entropy.ndim
    masks = volume_of(result.segmentation, case, bundle, int(multi_label))
    probabilities = volume_of(result.class_probabilities, case, bundle, 1)
    mean = f"mean probability over {counted(len(result.volumes), 'sample')}"
    how = said(
        "segmentation", more=f"Where the {mean} is above 1/2." if multi_label else f"Most probable class by the {mean}."
    )
    majority = binary_segmentation(masks, bundle.names, *place, how, _MAJORITY)
    how = said("probability", more=f"{mean.capitalize()}.")
    return majority, fractional_segmentation(probabilities, bundle.names, *place, how, _PROBABILITY)


def _triage(
    case: DeployCase,
    result: VolumeSegmentation,
    bundle: DeployBundle,
    majority: Dataset,
    source: CaseSource,
    warnings: Sequence[str],
) -> Dataset:
    """The report; its warnings are texts of their own, so its derivation has none. A case with a warning goes to review."""
    voxel = abs(float(np.linalg.det(case.affine[:3, :3]))) if case.has_geometry else None
    entry = worklist_entry(result, case.number, f"case_{case.number:04d}", bundle.names, bundle.threshold)
    if warnings:
        entry = entry._replace(review=True)
    return triage_report(
        scaled_entry(entry, voxel),
        len(result.volumes),
        majority,
        source,
        source.instances,
        derivation("triage", result.record, result.ratio, bundle.identity),
        _TRIAGE,
        threshold=bundle.threshold,
        volume_unit="voxels" if voxel is None else "mm3",
        warnings=warnings,
    )


def _images(
    case: DeployCase, result: VolumeSegmentation, bundle: DeployBundle, said: Callable[..., Derivation]
) -> tuple[dict[str, Dataset], CaseSource]:
    """Images that are written beside the segmentation, and the source that it refers to."""
    if result.mean is not None and result.sigma is not None:
        how = said("reconstruction", more="Auxiliary reconstruction of the segmentation's network.")
        series = mr_series(volume_of(result.mean, case, bundle), case.affine, case.source, how, _IMAGE)
        source = case.source if case.source.instances else as_reference(series, case.source)
        how = said("sigma", more="Standard deviation of the auxiliary reconstruction.")
        sigma_values = volume_of(result.sigma, case, bundle)
        sigma = parametric_map(sigma_values, case.affine, source, source.instances, how, "sigma", _SIGMA)
        return {**slice_names("reconstruction", series), "sigma.dcm": sigma}, source
    if case.source.instances:
        return {}, case.source
    how = said("zero-filled", more="Zero-filled image, shown for orientation only: it has aliasing.")
    series = mr_series(volume_of(_zero_filled(case), case, bundle), case.affine, case.source, how, _IMAGE)
    return slice_names("zero_filled", series), as_reference(series, case.source)


def _zero_filled(case: DeployCase) -> Tensor:
    """Magnitude of the inverse Fourier transform of what was measured, (readout, phase encoding, slices)."""
    kspace = case.data if case.mask is None else case.data * case.mask
    return kspace_to_image(kspace[0].movedim(-1, 0), 2).abs().movedim(0, -1)
