"""Handler that lets the weight of a loss's information term grow at the beginning of a training."""

from __future__ import annotations

from ignite.engine import Engine, Events

from infomri_monai.losses import BottleneckLoss, ELBOLoss

__all__ = ["WarmUp"]


class WarmUp:
    """Let the weight of the KL term, or the beta of the bottleneck, grow linearly from 0 to its value over the first iterations.

    The scale is a function of the iteration number alone, so that a resumed run goes on where it was.

    Args:
        loss: the loss whose ``warm_up`` is set.
        iterations: length of the warm-up; 0 has the full weight from the start.

    Raises:
        ValueError: if ``iterations`` is negative.

    References:
        Bowman et al., "Generating sentences from a continuous space", CoNLL 2016.

    Example:
        >>> loss, engine = ELBOLoss(), Engine(lambda engine, batch: None)
        >>> WarmUp(loss, iterations=4).attach(engine)
        >>> _ = engine.run([0], max_epochs=3)
        >>> loss.warm_up
        0.75
    """

    def __init__(self, loss: ELBOLoss | BottleneckLoss, iterations: int = 0) -> None:
        if iterations < 0:
            raise ValueError(f"iterations must be >= 0, got {iterations}.")
        self.loss = loss
        self.iterations = iterations

    def attach(self, engine: Engine) -> None:
        """Register before every iteration."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the scale of this iteration."""
        self.loss.warm_up = min(1.0, engine.state.iteration / self.iterations) if self.iterations else 1.0
