"""Transform that reads one slice of a fastMRI volume lazily."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from infomri_monai.acquisition import kspace_to_image
from infomri_monai.data.fastmri import open_volume
from infomri_monai.data.prepare import check_size, crop_kspace_keeping_intensity

__all__ = ["ReadFastMRISliceD", "ReadFastMRISliceDict", "ReadFastMRISliced"]


class ReadFastMRISliced(MapTransform):
    """Read one slice of a fastMRI volume from disk: cropped k-space, its complex image and the published target.

    Reads the entries of :func:`~infomri_monai.data.fastmri_knee`: the path under ``keys`` is replaced by the array,
    "slice" says which one.

    Args:
        keys: key of the file's path, replaced by complex64 k-space (1, height, width), DC at ``n // 2``.
        crop: (height, width) kept of the centre of k-space (decision 25), scaled so that image intensities are kept;
            None keeps the native grid. Volumes of different widths then need a batch size of 1.
        image_key: where the complex image of that k-space goes, complex64, same shape; None to leave it out.
        target_key: name of the published magnitude image in the file and in the output, float32 (1, 320, 320), usually
            "reconstruction_esc"; None to leave it out.
        normalise: divide k-space, image and target by the largest magnitude of the image. The factor goes to "scale"
            and restores the scanner's units.
        slice_key: key of the slice index.
        allow_missing_keys: pass entries without the key.

    Raises:
        ValueError: if ``crop`` is no size; when called, if the file is unreadable, lacks an array, is smaller than
            ``crop``, has no such slice or holds NaN or Inf there.

    Example:
        >>> import h5py, tempfile, numpy as np
        >>> path = tempfile.mkdtemp() + "/file1.h5"
        >>> with h5py.File(path, "w") as file:
        ...     file["kspace"] = np.ones((2, 64, 36), dtype=np.complex64)
        >>> read = ReadFastMRISliced("kspace", crop=(32, 32), target_key=None)
        >>> read({"kspace": path, "slice": 1})["image"].shape
        torch.Size([1, 32, 32])

    References:
        Zbontar J. et al., "fastMRI: An open dataset and benchmarks for accelerated MRI", 2018.
    """

    def __init__(
        self,
        keys: KeysCollection = "kspace",
        crop: Sequence[int] | None = (128, 128),
        image_key: str | None = "image",
        target_key: str | None = "reconstruction_esc",
        normalise: bool = True,
        slice_key: str = "slice",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.crop = None if crop is None else check_size(crop, "crop")
        self.image_key, self.target_key = image_key, target_key
        self.normalise, self.slice_key = normalise, slice_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            path, index = Path(d[key]), int(d[self.slice_key])
            arrays = _read(path, index, ["kspace"] + ([self.target_key] if self.target_key else []))
            kspace = arrays["kspace"].to(torch.complex64)
            if self.crop is not None:
                if any(m > n for m, n in zip(self.crop, kspace.shape[1:], strict=True)):
                    raise ValueError(f"{path.name}: crop={self.crop} exceeds the k-space {tuple(kspace.shape[1:])}.")
                kspace = crop_kspace_keeping_intensity(kspace, self.crop)
            image = kspace_to_image(kspace)
            scale = float(image.abs().max()) if self.normalise else 1.0
            scale = scale if scale > 0 else 1.0
            d[key], d["scale"] = kspace / scale, scale
            if self.image_key is not None:
                d[self.image_key] = image / scale
            if self.target_key is not None:
                d[self.target_key] = arrays[self.target_key].to(torch.float32) / scale
        return d


def _read(path: Path, index: int, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Read one slice of the named arrays, each (1, height, width), all finite."""
    arrays = {}
    with open_volume(path) as file:
        for name in names:
            if name not in file:
                raise ValueError(f"{path.name} lacks the array {name}.")
            if not 0 <= index < len(file[name]):
                raise ValueError(f"{path.name}: slice {index} does not exist, {name!r} has {len(file[name])}.")
            try:
                arrays[name] = torch.from_numpy(file[name][index])[None]
            except OSError as error:
                raise ValueError(f"{path.name} is truncated: slice {index} of {name!r} cannot be read.") from error
            if not torch.isfinite(arrays[name]).all():
                raise ValueError(f"{path.name}: slice {index} of {name!r} holds NaN or Inf.")
    return arrays


ReadFastMRISliceD = ReadFastMRISliceDict = ReadFastMRISliced
