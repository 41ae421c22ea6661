"""The agreement of a batch's samples, which several handlers of an evaluation need and only the first of them computes."""

from __future__ import annotations

import math
from typing import Any

import torch
from ignite.engine import Engine
from monai.utils import CommonKeys
from torch import Tensor

from infomri_monai.triage import sample_agreement

__all__ = ["batch_agreement"]

#: where it is kept in the engine's output, which is new in every iteration
_KEY = "sample_agreement"


def batch_agreement(engine: Engine) -> Tensor:
    """Agreement of the samples of every image that an evaluator has just segmented.

    It is kept in the engine's output, so that handlers may ask in any order.

    Args:
        engine: an evaluator after an iteration; its prediction is a :class:`~infomri_monai.systems.SegmentationPosterior`.

    Returns:
        :func:`~infomri_monai.triage.sample_agreement` in [0, 1] on the CPU, (images,); NaN of a single sample.
    """
    output: Any = engine.state.output
    if _KEY not in output:
        samples: Tensor = output[CommonKeys.PRED].samples
        several = samples.shape[1] > 1
        output[_KEY] = sample_agreement(samples).cpu() if several else torch.full((len(samples),), math.nan)
    agreement: Tensor = output[_KEY]
    return agreement
