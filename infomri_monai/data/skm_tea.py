"""SKM-TEA knees, raw-data track: data lists of quantitative DESS volumes with six segmented tissues, read slice by slice.

The published layout (version 1)::

    files_recon_calib-24/MTR_005.h5                    kspace (x, ky, kz, echo, coil), maps (x, y, z, coil, map), target
    segmentation_masks/raw-data-track/MTR_005.nii.gz   0 to 6 on the grid of target
    annotations/v1.0.0/{train,val,test}.json           "images": file_name, scan_id, subject_id, matrix_shape, orientation, ...

``target`` is the SENSE reconstruction, complex64 (x, y, z, echo, map): usually 512 x 512 x 160 with 2 echoes and 1 map; x
runs from superior to inferior, y from anterior to posterior, z across the knee. It serves as the single-coil image; the
k-space of the coils is never read here.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray

from infomri_monai.data.fastmri import read_slice, read_volume_file
from infomri_monai.data.image_files import file_volume, read_volume
from infomri_monai.data.labels import check_labels, fit_to_grid
from infomri_monai.data.prepare import check_axis, check_present, check_size, check_split, read_text

__all__ = ["SKM_TEA_STRUCTURES", "ReadSKMTEASliceD", "ReadSKMTEASliceDict", "ReadSKMTEASliced", "skm_tea"]

#: the label of each tissue
SKM_TEA_STRUCTURES = {
    "background": 0,
    "patellar cartilage": 1,
    "femoral cartilage": 2,
    "medial tibial cartilage": 3,
    "lateral tibial cartilage": 4,
    "medial meniscus": 5,
    "lateral meniscus": 6,
}

_SPLIT_FILES = {"train": "train.json", "validation": "val.json", "test": "test.json"}


def skm_tea(
    folder: str | Path,
    split: str,
    scans: Sequence[str] | None = None,
    axis: int = 2,
    echo: int = 1,
    labelled_only: bool = False,
    version: str = "v1.0.0",
) -> list[dict[str, Any]]:
    """List the slices of SKM-TEA scans for :class:`~infomri_monai.data.ReadSKMTEASliced`; headers are checked, no pixel is read.

    Split: the published one, of which no subject is in two parts.

    Args:
        folder: the release's folder, which holds the three folders above.
        split: "train", "validation" (``val.json``) or "test".
        scans: keep these scans only, e.g. ``["MTR_005"]``; all must belong to the split. None takes the whole split.
        axis: axis to cut across: 2 gives sagittal slices (512 x 512), 0 the plane of the two phase-encoding axes (512 x 160).
        echo: 1 or 2.
        labelled_only: keep slices with a segmented tissue; reads the segmentations.
        version: of the annotations.

    Returns:
        One dictionary a slice: "image" and "label", paths; "volume", the scan's name; "subject", its subject's number; "slice",
        "axis" and "echo"; "simulated_raters", False.

    Raises:
        FileNotFoundError: if the folder, the annotations or a scan's file does not exist.
        OSError: if a segmentation is unreadable.
        ValueError: if an argument is outside its range, the annotations are no JSON of the published form, or a file is
            truncated, lacks ``target``, or has arrays of a wrong shape, type or grid.
        monai.utils.OptionalImportError: if h5py is not installed (extra ``data``).

    Example:
        >>> skm_tea("nowhere", "test")
        Traceback (most recent call last):
        FileNotFoundError: folder: there is no file nowhere/annotations/v1.0.0/test.json.

    References:
        Desai A. D. et al., "SKM-TEA: A dataset for accelerated MRI reconstruction with dense image labels for
        quantitative clinical evaluation", NeurIPS Datasets and Benchmarks 2021.
    """
    folder = Path(folder)
    check_split(split, _SPLIT_FILES)
    check_axis(axis)
    if echo not in (1, 2):
        raise ValueError(f"echo must be 1 or 2, got {echo}.")
    listed = _subjects(folder / "annotations" / version / _SPLIT_FILES[split])
    unknown = [name for name in scans or () if name not in listed]
    if unknown or not (listed if scans is None else scans):
        raise ValueError(
            f"scans must be of split {split!r} ({len(listed)} scans), got {', '.join(unknown[:5]) or 'none'}."
        )
    chosen = list(listed) if scans is None else list(scans)
    paths = {name: (folder / "files_recon_calib-24" / f"{name}.h5", _label(folder, name)) for name in chosen}
    check_present([path for pair in paths.values() for path in pair], folder, "; choose what there is by scans")
    lengths = {name: _inspect(*pair, axis, echo) for name, pair in paths.items()}
    entries = []
    for name, (image, label) in paths.items():
        kept = _drawn(label, axis) if labelled_only else range(lengths[name])
        common = {"image": str(image), "label": str(label), "volume": name, "subject": listed[name]}
        place = {"axis": axis, "echo": echo, "simulated_raters": False}
        entries += [{**common, "slice": int(index), **place} for index in kept]
    return entries


def _label(folder: Path, name: str) -> Path:
    return folder / "segmentation_masks" / "raw-data-track" / f"{name}.nii.gz"


def _subjects(path: Path) -> dict[str, int]:
    """The scans of an annotation file, in its order, and the subject of each."""
    text = read_text(path, "folder")
    try:
        return {str(scan["scan_id"]): int(scan["subject_id"]) for scan in json.loads(text)["images"]}
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(
            f"{path.name} must be a JSON object with a list 'images' of scan_id and subject_id ({type(error).__name__})."
        ) from error


def _inspect(image: Path, label: Path, axis: int, echo: int) -> int:
    """Number of slices, after checking both files' structure."""
    with read_volume_file(image) as file:
        if "target" not in file:
            raise ValueError(f"{image.name} lacks the array target.")
        target = file["target"]
        shape, kind = target.shape, target.dtype
    if len(shape) != 5 or kind.kind != "c" or 0 in shape:
        raise ValueError(f"{image.name}: 'target' must be complex with shape (x, y, z, echo, map), got {kind} {shape}.")
    if echo > shape[3]:
        raise ValueError(f"{image.name} has {shape[3]} echoes, echo={echo} does not exist.")
    grid = file_volume(label, label.name).shape
    if grid != shape[:3]:
        raise ValueError(f"{label.name}: label and image must have one grid, got {grid} and {shape[:3]}.")
    return int(shape[axis])


def _drawn(label: Path, axis: int) -> list[int]:
    """Slices in which there is a tissue."""
    across = tuple(a for a in range(3) if a != axis)
    volume = read_volume(file_volume(label, label.name)).numpy()[0]
    return np.flatnonzero((volume != 0).any(axis=across)).tolist()


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
            label = _slice_label(Path(d[self.label_key]), index, axis)
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
    with read_volume_file(path) as file:
        return read_slice(file, "target", (*_across(index, axis), echo, 0), axis).astype(np.complex64, copy=False)


def _across(index: int, axis: int) -> tuple[int | slice, ...]:
    """What takes slice ``index`` along ``axis`` of a volume."""
    return tuple(index if a == axis else slice(None) for a in range(3))


def _slice_label(path: Path, index: int, axis: int) -> NDArray[np.int16]:
    try:
        values = np.asanyarray(nibabel.load(path).dataobj[_across(index, axis)])  # type: ignore[attr-defined]
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path.name}.") from None
    except Exception as error:  # nibabel passes on whatever the decompressor and the header parser raise
        raise ValueError(f"{path.name} is not a readable NIfTI file ({type(error).__name__}).") from error
    return check_labels(values, len(SKM_TEA_STRUCTURES), path.name)
