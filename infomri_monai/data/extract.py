"""Take one 2D slice out of a loaded volume, with its geometry and without the header that may name a patient."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

__all__ = ["ExtractSliceD", "ExtractSliceDict", "ExtractSliced", "extract_slice"]

_KEPT_META = ("filename_or_obj", "space")


def extract_slice(volume: torch.Tensor, index: int, axis: int = 2) -> MetaTensor:
    """Take one slice of a volume.

    Args:
        volume: shape (channel, *spatial) with two or three spatial axes, usually a MetaTensor; a 2D image has slice 0
            only.
        index: slice along ``axis``.
        axis: spatial axis to cut across, 0 to 2.

    Returns:
        Shape (channel, height, width): the two other axes in their order. Its 4 x 4 affine maps (row, column, 0) to
        where the slice lies in the source's space; the third column is the direction of the slices. ``meta["spacing"]``
        holds the pixel size and the slices' distance in the source's unit (mm); MetaTensor's own ``pixdim`` reads the
        upper left 2 x 2 of the affine only, which is wrong for sagittal, coronal and oblique slices. Of the source's
        metadata only the file's name and the space are kept, because readers leave the whole DICOM header there.

    Raises:
        ValueError: if the shape, ``axis`` or ``index`` does not fit.

    Example:
        >>> volume = MetaTensor(torch.zeros(1, 4, 5, 6), affine=torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0])))
        >>> cut = extract_slice(volume, 4)
        >>> cut.shape, cut.affine[:3, 3].tolist()
        (torch.Size([1, 4, 5]), [0.0, 0.0, 12.0])
    """
    if volume.ndim not in (3, 4):
        raise ValueError(
            f"volume must have shape (channel, *spatial) with 2 or 3 spatial axes, got {tuple(volume.shape)}."
        )
    if axis not in (0, 1, 2):
        raise ValueError(f"axis must be 0, 1 or 2, got {axis}.")
    slices = volume.shape[axis + 1] if volume.ndim == 4 else 1
    if not 0 <= index < slices:
        raise ValueError(f"slice {index} does not exist: the volume has {slices} along axis {axis}.")
    volume = volume if isinstance(volume, MetaTensor) else MetaTensor(volume)
    plane, affine, source = volume.as_tensor(), torch.eye(4, dtype=torch.float64), volume.affine
    if volume.ndim == 4:
        affine[:3] = source[:3, [*(a for a in range(3) if a != axis), axis, 3]]
        affine[:3, 3] += index * affine[:3, 2]
        plane = plane.select(axis + 1, index)
    else:
        rank = len(source) - 1
        affine[:rank, :rank], affine[:rank, 3] = source[:rank, :rank], source[:rank, rank]
    meta = {key: volume.meta[key] for key in _KEPT_META if key in volume.meta}
    meta["spacing"] = tuple(torch.linalg.vector_norm(affine[:3, :3], dim=0).tolist())
    meta.update(spatial_shape=tuple(plane.shape[1:]), original_affine=affine.clone(), original_channel_dim=0)
    return MetaTensor(plane.clone(), affine=affine, meta=meta)


class ExtractSliced(MapTransform):
    """Dictionary version of :func:`extract_slice` for the entries of :func:`infomri_monai.data.image_slices`.

    Use it after ``LoadImaged`` and ``EnsureChannelFirstd``.

    Args:
        keys: keys of the volumes, shape (channel, *spatial).
        axis: spatial axis to cut across.
        slice_key: key of the slice index.
        allow_missing_keys: pass entries without the key.

    Raises:
        ValueError: if ``axis`` is not 0, 1 or 2; when called, as :func:`extract_slice`.

    Example:
        >>> entry = {"image": MetaTensor(torch.arange(8.0).reshape(1, 2, 2, 2)), "slice": 1}
        >>> ExtractSliced("image")(entry)["image"].tolist()
        [[[1.0, 3.0], [5.0, 7.0]]]
    """

    def __init__(
        self, keys: KeysCollection, axis: int = 2, slice_key: str = "slice", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if axis not in (0, 1, 2):
            raise ValueError(f"axis must be 0, 1 or 2, got {axis}.")
        self.axis, self.slice_key = axis, slice_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = extract_slice(d[key], int(d[self.slice_key]), self.axis)
        return d


ExtractSliceD = ExtractSliceDict = ExtractSliced
