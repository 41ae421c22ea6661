"""The application that all three share: a chain of three operators on the MONAI Deploy App SDK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai.deploy.core import Application

from infomri_monai.deploy.bundle import DeployBundle
from infomri_monai.deploy.inputs import ReadableCase
from infomri_monai.deploy.journal import Journal
from infomri_monai.deploy.operators import (
    BuildObjects,
    BundleInferenceOperator,
    CaseLoaderOperator,
    CaseWriterOperator,
)

__all__ = ["BundleApplication"]


class BundleApplication(Application):
    """Load, infer, write: :class:`~infomri_monai.deploy.operators.CaseLoaderOperator` to
    :class:`~infomri_monai.deploy.operators.BundleInferenceOperator` to
    :class:`~infomri_monai.deploy.operators.CaseWriterOperator`.

    Args:
        cases: what was found in the input; at least one.
        bundle: the loaded bundle.
        build: builds the DICOM objects of a result.
        output: the output folder; made if absent.
        journal: takes the outcomes.
    """

    def __init__(
        self,
        cases: Sequence[ReadableCase],
        bundle: DeployBundle,
        build: BuildObjects,
        output: Path,
        journal: Journal,
    ) -> None:
        self.cases, self.bundle, self.build, self.output, self.journal = cases, bundle, build, output, journal
        super().__init__()

    def compose(self) -> None:
        """Chain the operators."""
        load = CaseLoaderOperator(self, cases=self.cases, name="load")
        infer = BundleInferenceOperator(self, bundle=self.bundle, name="infer")
        write = CaseWriterOperator(
            self, build=self.build, bundle=self.bundle, output=self.output, journal=self.journal, name="write"
        )
        self.add_flow(load, infer, {("case", "case")})
        self.add_flow(infer, write, {("case", "case")})
