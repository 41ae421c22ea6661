"""The header of an ISMRMRD file, read without patient fields, and the geometry of its slices."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

__all__ = [
    "Encoding",
    "RawDataError",
    "RawFileError",
    "centred_affine",
    "check_stored",
    "order_slices",
    "parse_encoding",
    "raw_errors",
    "slice_place",
]


class RawDataError(ValueError):
    """Raw data are of a kind that is not accepted, or contradict themselves.

    Its message, like that of :class:`RawFileError`, is ours: numbers and words of this package, but no path, no file name and no
    text of the file. So an application for hospitals passes it on, while of any other exception it names the type only.

    Example:
        >>> raise RawDataError("kspace holds NaN or Inf values.")
        Traceback (most recent call last):
        infomri_monai.data.ismrmrd_header.RawDataError: kspace holds NaN or Inf values.
    """


class RawFileError(OSError):
    """A file of raw data cannot be read; for its message see :class:`RawDataError`."""


@contextmanager
def raw_errors(what: str) -> Iterator[None]:
    """Whatever reading raises in the block becomes a :class:`RawFileError`: the formats' readers differ, and name the file.

    Args:
        what: begins the message, which goes on with the error's type.
    """
    try:
        yield
    except (ImportError, RawDataError, RawFileError):  # h5py and ismrmrd are extras
        raise
    except Exception as error:
        raise RawFileError(f"{what} ({type(error).__name__}).") from None


def check_stored(table: Any) -> None:
    """Refuse an HDF5 array that announces far more than the file stores of it, which takes the library for ever to make up.

    Args:
        table: an ``h5py.Dataset``.

    Raises:
        RawFileError: if it is more than 1100 times as much; no compression that HDF5 brings gains more.
    """
    announced, stored = int(table.size or 0) * int(table.dtype.itemsize), int(table.id.get_storage_size())
    if announced > 1100 * max(stored, 1):
        raise RawFileError(f"the file is damaged: an array announces {announced} bytes, of which {stored} are stored.")


class Encoding(NamedTuple):
    """A 2D Cartesian encoding.

    Attributes:
        samples: samples of a full readout, with oversampling.
        lines: phase-encoding positions of the full grid.
        columns: samples of the readout after its oversampling is removed; as many as any fact of the header keeps, where facts
            disagree, see ``narrower``.
        centre: number of the phase-encoding step that is DC.
        pixel: size along (readout, phase encoding), mm; None where the header has no field of view.
        thickness: of a slice, mm; None where the header has none.
        slices: number of slices that the header announces; None where it does not.
        recon_height: field of view along the phase encoding that the scanner's own images keep, mm; None as for ``pixel``.
        vendor: of the scanner, lower case; "" where the header has none.
        narrower: columns where the samples confirm the fact that keeps fewer; None where the header's facts agree.
        facts: columns that the fields of view keep and that the matrices keep; None where they say nothing.
        recon_width: field of view along the readout of the scanner's own images, mm; None as for ``pixel``.
        calibration: the mode of the calibration lines, e.g. "embedded" or "separate"; "" where the header has none.
    """

    samples: int
    lines: int
    columns: int
    centre: int
    pixel: tuple[float, float] | None
    thickness: float | None
    slices: int | None
    recon_height: float | None
    vendor: str
    narrower: int | None = None
    facts: tuple[int | None, int | None] = (None, None)
    recon_width: float | None = None
    calibration: str = ""


def parse_encoding(xml: str | bytes) -> Encoding:
    """Read the encoding out of an ISMRMRD header and check that it is single-slice or multi-slice 2D Cartesian.

    The readout keeps ``samples * recon field of view / encoded field of view`` samples where the recon matrix says the same; a
    larger one than the encoded matrix is interpolated and says nothing. Where the two disagree, or there is one of them only,
    nothing is cropped before the samples are seen. The phase encoding keeps the encoded grid: undersampled lines cannot be cropped
    in the image.

    Args:
        xml: the header, as the ISMRMRD schema has it; unknown elements are ignored.

    Returns:
        The encoding.

    Raises:
        RawDataError: if it is no ISMRMRD header, has several encodings, a trajectory other than Cartesian, a 3D encoding, or a
            matrix size that is no positive integer.
        monai.utils.OptionalImportError: if ismrmrd is not installed (extra ``deploy``).

    Example:
        >>> parse_encoding("<ismrmrdHeader/>")
        Traceback (most recent call last):
        infomri_monai.data.ismrmrd_header.RawDataError: the ISMRMRD header cannot be read (TypeError).

    References:
        Inati S. et al., "ISMRM Raw data format: a proposed standard for MRI raw datasets", Magn Reson Med 2017.
    """
    header = _parse(xml)
    if len(header.encoding) != 1:
        raise RawDataError(f"the file must have one encoding, its header describes {len(header.encoding)}.")
    (encoding,) = header.encoding
    trajectory = getattr(encoding.trajectory, "value", "unknown")
    if trajectory != "cartesian":
        raise RawDataError(f"the trajectory must be cartesian, the header says {trajectory}.")
    encoded, recon = encoding.encodedSpace, encoding.reconSpace
    samples, lines, partitions = _matrix(encoded.matrixSize, "encoded")
    width, _, _ = _matrix(recon.matrixSize, "recon")
    if partitions > 1:
        raise RawDataError(
            f"the encoding must be 2D, the header describes a 3D one with {partitions} partitions: its second phase encoding "
            "would have to be undersampled and reconstructed in 3D."
        )
    fov, fov_recon = _size(encoded.fieldOfView_mm), _size(recon.fieldOfView_mm)
    view = None if fov is None or fov_recon is None else min(max(round(samples * fov_recon[0] / fov[0]), 1), samples)
    facts = (view, width if width <= samples else None)
    columns, narrower = _kept(samples, facts)
    limits = encoding.encodingLimits
    step, slices = limits.kspace_encoding_step_1, limits.slice
    vendor = getattr(header.acquisitionSystemInformation, "systemVendor", None)
    return Encoding(
        samples=samples,
        lines=lines,
        columns=columns,
        centre=lines // 2 if step is None else _count(step.center),
        pixel=None if fov is None else (fov[0] / samples, fov[1] / lines),
        thickness=None if fov_recon is None else fov_recon[2],
        slices=None if slices is None else _count(slices.maximum) - _count(slices.minimum) + 1,
        recon_height=None if fov_recon is None else fov_recon[1],
        vendor=str(vendor or "").strip().lower(),
        narrower=narrower,
        facts=facts,
        recon_width=None if fov_recon is None else fov_recon[0],
        calibration=getattr(getattr(encoding.parallelImaging, "calibrationMode", None), "value", ""),
    )


def _kept(samples: int, facts: tuple[int | None, int | None]) -> tuple[int, int | None]:
    """Columns that are kept whatever the samples show, and fewer that they may confirm."""
    known = [columns for columns in facts if columns is not None]
    if len(known) == 2 and abs(known[0] - known[1]) <= max(1, samples // 50):
        return known[0], None
    if not known or min(known) > 0.9 * samples:
        return (known[0] if len(known) == 2 else samples), None
    return (max(known) if len(known) == 2 else samples), min(known)


def _parse(xml: str | bytes) -> Any:
    """The header as the schema's classes; a value that does not fit its type stays a string."""
    # here, because their import takes a while
    xsd, _ = optional_import("ismrmrd", name="xsd", descriptor="ISMRMRD needs the extra infomri-monai[deploy]")
    parsers, _ = optional_import("xsdata.formats.dataclass.parsers")
    parser_config, _ = optional_import("xsdata.formats.dataclass.parsers.config")
    config = parser_config.ParserConfig(fail_on_unknown_properties=False)
    parser, schema = parsers.XmlParser(config=config), xsd.ismrmrdHeader
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values, which may be a patient's
            return parser.from_bytes(xml.encode() if isinstance(xml, str) else xml, schema)
    except Exception as error:  # the parser's messages quote the header
        raise RawDataError(f"the ISMRMRD header cannot be read ({type(error).__name__}).") from None


def _matrix(size: Any, name: str) -> tuple[int, int, int]:
    values = (size.x, size.y, size.z)
    if not all(isinstance(n, int) and 1 <= n <= 65535 for n in values):
        raise RawDataError(f"the {name} matrix size must hold integers from 1 to 65535.")
    return values


def _count(value: Any) -> int:
    if not isinstance(value, int):  # it may be any text, which is not repeated
        raise RawDataError("the encoding limits must hold integers.")
    return value


def _size(size: Any) -> tuple[float, float, float] | None:
    """A field of view; None if a part of it is no positive number."""
    values = (size.x, size.y, size.z)
    return values if all(isinstance(n, float) and 0 < n < 1e5 for n in values) else None


_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def slice_place(heads: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Centre and axes of one slice from its lines' headers.

    Args:
        heads: acquisition headers of the slice's lines.

    Returns:
        The centre (3,), and the directions of readout, phase encoding and their cross product as columns (3, 3), LPS, mm; None
        where the directions are not set or no unit vectors at right angles.

    Raises:
        RawDataError: if they are not finite or differ between the lines.
    """
    vectors = np.stack([heads[name].astype(np.float64) for name in ("position", "read_dir", "phase_dir")])
    if not np.isfinite(vectors).all():
        raise RawDataError("the geometry of the lines holds NaN or Inf.")
    spread = np.ptp(vectors, axis=1).max(1)
    if spread[0] > 0.1 or spread[1:].max() > 1e-3:
        raise RawDataError("the lines of one slice have different positions or directions.")
    centre, read, phase = vectors[:, 0]
    products = np.array([read @ read, phase @ phase, read @ phase])
    if np.abs(products - [1, 1, 0]).max() > 1e-3:
        return None
    read = read / np.linalg.norm(read)
    phase = phase - (phase @ read) * read
    phase = phase / np.linalg.norm(phase)
    return centre, np.stack([read, phase, np.cross(read, phase)], axis=1)


def order_slices(
    places: list[tuple[NDArray[np.float64], NDArray[np.float64]]], thickness: float
) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64]]:
    """Order slices along their normal, the cross product of readout and phase encoding.

    Args:
        places: centre and axes of every slice, from :func:`slice_place`.
        thickness: of a slice, mm; the step where there is one slice only.

    Returns:
        The slices' order; the centre of the first (3,) and the step to the next (3,), LPS, mm.

    Raises:
        RawDataError: if slices are not parallel, lie at one place, or are not equally spaced, as where one is missing.

    Example:
        >>> axes = np.eye(3)
        >>> places = [(np.array([0.0, 0.0, z]), axes) for z in (6, 0, 3)]
        >>> order_slices(places, 3.0)[0]
        [1, 2, 0]
    """
    axes = places[0][1]
    if any(np.abs(other - axes).max() > 1e-3 for _, other in places):
        raise RawDataError("the slices are not parallel.")
    centres = np.stack([centre for centre, _ in places])
    along = centres @ axes[:, 2]
    order = [int(i) for i in np.argsort(along, kind="stable")]
    if len(order) == 1:
        return order, centres[0], thickness * axes[:, 2]
    steps = np.diff(centres[order], axis=0)
    gaps = np.diff(along[order])
    if gaps.min() < 1e-2:
        raise RawDataError("several slices lie at one place.")
    mean = (centres[order[-1]] - centres[order[0]]) / (len(order) - 1)
    if np.abs(steps - mean).max() > max(0.05, 0.01 * float(gaps.min())):
        raise RawDataError(
            f"the slices are not equally spaced ({gaps.min():.2f} to {gaps.max():.2f} mm): is a slice missing?"
        )
    return order, centres[order[0]], mean


def centred_affine(
    centre: NDArray[np.float64],
    axes: NDArray[np.float64],
    size: tuple[int, int],
    pixel: tuple[float, float],
    step: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Affine of a stack of slices whose pixel ``n // 2`` lies at the centre of the field of view, as the transform has it.

    Args:
        centre: centre of the first slice (3,), LPS, mm.
        axes: directions of readout and phase encoding in the first two columns, LPS.
        size: pixels along readout and phase encoding.
        pixel: their size, mm.
        step: from a slice to the next (3,), LPS, mm.

    Returns:
        (readout, phase encoding, slice) index to RAS in mm, 4 x 4.

    Example:
        >>> centred_affine(np.zeros(3), np.eye(3), (4, 2), (2.0, 3.0), np.array([0.0, 0.0, 5.0]))[:3]
        array([[-2.,  0.,  0.,  4.],
               [ 0., -3.,  0.,  3.],
               [ 0.,  0.,  5.,  0.]])
    """
    linear = np.stack([axes[:, 0] * pixel[0], axes[:, 1] * pixel[1], step], axis=1)
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ linear
    affine[:3, 3] = _LPS_TO_RAS @ (centre - linear[:, :2] @ np.array([size[0] // 2, size[1] // 2]))
    return affine
