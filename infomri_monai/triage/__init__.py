"""Triage: which cases a person must look at, by the agreement of the samples, and whether that finds the bad ones."""

from infomri_monai.triage.agreement import sample_agreement
from infomri_monai.triage.risk_coverage import RiskCoverage, risk_coverage, share_removed
from infomri_monai.triage.threshold import ReviewThreshold, choose_threshold, load_threshold, save_threshold
from infomri_monai.triage.worklist import StructureVolume, WorklistEntry, write_worklist

__all__ = [
    "ReviewThreshold",
    "RiskCoverage",
    "StructureVolume",
    "WorklistEntry",
    "choose_threshold",
    "load_threshold",
    "risk_coverage",
    "sample_agreement",
    "save_threshold",
    "share_removed",
    "write_worklist",
]
