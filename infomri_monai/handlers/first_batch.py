"""What handlers share that draw an evaluation: its first batch, the ratios' places in it, and the policy's masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import Tensor

from infomri_monai.figures import mask_figure, save_figure
from infomri_monai.sampling import SamplingPolicy

__all__ = ["FirstBatch", "draw_masks"]


class FirstBatch:
    """Keeps the first batch of every epoch on the CPU, on the first rank only.

    Attributes:
        prediction: the evaluator's prediction, a NamedTuple of tensors; None before the first batch and on other ranks.
        image: the images that it was made from, as the batch preparation repeated them; with a prediction only.
        label: the targets; with a prediction only.
    """

    prediction: Any = None
    image: Tensor
    label: Tensor

    def attach(self, engine: Engine) -> None:
        """Register: forget at an epoch's start, keep its first batch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._forget)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)

    def _forget(self, engine: Engine) -> None:
        self.prediction = None

    def _keep(self, engine: Engine) -> None:
        if self.prediction is None and idist.get_rank() == 0:
            output: Any = engine.state.output
            prediction = output[CommonKeys.PRED]
            self.prediction = type(prediction)(*(field.cpu() for field in prediction))
            self.image, self.label = output[CommonKeys.IMAGE].cpu(), output[CommonKeys.LABEL].cpu()


def draw_masks(
    policy: SamplingPolicy,
    ratios: Tensor,
    image: Tensor,
    seed: int,
    path: Path,
    entropy: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Draw the policy's masks and probabilities.

    Args:
        policy: any policy.
        ratios: sampling ratios.
        image: one of the grid to be sampled, (..., H, W).
        seed: seed of the masks.
        path: file of the picture.
        entropy: Ĥ(Y|m) in nats of masks on the policy's device, shown below each; None leaves it out.
    """
    parameters = list(policy.parameters())
    generator = torch.Generator(parameters[0].device if parameters else "cpu").manual_seed(seed)
    save_figure(mask_figure(policy, ratios.tolist(), image.shape[-2:], generator, entropy=entropy), path)
