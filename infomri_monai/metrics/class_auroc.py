"""Area under the ROC curve as a cumulative metric, with intervals.

``y_pred`` holds the probabilities of C classes or labels, (batch, C); ``y`` class numbers, (batch,), or, with ``multi_label``,
zeros and ones, (batch, C). Give ``ratio=`` for values by sampling ratio, ``volume=`` for the subject of every image.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from infomri_monai.metrics.bootstrap import Estimate, SubjectBootstrap
from infomri_monai.metrics.class_labels import class_names, probabilities_and_targets
from infomri_monai.metrics.cumulative import RatioMetric
from infomri_monai.metrics.roc_auc import auroc_estimates, class_auroc

__all__ = ["ClassAUROC"]


class ClassAUROC(RatioMetric):
    """Area under the ROC curve of every class or label, and their mean; keeps probabilities and targets of every image.

    Of two classes that exclude each other only the second is scored: the first has the same area. Several are scored one
    against the rest. The area is that of ``monai.metrics.ROCAUCMetric(average="macro")`` given targets, which knows neither
    ratios nor intervals and scores both of two classes. NaN, and a warning in the log, where a class is absent or all there is.

    Args:
        num_classes: classes, at least 2, or (multi-label) labels.
        names: of the classes or labels, for the log; None numbers them.
        multi_label: labels are independent of each other.
        bootstrap: draws the subjects of the intervals; None: 1000 times.

    Raises:
        ValueError: if ``num_classes`` is too small or ``names`` are not as many.

    Example:
        >>> import torch
        >>> metric, lesion = ClassAUROC(2), torch.tensor([0.1, 0.4, 0.4, 0.8])
        >>> _ = metric(torch.stack([1 - lesion, lesion], 1), torch.tensor([0, 0, 1, 1]), ratio=0.25)
        >>> metric.aggregate(), metric.estimates()[0.25]["class_1"].value
        (tensor(0.8750, dtype=torch.float64), 0.875)
    """

    unit = "1"

    def __init__(
        self,
        num_classes: int,
        names: Sequence[str] | None = None,
        multi_label: bool = False,
        bootstrap: SubjectBootstrap | None = None,
    ) -> None:
        super().__init__()
        self.num_classes, self.multi_label = num_classes, multi_label
        self._first = 1 if num_classes == 2 and not multi_label else 0
        self.names = class_names(names, num_classes, multi_label)[self._first :]
        self.bootstrap = bootstrap or SubjectBootstrap()
        kind = "labels" if multi_label else "classes, each against the rest"
        what = f"of {self.names[0]}" if len(self.names) == 1 else f"mean over {kind}"
        self.convention = f"area under the ROC curve, ties half, {what}"

    def statistics(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Probabilities and targets of the scored classes, shape (batch, 2, scored)."""
        both = torch.stack(probabilities_and_targets(y_pred, y, self.multi_label), 1)
        if both.shape[2] != self.num_classes:
            raise ValueError(f"probabilities must be of {self.num_classes} classes or labels, got {both.shape[2]}.")
        return both[:, :, self._first :]

    def summary(self, statistics: Tensor, volume: Tensor) -> Tensor:
        """Mean area."""
        self._warn(statistics[:, 1])
        return class_auroc(*statistics.unbind(1)).mean()

    def estimates(self) -> dict[float, dict[str, Estimate]]:
        """Area with its interval, by ratio in ascending order, then by name; the mean's name is empty.

        Raises:
            ValueError: if there are no images.
        """
        statistics, ratio, volume = self._gathered()
        self._warn(statistics[:, 1])
        found = {}
        for s, at in self._groups(ratio).items():
            scores, targets = statistics[at].unbind(1)
            estimates = auroc_estimates(scores, targets, volume[at], self.bootstrap)
            found[s] = dict(zip((*self.names, ""), estimates, strict=True))
        return found

    def _warn(self, targets: Tensor) -> None:
        absent = [n for n, low, high in zip(self.names, targets.amin(0), targets.amax(0), strict=True) if low == high]
        if absent:
            said = f"{len(targets)} images all have or all lack {', '.join(absent)}"
            logging.getLogger(__name__).warning("AUROC is not defined: %s", said)
