"""The one DICOM object of a privacy-preserving classification: a structured report without any pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infomri_monai.deploy.bundle import DeployBundle, Inference
from infomri_monai.deploy.case import DeployCase
from infomri_monai.deploy.dicom.report import classification_report
from infomri_monai.deploy.logs import quiet
from infomri_monai.deploy.words import derivation
from infomri_monai.engines import VolumeClassification

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["build_objects"]

_REPORT = 9200


@quiet()
def build_objects(case: DeployCase, inference: Inference, bundle: DeployBundle) -> dict[str, Dataset]:
    """``report.dcm``: probabilities of all labels, their uncertainty, and how k-space was acquired.

    Args:
        case: what was classified.
        inference: the bundle's result.
        bundle: the bundle.
    """
    result: VolumeClassification = inference.result
    report = classification_report(
        result,
        bundle.names,
        case.source,
        derivation("classification", result.record, result.ratio, bundle.identity),
        _REPORT,
        warnings=(*case.warnings, *inference.warnings),
    )
    return {"report.dcm": report}
