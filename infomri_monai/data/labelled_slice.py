"""Transform that reads one slice of an image and of its raters' labels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray
from torch import Tensor

from infomri_monai.data.extract import extract_slice
from infomri_monai.data.folder import read_volume
from infomri_monai.data.headers import file_volume
from infomri_monai.data.labels import fit_to_grid, join_raters
from infomri_monai.data.prepare import check_size

__all__ = ["ReadLabelledSliceD", "ReadLabelledSliceDict", "ReadLabelledSliced"]


class ReadLabelledSliced(MapTransform):
    """Read one slice of an image and of its raters' labels from disk, and bring both to a grid.

    Reads the entries of :func:`~infomri_monai.data.decathlon_slices`. NIfTI and PNG; axes are in the file's order (x, y, z). The
    last case that was read is kept, so that its slices in a row cost one reading; shuffled slices want
    ``monai.data.CacheDataset`` with ``num_workers=1``. Images are taken as magnitudes of MR: no value is shifted.

    Args:
        keys: key of the image's path, replaced by float32 (complex64 where resampled and not ``magnitude``), (1, *grid).
        label_key: key of the labels' paths, None for a missing rater, replaced by (raters, *grid): uint8, or int16 with -1 in
            every pixel of a missing rater where there are several slots.
        num_classes: C; label values must be 0 to C - 1.
        grid: (height, width); None keeps the slice's own, which then must be one for a whole batch.
        resample: False crops and pads the image to the grid; True keeps the field of view and lowers the resolution in k-space, see
            :func:`~infomri_monai.data.labels.fit_to_grid`.
        magnitude: take the image's magnitude after resampling; else it is complex then.
        normalise: divide the image by its largest magnitude.
        allow_missing_keys: pass entries without the key.

    Raises:
        ValueError: if ``num_classes`` is below 2 or ``grid`` is no size; when called, if the slice does not exist, label and image
            differ in grid, a label value is outside the classes, or the image holds NaN or Inf.
        OSError: when called, if a file is unreadable.

    Example:
        >>> import tempfile, nibabel
        >>> path = tempfile.mkdtemp() + "/a.nii"
        >>> nibabel.Nifti1Image(np.ones((4, 6, 2), np.float32), np.eye(4)).to_filename(path)
        >>> entry = {"image": path, "label": [path, None], "slice": 1, "axis": 2, "channel": 0}
        >>> read = ReadLabelledSliced("image", grid=(4, 4))(entry)
        >>> read["image"].shape, read["label"].shape, read["label"][:, 0, 0].tolist()
        (torch.Size([1, 4, 4]), torch.Size([2, 4, 4]), [1, -1])
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        label_key: str = "label",
        num_classes: int = 2,
        grid: Sequence[int] | None = (128, 128),
        resample: bool = False,
        magnitude: bool = True,
        normalise: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, background included, got {num_classes}.")
        self.label_key, self.num_classes = label_key, num_classes
        self.grid = None if grid is None else check_size(grid, "grid")
        self.resample, self.magnitude, self.normalise = resample, magnitude, normalise

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            paths = (d[key], *d[self.label_key])
            volumes = _case(paths, int(d.pop("channel", 0)), _stamps(paths))
            place = (int(d["slice"]), int(d.pop("axis", 2)))
            image, *labels = (None if volume is None else _plane(volume, *place) for volume in volumes)
            assert image is not None
            names = ["" if path is None else Path(path).name for path in paths[1:]]
            label = join_raters(labels, names, image.shape, self.num_classes)
            grid = self.grid or image.shape
            options = (self.num_classes, grid, self.resample, self.magnitude, self.normalise)
            image, label = fit_to_grid(image, label, *options)
            label = label if len(label) > 1 else label.astype(np.uint8)
            d[key], d[self.label_key] = torch.from_numpy(image), torch.from_numpy(label)
        return d


ReadLabelledSliceD = ReadLabelledSliceDict = ReadLabelledSliced


def _stamps(paths: Sequence[str | None]) -> tuple[Any, ...]:
    """What changes with a file's content, so that a file written anew is read anew."""
    found = [Path(p).stat() if p and Path(p).is_file() else None for p in paths]
    return tuple(f and (f.st_mtime_ns, f.st_size) for f in found)


@lru_cache(maxsize=1)
def _case(paths: tuple[str | None, ...], channel: int, stamps: tuple[Any, ...]) -> list[Tensor | None]:
    """All volumes of one case, the image first."""
    accepted = [(2, 3, 4)] + [(2, 3)] * (len(paths) - 1)
    volumes = [p and file_volume(Path(p), Path(p).name, axes) for p, axes in zip(paths, accepted, strict=True)]
    return [read_volume(v, channel) if v else None for v in volumes]


def _plane(volume: Tensor, index: int, axis: int) -> NDArray[np.float32]:
    return extract_slice(volume, index, axis)[0].as_tensor().numpy()  # type: ignore[attr-defined]
