"""fastMRI single-coil knee volumes (HDF5): data lists by split file, and the transform that reads one slice lazily.

The published format: ``kspace`` complex64 (slice, height, width) centred, ``reconstruction_esc`` float32 (slice, 320,
320) in the training and validation sets, attributes ``acquisition``, ``max``, ``norm`` and ``patient_id``, and
``ismrmrd_header``. The patient identifier and the header are never read.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.acquisition import CentreWarning, kspace_to_image
from infomri_monai.data.prepare import (
    check_present,
    check_size,
    crop_kspace_keeping_intensity,
    existing_folder,
    in_float32,
    read_text,
)
from infomri_monai.transforms.common import check_new_keys

__all__ = [
    "ReadFastMRISliceD",
    "ReadFastMRISliceDict",
    "ReadFastMRISliced",
    "fastmri_knee",
    "open_volume",
    "read_slice",
    "read_split",
    "read_volume_file",
]

h5py, _ = optional_import("h5py")


def read_split(path: str | Path) -> list[str]:
    """Read a split file: one file name a line, empty lines ignored.

    Args:
        path: text file, e.g. ``knee_train.txt``.

    Returns:
        The names, in the file's order.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no name, or one twice.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "split.txt"
        >>> _ = path.write_text("file1000000.h5\\nfile1000007.h5\\n")
        >>> read_split(path)
        ['file1000000.h5', 'file1000007.h5']
    """
    names = [line.strip() for line in read_text(path, "split_file").splitlines() if line.strip()]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"split_file {Path(path).name} must list at least one file name and none twice.")
    return names


def fastmri_knee(
    folder: str | Path,
    names: Sequence[str] | None = None,
    split_file: str | Path | None = None,
    acquisition: str | None = None,
    columns: int | None = None,
    require: Sequence[str] = ("kspace", "reconstruction_esc"),
) -> list[dict[str, Any]]:
    """List the slices of fastMRI single-coil knee volumes; every file's structure is checked first, no pixel is read.

    The split is a list of file names. Two published ones: pg_mri's (train and test made of the official training set,
    validation the official one; shipped as ``knee_{train,val,test}.txt``), and active-mri-acquisition's (the official
    validation volumes with 368 columns, about half to validation and half to test: ``columns=368`` with its lists).

    Args:
        folder: folder with the ``.h5`` files.
        names: file names to use; None means the split file's, or all of the folder.
        split_file: text file with one name a line, see :func:`read_split`; not together with ``names``.
        acquisition: keep volumes with this attribute only, e.g. "CORPD_FBK" or "CORPDFS_FBK".
        columns: keep volumes with this k-space width only, e.g. 368.
        require: arrays that every file must hold; leave "reconstruction_esc" out for the challenge's test set.

    Returns:
        One dictionary a slice: "kspace", the file's path; "slice", its index; "volume", the file's name without
        suffix. To be read by :class:`~infomri_monai.data.ReadFastMRISliced`.

    Raises:
        FileNotFoundError: if the folder, or a listed file, does not exist, or the folder holds no ``.h5`` file.
        ValueError: if a file is truncated or no HDF5, lacks a required array (file and array are named), has arrays
            of a wrong shape or type, or no volume is left.
        monai.utils.OptionalImportError: if h5py is not installed (extra ``data``).

    Example:
        >>> import tempfile, pathlib, numpy as np
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> with h5py.File(folder / "file1.h5", "w") as file:
        ...     file["kspace"] = np.zeros((2, 64, 36), dtype=np.complex64)
        >>> [(entry["volume"], entry["slice"]) for entry in fastmri_knee(folder, require=["kspace"])]
        [('file1', 0), ('file1', 1)]
    """
    folder = existing_folder(folder)
    if names is not None and split_file is not None:
        raise ValueError("give names or split_file, not both.")
    wanted = read_split(split_file) if split_file is not None else names
    paths = [folder / name for name in wanted] if wanted is not None else sorted(folder.glob("*.h5"))
    if not paths:
        raise FileNotFoundError(f"folder {folder} holds no .h5 file." if wanted is None else "names is empty.")
    check_present(paths, folder)
    entries: list[dict[str, Any]] = []
    for path in paths:
        slices, width, sequence = _inspect(path, require)
        if acquisition in (None, sequence) and columns in (None, width):
            entries += [{"kspace": str(path), "slice": index, "volume": path.stem} for index in range(slices)]
    if not entries:
        raise ValueError(f"no volume of {folder} has acquisition={acquisition!r} and columns={columns}.")
    return entries


def open_volume(path: str | Path) -> Any:
    """Open an HDF5 volume for reading, as a context manager.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is truncated or no HDF5 file.

    Example:
        >>> open_volume("nowhere/file1000000.h5")
        Traceback (most recent call last):
        FileNotFoundError: there is no file nowhere/file1000000.h5.
    """
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}.") from None
    except OSError as error:
        raise ValueError(f"{Path(path).name} is truncated or not an HDF5 file.") from error


@contextmanager
def read_volume_file(path: str | Path) -> Iterator[Any]:
    """As :func:`open_volume`; what damaged parts of the file lead to within the block is a ValueError that names it.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is truncated, damaged or no HDF5 file.

    Example:
        >>> with read_volume_file("nowhere/file1000000.h5") as file:
        ...     pass
        Traceback (most recent call last):
        FileNotFoundError: there is no file nowhere/file1000000.h5.
    """
    with open_volume(path) as file:
        try:
            yield file
        except ValueError as error:
            if Path(path).name in str(error):
                raise
            raise ValueError(f"{Path(path).name} is damaged ({type(error).__name__}).") from error
        except (KeyError, RuntimeError, AttributeError, TypeError, OSError) as error:  # h5py's; ours name the file
            raise ValueError(f"{Path(path).name} is damaged ({type(error).__name__}).") from error


def _inspect(path: Path, require: Sequence[str]) -> tuple[int, int, str | None]:
    """Return (slices, k-space width, acquisition) after checking the file's structure."""
    with read_volume_file(path) as file:
        missing = [key for key in ("kspace", *require) if key not in file]
        if missing:
            raise ValueError(f"{path.name} lacks the array {', '.join(dict.fromkeys(missing))}.")
        kspace = file["kspace"]
        if kspace.ndim != 3 or kspace.dtype.kind != "c":
            raise ValueError(
                f"{path.name}: 'kspace' must be complex with shape (slice, height, width), single coil, "
                f"got {kspace.dtype} {kspace.shape}."
            )
        for key in require:
            if file[key].ndim != 3 or len(file[key]) != len(kspace):
                raise ValueError(f"{path.name}: {key!r} must have {len(kspace)} slices, got shape {file[key].shape}.")
        sequence = file.attrs.get("acquisition")
        return len(kspace), kspace.shape[2], sequence.decode() if isinstance(sequence, bytes) else sequence


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
        ValueError: if ``crop`` is no size or there are several keys; when called, if the data holds the name of image or
            target already, the file is unreadable, lacks an array, is smaller than ``crop``, has no such slice or holds
            NaN or Inf there.

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
        if len(self.keys) > 1:
            raise ValueError(f"keys must be one key: image, target and scale have one name each, got {self.keys}.")
        self.crop = None if crop is None else check_size(crop, "crop")
        self.image_key, self.target_key = image_key, target_key
        self.normalise, self.slice_key = normalise, slice_key
        self._warn_off_centre = CentreWarning(__name__)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            path, index = Path(d[key]), int(d[self.slice_key])
            outputs = {"image_key": self.image_key, "target_key": self.target_key}
            check_new_keys(d, None, **{argument: [name] for argument, name in outputs.items() if name is not None})
            with read_volume_file(path) as file:
                kspace = torch.from_numpy(read_slice(file, "kspace", (index,)))[None].to(torch.complex64)
                target = read_slice(file, self.target_key, (index,)) if self.target_key else None
            self._warn_off_centre(kspace)
            if self.crop is not None:
                if any(m > n for m, n in zip(self.crop, kspace.shape[1:], strict=True)):
                    raise ValueError(f"{path.name}: crop={self.crop} exceeds the k-space {tuple(kspace.shape[1:])}.")
                kspace = crop_kspace_keeping_intensity(kspace, self.crop)
            image = kspace_to_image(kspace)
            if not bool(torch.isfinite(image).all()):
                raise ValueError(f"{path.name}: the image of slice {index} leaves the range of float32.")
            scale = float(image.abs().max()) if self.normalise else 1.0
            scale = scale if scale > 0 else 1.0
            d[key], d["scale"] = kspace / scale, scale
            if self.image_key is not None:
                d[self.image_key] = image / scale
            if target is not None:
                d[self.target_key] = torch.from_numpy(target)[None].to(torch.float32) / scale
        return d


def read_slice(file: Any, name: str, place: tuple[Any, ...], axis: int = 0) -> NDArray:
    """One slice of an array of an HDF5 volume, all finite.

    Args:
        file: as :func:`open_volume` opens it.
        name: the array's.
        place: what is taken along every axis, from the first on.
        axis: axis of the slice's number, for the messages.

    Raises:
        ValueError: naming the file, if it lacks the array or the slice, is truncated, or holds NaN or Inf there.
    """
    where, index = Path(file.filename).name, place[axis]
    if name not in file:
        raise ValueError(f"{where} lacks the array {name}.")
    if not 0 <= index < file[name].shape[axis]:
        raise ValueError(
            f"{where}: slice {index} does not exist, {name!r} has {file[name].shape[axis]} along axis {axis}."
        )
    try:
        values = np.asarray(file[name][place])
    except OSError as error:
        raise ValueError(f"{where} is truncated: slice {index} of {name!r} cannot be read.") from error
    values = in_float32(values) if values.dtype.kind in "fc" else values
    if not np.isfinite(values).all():
        raise ValueError(f"{where}: slice {index} of {name!r} holds NaN or Inf.")
    return values


ReadFastMRISliceD = ReadFastMRISliceDict = ReadFastMRISliced
