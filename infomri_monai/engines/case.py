"""One case at a time through MONAI's evaluator, in such a way that one that fails does not stop the others."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from monai.engines import PrepareBatch
from monai.inferers import Inferer
from torch import Tensor

__all__ = ["CaseFailure", "PrepareCase", "TolerantInferer"]


class CaseFailure(NamedTuple):
    """Takes the place of the prediction of a case that failed.

    Attributes:
        reason: the error's type and message, without the file's name.
    """

    reason: str


class PrepareCase(PrepareBatch):
    """From a batch of one case of :class:`~infomri_monai.data.CaseDataset` to the arguments of the inferer.

    The case stays on the CPU; the inferer moves a few slices at a time.

    Raises:
        ValueError: when called, if the batch holds more than one case (cases differ in size).

    Example:
        >>> import torch
        >>> batch = {"kspace": torch.ones(1, 1, 8, 8, dtype=torch.complex64), "failure": [""]}
        >>> PrepareCase()(batch)[3]
        {'domain': 'kspace', 'mask': None, 'failure': ''}
    """

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, None, tuple[()], dict[str, Any]]:
        """Return (inputs, None, (), keyword arguments of the inferer)."""
        domain = "kspace" if "kspace" in batchdata else "image"
        inputs = batchdata[domain]
        if inputs.shape[0] != 1:
            raise ValueError(f"the data loader's batch_size must be 1, one case, got {inputs.shape[0]}.")
        failure = batchdata.get("failure", [""])[0]
        return inputs, None, (), {"domain": domain, "mask": batchdata.get("mask"), "failure": failure}


class TolerantInferer(Inferer):
    """Run another inferer and turn its errors into a :class:`CaseFailure`.

    Args:
        inferer: the inferer that does the work. Its ValueError and RuntimeError (PyTorch's, out of memory among them) are the
            case's; anything else is a defect of the program and passes.

    Example:
        >>> from monai.inferers import SimpleInferer
        >>> import torch
        >>> TolerantInferer(SimpleInferer())(torch.ones(1, 3), torch.nn.Linear(3, 1), failure="ValueError: NaN")
        CaseFailure(reason='ValueError: NaN')
    """

    def __init__(self, inferer: Inferer) -> None:
        super().__init__()
        self.inferer = inferer

    def __call__(self, inputs: Tensor, network: Any, *args: Any, failure: str = "", **kwargs: Any) -> Any:
        """Return the inferer's result, or the failure of reading (``failure``) or of the inferer."""
        if failure:
            return CaseFailure(failure)
        try:
            return self.inferer(inputs, network, *args, **kwargs)
        except (ValueError, RuntimeError) as error:
            return CaseFailure(f"{type(error).__name__}: {error}")
