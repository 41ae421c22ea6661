"""Handler that lets the weight of a loss's information term grow at the beginning of a training."""

from __future__ import annotations

from ignite.engine import Engine, Events

from infomri_monai.losses import BottleneckLoss, ELBOLoss

__all__ = ["WarmUp"]


class WarmUp:
    """Let a weight (of the KL term, or beta of the bottleneck) grow linearly from 0 to its value over the first part of a training.

    The scale is a function of the iteration number alone, so that a resumed run goes on where it was.

    Args:
        loss: the loss whose ``warm_up`` is set.
        share: length of the warm-up as a share of the training; 0 has the full weight from the start.

    Raises:
        ValueError: if ``share`` is outside [0, 1].

    References:
        Bowman et al., "Generating sentences from a continuous space", CoNLL 2016.

    Example:
        >>> loss, engine = ELBOLoss(), Engine(lambda engine, batch: None)
        >>> WarmUp(loss, share=0.5).attach(engine)
        >>> engine.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda _: print(loss.warm_up))  # doctest: +ELLIPSIS
        <...>
        >>> _ = engine.run([0], max_epochs=8)
        0.75
    """

    def __init__(self, loss: ELBOLoss | BottleneckLoss, share: float = 0.0) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share must lie in [0, 1], got {share}.")
        self.loss = loss
        self.share = float(share)

    def attach(self, engine: Engine) -> None:
        """Register before every iteration."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the scale of this iteration."""
        total = (engine.state.max_epochs or 1) * (engine.state.epoch_length or 1)
        self.loss.warm_up = min(1.0, engine.state.iteration / (self.share * total)) if self.share else 1.0
