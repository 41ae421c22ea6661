"""Structured reports of a case, and how they read as plain text."""

from __future__ import annotations

from infomri_monai.deploy.dicom.classification_report import classification_report
from infomri_monai.deploy.dicom.report_text import report_text
from infomri_monai.deploy.dicom.triage_report import triage_report

__all__ = ["classification_report", "report_text", "triage_report"]
