"""One of several raters, drawn from MONAI's random state."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import get_track_meta
from monai.transforms import MapTransform, Randomizable, Transform
from monai.utils import TransformBackends, convert_to_tensor
from torch import Tensor

from infomri_monai.transforms.common import check_spatial_dims, checked_tensor, plain, with_meta_of
from infomri_monai.transforms.raters import present_raters

__all__ = ["RandRater", "RandRaterD", "RandRaterDict", "RandRaterd"]


class RandRater(Randomizable, Transform):
    """Draw one of the raters who drew the image; every present rater with the same probability, a missing one never.

    ``randomize`` draws one uniform number from ``self.R``.

    Args:
        spatial_dims: number of spatial axes of a label.

    Raises:
        ValueError: if ``spatial_dims`` is not 1, 2 or 3.

    Example:
        >>> import torch
        >>> label = torch.tensor([-1, 5, 7], dtype=torch.int16).reshape(3, 1, 1).expand(3, 2, 2)
        >>> draw = RandRater().set_random_state(0)
        >>> sorted({int(draw(label).max()) for _ in range(20)}), draw(label).shape
        ([5, 7], torch.Size([1, 2, 2]))
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, spatial_dims: int = 2) -> None:
        self.spatial_dims = check_spatial_dims(spatial_dims)
        self._uniform: float | None = None

    def randomize(self, data: Any = None) -> None:
        """Draw the uniform number that chooses the rater."""
        self._uniform = float(self.R.random_sample())

    def __call__(self, label: NdarrayOrTensor, randomize: bool = True) -> Tensor:
        """Draw a rater.

        Args:
            label: (rater, *spatial), or (rater, structure, *spatial) for multi-label maps; any real dtype.
            randomize: draw anew; False repeats the last draw.

        Returns:
            The rater's label, shape (1, *spatial) or (1, structure, *spatial); dtype, device and metadata kept.

        Raises:
            ValueError: if all raters are missing, the number of axes does not fit, or a value is NaN, Inf or negative.
        """
        tensor = self.checked(label)
        if randomize:
            self.randomize()
        return self.select(tensor, present_raters(tensor))

    def checked(self, label: NdarrayOrTensor, name: str = "label") -> Tensor:
        """The label as a tensor of its own dtype, after the checks of :meth:`__call__`."""
        checked = checked_tensor(label, name, self.spatial_dims)
        if checked.is_complex():
            raise ValueError(f"{name} must be real, got {checked.dtype}.")
        original = convert_to_tensor(label, track_meta=get_track_meta())
        return original if isinstance(original, Tensor) else checked

    def select(self, label: Tensor, present: Tensor) -> Tensor:
        """The rater that the last draw chooses among those ``present``, booleans of shape (rater,)."""
        candidates = present.nonzero()[:, 0].tolist()
        if not candidates:
            raise ValueError(f"all {len(present)} raters are missing; there is no label to draw.")
        if self._uniform is None:
            raise RuntimeError("please call the `randomize()` function first.")
        chosen = candidates[int(self._uniform * len(candidates))]
        return with_meta_of(plain(label)[chosen : chosen + 1].clone(), label)


class RandRaterd(Randomizable, MapTransform):
    """Dictionary version of :class:`RandRater`; replaces every key's data by one rater's, the same rater for all keys.

    Args:
        keys: keys of the labels. The rater is drawn among those who are present in all of them.
        spatial_dims: number of spatial axes of a label.
        allow_missing_keys: skip missing keys instead of raising KeyError.

    Raises:
        ValueError: as :class:`RandRater`, and if the keys' numbers of raters differ.

    Example:
        >>> import torch
        >>> RandRaterd("label").set_random_state(0)({"label": torch.zeros(6, 8, 8, dtype=torch.uint8)})["label"].shape
        torch.Size([1, 8, 8])
    """

    backend = RandRater.backend

    def __init__(self, keys: KeysCollection, spatial_dims: int = 2, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.transform = RandRater(spatial_dims)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandRaterd:
        """Set the random state of this transform and of its array version."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw once for all keys."""
        self.transform.randomize()

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Replace every key's raters by the drawn one."""
        d = dict(data)
        labels = {key: self.transform.checked(d[key], f"label {key!r}") for key in self.key_iterator(d)}
        self.randomize()
        if not labels:
            return d
        counts = {len(label) for label in labels.values()}
        if len(counts) > 1:
            raise ValueError(f"labels {list(labels)} must have one number of raters, got {sorted(counts)}.")
        present = torch.stack([present_raters(label).cpu() for label in labels.values()]).all(0)
        return {**d, **{key: self.transform.select(label, present) for key, label in labels.items()}}


RandRaterD = RandRaterDict = RandRaterd
