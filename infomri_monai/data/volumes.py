"""Volumes of a folder as 2D slices for training, without their headers."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from infomri_monai.arrays import as_tensor, as_whole, takes
from infomri_monai.data.image_files import Volume, find_volumes, read_volume, readable
from infomri_monai.data.prepare import check_axis, existing_folder
from infomri_monai.transforms.axes import check_axes, likely_slice_axis, spacing_of

__all__ = ["ExtractSliceD", "ExtractSliceDict", "ExtractSliced", "extract_slice", "image_slices"]


_LOGGER = logging.getLogger(__name__)
_KEPT_META = ("filename_or_obj", "space")


@takes(volume="tensor", index="whole", axis="whole")
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
        ValueError: if the shape, ``axis`` or ``index`` does not fit, or the volume has no channel axis, as its metadata say.

    Example:
        >>> volume = MetaTensor(torch.zeros(1, 4, 5, 6), affine=torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0])))
        >>> cut = extract_slice(volume, 4)
        >>> cut.shape, cut.affine[:3, 3].tolist()
        (torch.Size([1, 4, 5]), [0.0, 0.0, 12.0])
    """
    volume, index = as_tensor(volume, "volume"), as_whole(index, "index")
    if volume.ndim not in (3, 4):
        raise ValueError(
            f"volume must have shape (channel, *spatial) with 2 or 3 spatial axes, got {tuple(volume.shape)}."
        )
    check_axes(volume, "volume", volume.ndim - 1)
    check_axis(axis)
    slices = volume.shape[axis + 1] if volume.ndim == 4 else 1
    if not 0 <= index < slices:
        raise ValueError(f"index={index} does not exist: the volume has {slices} along axis {axis}.")
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
        self.axis, self.slice_key = check_axis(axis), slice_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = extract_slice(d[key], as_whole(d[self.slice_key], self.slice_key), self.axis)
        return d


ExtractSliceD = ExtractSliceDict = ExtractSliced


def image_slices(
    folder: str | Path, pattern: str = "**/*", axis: int = 2, eager: bool = True, unreadable: str = "raise"
) -> list[dict[str, Any]]:
    """List the slices of all images below a folder; all headers are checked before the first image is read.

    Axis order, units and orientation are MONAI's: NIfTI and DICOM arrays are (x, y, z) in RAS space, PNG (width,
    height). Nothing of a DICOM header other than the geometry reaches the list. Folder and file names do, as
    "volume": name them without identifiers. One way to split is by the first part of "volume", so that no patient is
    on both sides.

    Args:
        folder: folder to search.
        pattern: glob pattern of the files, e.g. ``"*/t1.nii.gz"``. Of a DICOM folder always the whole series is taken.
        axis: spatial axis to cut across; the PNG's single slice has none.
        eager: read now. False gives paths, for ``LoadImaged``, ``EnsureChannelFirstd`` and
            :class:`~infomri_monai.data.ExtractSliced` (``LoadImaged(reader="ITKReader")`` for DICOM), which read a
            volume once a slice: cache the data set.
        unreadable: "raise" stops at a file that cannot be read or is not accepted, and names it: a training set lacks nothing
            unnoticed. "skip" leaves it out; the log counts them.

    Returns:
        One dictionary a slice: "image", a MetaTensor (1, height, width), float32 or of a complex NIfTI complex64, with the
            slice's own 4 x 4 affine in
        mm, or the volume's path; "volume", its name; "slice", the index along ``axis``.

    Raises:
        FileNotFoundError: if the folder does not exist or holds no image.
        OSError: if a file is unreadable.
        ValueError: if slices differ in size (the sizes are listed), hold NaN or Inf, colours or more than three axes, or if
            paths are asked for where MONAI's ``LoadImaged`` reads something else: of a complex NIfTI it drops the imaginary part,
            and of a DICOM folder it knows one series.

    Example:
        >>> import tempfile, nibabel, numpy as np
        >>> folder = Path(tempfile.mkdtemp())
        >>> nibabel.Nifti1Image(np.zeros((4, 5, 2), np.float32), np.eye(4)).to_filename(folder / "head.nii")
        >>> [(entry["volume"], entry["slice"], entry["image"].shape) for entry in image_slices(folder)]
        [('head', 0, torch.Size([1, 4, 5])), ('head', 1, torch.Size([1, 4, 5]))]
    """
    check_axis(axis)
    folder = existing_folder(folder)
    volumes = readable(find_volumes(folder, pattern), unreadable)
    if not volumes:
        raise FileNotFoundError(f"folder {folder} holds no NIfTI, DICOM, PNG or JPEG file that matches {pattern!r}.")
    _check_same_size(volumes, axis)
    if not eager:
        _check_lazy(volumes)
    entries: list[dict[str, Any]] = []
    for volume in volumes:
        slices = range(volume.shape[axis] if len(volume.shape) == 3 else 1)
        try:
            loaded = read_volume(volume) if eager else None
        except (OSError, ValueError) as error:
            if unreadable == "raise":
                raise
            _LOGGER.warning("%s (left out)", str(error).replace(volume.name, "an image"))
            continue
        if axis == 2 and len(volume.shape) == 3:
            _check_slices(volume, None if loaded is None else spacing_of(loaded))
        for index in slices:
            image = str(volume.path) if loaded is None else extract_slice(loaded, index, axis)
            entries.append({"image": image, "volume": volume.name, "slice": index})
    return entries


def _check_same_size(volumes: list[Volume], axis: int) -> None:
    sizes = Counter(
        tuple(n for a, n in enumerate(volume.shape) if len(volume.shape) == 2 or a != axis) for volume in volumes
    )
    if len(sizes) > 1:
        listed = ", ".join(f"{size} in {count} volumes" for size, count in sizes.most_common())
        raise ValueError(f"slices across axis {axis} differ in size: {listed}. Choose one size by the pattern.")


def _check_slices(volume: Volume, spacing: Sequence[float] | None) -> None:
    likely = likely_slice_axis(volume.shape, spacing)
    if likely in (0, 1):
        warnings.warn(
            f"slices of an image seem to lie along axis {likely} of {volume.shape}, but are cut across axis 2: axis={likely}?",
            UserWarning,
            stacklevel=3,
        )


def _check_lazy(volumes: list[Volume]) -> None:
    dropped = [volume.name for volume in volumes if volume.is_complex]
    if dropped:
        raise ValueError(f"{dropped[0]} is complex, and LoadImaged drops the imaginary part: use eager=True.")
    shared = [str(path) for path, count in Counter(volume.path for volume in volumes).items() if count > 1]
    if shared:
        raise ValueError(f"{shared[0]} holds several DICOM series: use eager=True, or put each into its own folder.")
