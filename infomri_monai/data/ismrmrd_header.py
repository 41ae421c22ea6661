"""What an ISMRMRD header says about the encoding: matrix sizes, fields of view, where DC lies. Identifiers are not read."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

from monai.utils import optional_import

from infomri_monai.data.raw_errors import RawDataError

xsd, _ = optional_import("ismrmrd", name="xsd", descriptor="ISMRMRD needs the extra infomri-monai[deploy]")
parsers, _ = optional_import("xsdata.formats.dataclass.parsers")
parser_config, _ = optional_import("xsdata.formats.dataclass.parsers.config")

__all__ = ["Encoding", "parse_encoding"]


class Encoding(NamedTuple):
    """A 2D Cartesian encoding.

    Attributes:
        samples: samples of a full readout, with oversampling.
        lines: phase-encoding positions of the full grid.
        columns: samples of the readout after its oversampling is removed.
        centre: number of the phase-encoding step that is DC.
        pixel: size along (readout, phase encoding), mm; None where the header has no field of view.
        thickness: of a slice, mm; None where the header has none.
        slices: number of slices that the header announces; None where it does not.
        recon_height: field of view along the phase encoding that the scanner's own images keep, mm; None as for ``pixel``.
        vendor: of the scanner, lower case; "" where the header has none.
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


def parse_encoding(xml: str | bytes) -> Encoding:
    """Read the encoding out of an ISMRMRD header and check that it is single-slice or multi-slice 2D Cartesian.

    The readout keeps ``samples * recon field of view / encoded field of view`` samples, the recon matrix's unless that is
    interpolated. The phase encoding keeps the encoded grid: undersampled lines cannot be cropped in the image.

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
        infomri_monai.data.raw_errors.RawDataError: the ISMRMRD header cannot be read (TypeError).

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
    columns = width
    if fov is not None and fov_recon is not None:
        columns = round(samples * fov_recon[0] / fov[0])
    limits = encoding.encodingLimits
    step, slices = limits.kspace_encoding_step_1, limits.slice
    vendor = getattr(header.acquisitionSystemInformation, "systemVendor", None)
    return Encoding(
        samples=samples,
        lines=lines,
        columns=min(max(columns, 1), samples),
        centre=lines // 2 if step is None else _count(step.center),
        pixel=None if fov is None else (fov[0] / samples, fov[1] / lines),
        thickness=None if fov_recon is None else fov_recon[2],
        slices=None if slices is None else _count(slices.maximum) - _count(slices.minimum) + 1,
        recon_height=None if fov_recon is None else fov_recon[1],
        vendor=str(vendor or "").strip().lower(),
    )


def _parse(xml: str | bytes) -> Any:
    """The header as the schema's classes; a value that does not fit its type stays a string."""
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
