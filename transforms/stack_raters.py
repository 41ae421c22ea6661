"""The labels of several raters in one array."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends
from torch import Tensor

from infomri_monai.transforms.common import plain, with_meta_of
from infomri_monai.transforms.raters import MISSING_RATER, check_label

__all__ = ["StackRaters", "StackRatersD", "StackRatersDict", "StackRatersd"]

_SIGNED = {torch.bool: torch.int8, torch.uint8: torch.int16, torch.uint16: torch.int32, torch.uint32: torch.int64}


class StackRaters(Transform):
    """Join the labels of one image, one of each rater, into one array.

    Args:
        allow_missing: None in the place of a label gives a slot of ``MISSING_RATER``; the result then always has a signed
            type (uint8 becomes int16), missing or not, so that images can be collated. False refuses None.
        multi_label: labels are (structure, *spatial) channels of 0 and 1, not one (1, *spatial) integer map.

    Example:
        >>> import torch
        >>> joined = StackRaters(allow_missing=True)([torch.ones(1, 4, 4, dtype=torch.uint8), None])
        >>> joined.shape, joined.dtype, joined.as_tensor()[:, 0, 0]
        (torch.Size([2, 4, 4]), torch.int16, tensor([ 1, -1], dtype=torch.int16))
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, allow_missing: bool = False, multi_label: bool = False) -> None:
        self.allow_missing = allow_missing
        self.multi_label = multi_label

    def __call__(self, labels: Sequence[NdarrayOrTensor | None]) -> Tensor:
        """Join.

        Args:
            labels: integer labels of one shape, (1, *spatial) or, with ``multi_label``, (structure, *spatial).

        Returns:
            Shape (rater, *spatial) or (rater, structure, *spatial); device and metadata of the first label that is there.

        Raises:
            ValueError: if all labels are missing, one is missing without ``allow_missing``, shapes or types differ, a label
                is not of an integer type, has negative values, or more than one channel without ``multi_label``.
        """
        highest = 2 if self.multi_label else 2**31
        tensors = [None if x is None else check_label(x, highest, name=f"label {i}") for i, x in enumerate(labels)]
        first = next((tensor for tensor in tensors if tensor is not None), None)
        if first is None:
            raise ValueError(f"all {len(tensors)} raters are missing; there is no label to join.")
        if not self.allow_missing and any(tensor is None for tensor in tensors):
            raise ValueError("a rater's label is missing; allow_missing=True marks it in the result.")
        kinds = {(tuple(tensor.shape), tensor.dtype) for tensor in tensors if tensor is not None}
        if len(kinds) > 1 or (not self.multi_label and (first.ndim < 2 or first.shape[0] != 1)):
            raise ValueError(
                f"labels must share a type and the shape {'(structure, *spatial)' if self.multi_label else '(1, *spatial)'}"
                f", got {sorted((shape, str(dtype)) for shape, dtype in kinds)}."
            )
        dtype = _SIGNED.get(first.dtype, first.dtype) if self.allow_missing else first.dtype
        slots = [
            torch.full(first.shape, MISSING_RATER, dtype=dtype, device=first.device)
            if tensor is None
            else plain(tensor).to(first.device, dtype)
            for tensor in tensors
        ]
        return with_meta_of(torch.stack(slots) if self.multi_label else torch.cat(slots), first)


class StackRatersd(MapTransform):
    """Dictionary version of :class:`StackRaters`: joins the keys' labels under one new key and leaves the keys as they are.

    Args:
        keys: one key for each rater.
        name: where the joined label goes.
        allow_missing: a key that is missing, or holds None, is a missing rater. False raises KeyError or ValueError.
        multi_label: labels are (structure, *spatial) channels of 0 and 1.

    Raises:
        ValueError: as :class:`StackRaters`.

    Example:
        >>> import torch
        >>> stack = StackRatersd(("label_1", "label_2", "label_3"), allow_missing=True)
        >>> one = torch.ones(1, 4, 4, dtype=torch.int16)
        >>> stack({"label_1": one, "label_3": 0 * one})["label"].as_tensor()[:, 0, 0]
        tensor([ 1, -1,  0], dtype=torch.int16)
    """

    backend = StackRaters.backend

    def __init__(
        self, keys: KeysCollection, name: str = "label", allow_missing: bool = False, multi_label: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys=allow_missing)
        self.name = name
        self.transform = StackRaters(allow_missing, multi_label)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor | None]) -> dict[Hashable, Any]:
        """Add the joined label."""
        d: dict[Hashable, Any] = dict(data)
        there = set(self.key_iterator(d))
        d[self.name] = self.transform([d[key] if key in there else None for key in self.keys])
        return d


StackRatersD = StackRatersDict = StackRatersd
