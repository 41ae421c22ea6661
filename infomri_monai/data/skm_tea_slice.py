"""Transform that reads one slice of a SKM-TEA scan and of its segmentation lazily."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray

from infomri_monai.data.fastmri import open_volume
from infomri_monai.data.labels import check_labels, fit_to_grid
from infomri_monai.data.prepare import check_size
from infomri_monai.data.skm_tea import SKM_TEA_STRUCTURES

__all__ = ["ReadSKMTEASliceD", "ReadSKMTEASliceDict", "ReadSKMTEASliced"]

# patellar, femoral, tibial cartilage, meniscus: medial and lateral are one
_COMBINED = np.array([0, 1, 2, 3, 3, 4, 4], dtype=np.int16)


class ReadSKMTEASliced(MapTransform):
    """Read one slice of a SKM-TEA scan from disk: the complex image of one echo and its tissues.

    Reads the entries of :func:`~infomri_monai.data.skm_tea`; of the file only the slice is read, never its k-space.

    Args:
        keys: key of the scan's path, replaced by the image, complex64 (float32 with ``magnitude``), (1, *grid).
        label_key: key of the segmentation's path, replaced by uint8 (1, *grid), values of ``SKM_TEA_STRUCTURES``.
        grid: (height, width). The slice is padded to the grid's shape and cropped in k-space, the label by the same crop, see
            :func:`~infomri_monai.data.labels.fit_to_grid`. None keeps the slice's own.
        combine: join medial and lateral: 3 is tibial cartilage, 4 the meniscus; 5 classes instead of 7.
        magnitude: take the magnitude after the crop.
        normalise: divide the image by its largest magnitude.
        allow_missing_keys: pass entries without the key.

    Raises:
        ValueError: if ``grid`` is no size; when called, if a file is unreadable, the slice does not exist or holds NaN or Inf, the
            grids differ, or a label value is outside 0 to 6.

    Example:
        >>> import h5py, tempfile
        >>> path = tempfile.mkdtemp() + "/MTR_005"
        >>> with h5py.File(path + ".h5", "w") as file:
        ...     file["target"] = np.ones((8, 8, 4, 2, 1), dtype=np.complex64)
        >>> nibabel.Nifti1Image(np.full((8, 8, 4), 6, np.uint8), np.eye(4)).to_filename(path + ".nii.gz")
        >>> entry = {"image": path + ".h5", "label": path + ".nii.gz", "slice": 3, "axis": 2, "echo": 1}
        >>> read = ReadSKMTEASliced("image", grid=(4, 4), combine=True)(entry)
        >>> read["image"].shape, read["image"].dtype, read["label"].unique()
        (torch.Size([1, 4, 4]), torch.complex64, tensor([4], dtype=torch.uint8))

    References:
        Desai A. D. et al., "SKM-TEA: A dataset for accelerated MRI reconstruction with dense image labels for
        quantitative clinical evaluation", NeurIPS Datasets and Benchmarks 2021.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        label_key: str = "label",
        grid: Sequence[int] | None = (256, 256),
        combine: bool = False,
        magnitude: bool = False,
        normalise: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.grid = None if grid is None else check_size(grid, "grid")
        self.label_key, self.combine, self.magnitude, self.normalise = label_key, combine, magnitude, normalise

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            axis, index = int(d.pop("axis", 2)), int(d["slice"])
            image = _image(Path(d[key]), index, axis, int(d.pop("echo", 1)) - 1)
            label = _label(Path(d[self.label_key]), index, axis)
            if image.shape != label.shape:
                name = Path(d[self.label_key]).name
                raise ValueError(f"{name}: label and image must have one grid, got {label.shape} and {image.shape}.")
            label = _COMBINED[label] if self.combine else label
            classes = int(_COMBINED.max()) + 1 if self.combine else len(SKM_TEA_STRUCTURES)
            grid = self.grid or image.shape
            image, label = fit_to_grid(image, label[None], classes, grid, True, self.magnitude, self.normalise)
            d[key], d[self.label_key] = torch.from_numpy(image), torch.from_numpy(label.astype(np.uint8))
        return d


ReadSKMTEASliceD = ReadSKMTEASliceDict = ReadSKMTEASliced


def _image(path: Path, index: int, axis: int, echo: int) -> NDArray[np.complex64]:
    with open_volume(path) as file:
        if "target" not in file:
            raise ValueError(f"{path.name} lacks the array target.")
        target = file["target"]
        if not 0 <= index < target.shape[axis]:
            raise ValueError(f"{path.name}: slice {index} does not exist, axis {axis} has {target.shape[axis]}.")
        where: list[Any] = [slice(None)] * 3
        where[axis] = index
        try:
            image = np.asarray(target[(*where, echo, 0)], dtype=np.complex64)
        except OSError as error:
            raise ValueError(f"{path.name} is truncated: slice {index} of 'target' cannot be read.") from error
    if not np.isfinite(image).all():
        raise ValueError(f"{path.name}: slice {index} of 'target' holds NaN or Inf.")
    return image


def _label(path: Path, index: int, axis: int) -> NDArray[np.int16]:
    where: list[Any] = [slice(None)] * 3
    where[axis] = index
    try:
        values = np.asanyarray(nibabel.load(path).dataobj[tuple(where)])  # type: ignore[attr-defined]
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path.name}.") from None
    except Exception as error:  # nibabel passes on whatever the decompressor and the header parser raise
        raise ValueError(f"{path.name} is not a readable NIfTI file ({type(error).__name__}).") from error
    return check_labels(values, len(SKM_TEA_STRUCTURES), path.name)
