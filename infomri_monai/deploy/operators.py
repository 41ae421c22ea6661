"""The three operators of every application: load a case, run the bundle on it, write its DICOM objects.

Cases go through one at a time, so that memory holds one of them. A case that fails is handed on with its reason: it does not stop
the others, and an exception (whose message Holoscan would print, with whatever header it quotes) never leaves an operator.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application, Fragment, Operator, OperatorSpec

from infomri_monai.deploy.bundle import DeployBundle, Inference
from infomri_monai.deploy.case import DeployCase, DeployError
from infomri_monai.deploy.cases import ReadableCase
from infomri_monai.deploy.dicom.save import save_objects
from infomri_monai.deploy.journal import Delivery, Journal, safe_reason, where

__all__ = ["BuildObjects", "BundleApplication", "BundleInferenceOperator", "CaseLoaderOperator", "CaseWriterOperator"]

_LOGGER = logging.getLogger(__name__)
_PORT = "case"


class BuildObjects(Protocol):
    """Builds the DICOM objects of a result, without writing any."""

    def __call__(self, case: DeployCase, inference: Inference, bundle: DeployBundle) -> Mapping[str, Any]:
        """File names below the case's folder and their pydicom data sets."""


def _step(delivery: Delivery, doing: str, work: Callable[..., Any], *arguments: Any) -> Any:
    """Do a step of a case's work and time it, unless the case has failed; note the reason if it fails now, and return None."""
    if delivery.failure:
        return None
    start = time.perf_counter()
    try:
        return work(*arguments)
    except Exception as error:
        delivery.fail(safe_reason(error, doing), error.warnings if isinstance(error, DeployError) else ())
        _LOGGER.debug("case %d, %s: %s at\n%s", delivery.number, doing, type(error).__name__, where(error))
        return None
    finally:
        delivery.seconds[doing] = delivery.seconds.get(doing, 0.0) + time.perf_counter() - start


class CaseLoaderOperator(Operator):
    """Named output ``case``: a :class:`~infomri_monai.deploy.journal.Delivery` for every case of the input, one per tick.

    Args:
        fragment: the application.
        cases: what was found in the input.
    """

    def __init__(self, fragment: Fragment, *args: Any, cases: Sequence[ReadableCase], **kwargs: Any) -> None:
        self.cases, self.next = list(cases), 0
        super().__init__(fragment, CountCondition(fragment, len(self.cases)), *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the port."""
        spec.output(_PORT)

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Load the next case."""
        found, self.next = self.cases[self.next], self.next + 1
        delivery = Delivery(self.next)
        delivery.case = _step(delivery, "load", found, delivery.number)
        op_output.emit(delivery, _PORT)


class BundleInferenceOperator(Operator):
    """Named input and output ``case``: runs a bundle and keeps its result as it is, float data and all named fields.

    Args:
        fragment: the application.
        bundle: the loaded bundle.
    """

    def __init__(self, fragment: Fragment, *args: Any, bundle: DeployBundle, **kwargs: Any) -> None:
        self.bundle = bundle
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input(_PORT)
        spec.output(_PORT)

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Run the bundle on a case."""
        delivery: Delivery = op_input.receive(_PORT)
        delivery.inference = _step(delivery, "inference", self.bundle, delivery.case)
        if delivery.inference is not None:
            delivery.seconds |= delivery.inference.seconds
            delivery.seconds.pop("inference")
        op_output.emit(delivery, _PORT)


class CaseWriterOperator(Operator):
    """Named input ``case``: writes all DICOM objects of a case, or none, to ``case_<number>/`` and notes the outcome.

    Args:
        fragment: the application.
        build: builds the objects.
        bundle: the bundle that gave the result.
        output: the output folder.
        journal: takes the outcome.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        build: BuildObjects,
        bundle: DeployBundle,
        output: Path,
        journal: Journal,
        **kwargs: Any,
    ) -> None:
        self.build, self.bundle, self.output, self.journal = build, bundle, output, journal
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the port."""
        spec.input(_PORT)

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write a case."""
        delivery: Delivery = op_input.receive(_PORT)
        folder = f"case_{delivery.number:04d}"
        objects = _step(delivery, "write", self.build, delivery.case, delivery.inference, self.bundle)
        with self.journal.writing:
            _step(delivery, "write", save_objects, objects, self.output / folder)
            delivery.objects = [] if delivery.failure else [f"{folder}/{name}" for name in objects]
            self.journal.add(delivery)


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
        self, cases: Sequence[ReadableCase], bundle: DeployBundle, build: BuildObjects, output: Path, journal: Journal
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
