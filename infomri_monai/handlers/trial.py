"""What would fail at the first validation, epochs later, is tried before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import SupervisedEvaluator
from torch.utils.data import default_collate

from infomri_monai.handlers.sweep import RatioSweepHandler

__all__ = ["TryValidation"]


class TryValidation:
    """Validate the first images when a trainer is made, before anything is written; nothing of it is kept.

    Reading, keys, labels, image size, the ratios' masks, the network and the table with its key metric are tried, on two images.

    Args:
        validator: an evaluator on validation data.
        quality: its handler of the table.
        training_data: the training's data set, whose images must have the same shape.
        key: of the images, in both data sets.
        name: of the argument that gave the data, for the message.

    Raises:
        ValueError: when attached, if a validation would fail; names the argument and what is wrong.
    """

    def __init__(
        self,
        validator: SupervisedEvaluator,
        quality: RatioSweepHandler,
        training_data: Any,
        key: str = "image",
        name: str = "validation_data",
    ) -> None:
        self.validator, self.quality, self.training_data = validator, quality, training_data
        self.key, self.name = key, name

    def attach(self, engine: Engine) -> None:
        """Try it now: MONAI's trainer attaches its handlers when it is made."""
        data: Any = self.validator.data_loader.dataset  # type: ignore[union-attr]
        if not len(data):
            raise ValueError(f"{self.name} holds no image.")
        network = self.validator.network
        training = network.training
        network.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                items = [data[i] for i in range(min(2, len(data)))]
                self._check_images(items[0])
                self._validate(getattr(self.validator.data_loader, "collate_fn", default_collate)(items))
        except (ValueError, KeyError, IndexError, TypeError, RuntimeError) as error:
            raise ValueError(f"{self.name} cannot be validated with: {_words(error)}") from error
        finally:
            network.train(training)

    def _check_images(self, item: Mapping[str, Any]) -> None:
        shapes = [tuple(given[self.key].shape) for given in (self.training_data[0], item)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"its images have the shape {shapes[1]}, those of the training {shapes[0]}.")

    def _validate(self, batch: Any) -> None:
        validator = self.validator
        image, label, *more = validator.prepare_batch(batch, validator.state.device, validator.non_blocking)
        arguments, options = more or ((), {})
        prediction = validator.inferer(image, validator.network, *arguments, **options)
        self.quality.trial(batch, prediction, label)


def _words(error: Exception) -> str:
    """Its message; of a KeyError without quotes around it."""
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else f"{error}"
