"""Raw data to try the applications with: synthetic heads with invented identifiers, as ISMRMRD and fastMRI HDF5 files.

``python examples/hospital/raw_scan.py FOLDER`` writes one of each.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import ismrmrd
import numpy as np
from ismrmrd import hdf5, xsd
from numpy.typing import ArrayLike, NDArray

from infomri_monai.data.embedded import embedded_subjects
from infomri_monai.files import atomic_path

__all__ = [
    "EXAMPLE_SUBJECT",
    "ExampleGeometry",
    "example_head",
    "example_header",
    "example_sensitivities",
    "write_example_fastmri",
    "write_example_ismrmrd",
]

#: what the header says about the invented patient, by the names of ISMRMRD's schema
EXAMPLE_SUBJECT: dict[str, str] = {
    "patientName": "EXAMPLE^RAW",
    "patientID": "EXAMPLE-0001",
    "patientBirthdate": "1970-01-02",
    "patientGender": "O",
    "studyDate": "2024-03-04",
    "studyTime": "10:11:12",
    "studyID": "EXAMPLE-1",
    "accessionNumber": "4711",
    "referringPhysicianName": "EXAMPLE^PHYSICIAN",
    "studyDescription": "Example head",
    "studyInstanceUID": "2.25.111111111111111111111111111111111111",
    "frameOfReferenceUID": "2.25.222222222222222222222222222222222222",
    "patientPosition": "HFS",
    "protocolName": "example gradient echo",
}


class ExampleGeometry(NamedTuple):
    """Where the example lies; oblique by default.

    Attributes:
        pixel: size along (readout, phase encoding), mm.
        thickness: of a slice, mm.
        spacing: between the centres of neighbouring slices, mm.
        centre: of the first slice, LPS, mm.
        angles: turn about the first, second and third axis of the patient, degrees; without a turn the readout runs from anterior
            to posterior and the phase encoding from left to right.
    """

    pixel: tuple[float, float] = (2.0, 2.0)
    thickness: float = 4.0
    spacing: float = 5.0
    centre: tuple[float, float, float] = (3.0, -12.0, 20.0)
    angles: tuple[float, float, float] = (12.0, -7.0, 5.0)

    def axes(self) -> NDArray[np.float64]:
        """Directions of readout, phase encoding and their cross product as columns, LPS, shape (3, 3)."""
        x, y, z = np.deg2rad(self.angles)
        turn_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
        turn_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
        turn_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
        return turn_z @ turn_y @ turn_x @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])


_GEOMETRY = ExampleGeometry()


def example_head(slices: int = 3, grid: Sequence[int] = (96, 96), seed: int = 0) -> NDArray[np.complex64]:
    """A synthetic head, complex, from :func:`~infomri_monai.data.embedded_subjects`.

    Args:
        slices: number of slices, at most 16.
        grid: pixels along readout (anterior to posterior) and phase encoding (left to right).
        seed: another one gives another head.

    Returns:
        Shape (slice, readout, phase encoding), from the lowest slice to the highest.

    Example:
        >>> example_head(2, (32, 32)).shape
        (2, 32, 32)
    """
    entries = embedded_subjects("test", subjects=1, slices_per_subject=slices, grid=grid, seed=seed)
    return np.stack([entry["image"][0] for entry in entries])


def example_sensitivities(coils: int, grid: Sequence[int]) -> NDArray[np.complex64]:
    """Smooth coil sensitivities around a head whose squared magnitudes sum to 1.

    Args:
        coils: their number; one coil is homogeneous.
        grid: pixels.

    Returns:
        Shape (coil, *grid).

    Example:
        >>> float((np.abs(example_sensitivities(4, (8, 6))) ** 2).sum(0).max().round(5))
        1.0
    """
    if coils == 1:
        return np.ones((1, *grid), np.complex64)
    y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in grid], indexing="ij")
    angle = (2 * np.pi * np.arange(coils) / coils + 0.3)[:, None, None]
    distance = (y - 1.2 * np.sin(angle)) ** 2 + (x - 1.2 * np.cos(angle)) ** 2
    turn = angle + 0.8 * (y * np.cos(angle) - x * np.sin(angle))
    maps = np.exp(1j * turn) / (0.3 + distance)
    return (maps / np.sqrt((np.abs(maps) ** 2).sum(0))).astype(np.complex64)


def write_example_ismrmrd(
    path: str | Path,
    image: ArrayLike,
    lines: Sequence[int] | None = None,
    coils: int = 1,
    oversampling: int = 2,
    noise_scan: bool = True,
    averages: int = 1,
    reverse: bool = False,
    missing_samples: int = 0,
    geometry: ExampleGeometry | None = _GEOMETRY,
    subject: Mapping[str, str] | None = None,
    seed: int = 0,
) -> None:
    """Write a 2D Cartesian acquisition of an image as an ISMRMRD file.

    Args:
        path: the file; replaced if it exists.
        image: real or complex, shape (slice, readout, phase encoding) or (readout, phase encoding).
        lines: numbers of the phase-encoding positions to acquire, DC at ``n // 2``; None for all.
        coils: number of coils, with :func:`example_sensitivities`.
        oversampling: factor along the readout.
        noise_scan: begin with a noise scan.
        averages: how often every line is measured; their noise differs, its mean is zero.
        reverse: measure every second line from its end.
        missing_samples: samples of the oversampled readout that an asymmetric echo leaves out at its beginning.
        geometry: None leaves directions and position unset.
        subject: entries of :data:`EXAMPLE_SUBJECT` to change; "" leaves one out.
        seed: of the noise scan and of the averages' noise.

    Raises:
        ValueError: if the image has another shape, a line lies outside, or the samples left out reach the echo.
    """
    stack = _stack(image)
    count, columns, height = stack.shape
    wanted = _line_numbers(lines, height)
    samples = oversampling * columns
    if not 0 <= missing_samples < samples // 2:
        raise ValueError(f"missing_samples must lie in 0 to {samples // 2 - 1}, got {missing_samples}.")
    draw = np.random.default_rng(seed)
    kspace = _oversampled_kspace(stack, coils, samples)
    table = [_noise_scan(coils, samples, draw)] if noise_scan else []
    for index, (i, line) in product(range(count), enumerate(wanted)):
        noise = draw.normal(size=(averages, coils, samples, 2)) * 0.01
        noise = (noise - noise.mean(0)) @ [1, 1j]
        for average in range(averages):
            data = (kspace[index, :, :, line] + noise[average])[:, missing_samples:]
            head = _line_head(geometry, index, line, average, samples // 2 - missing_samples)
            if reverse and i % 2:
                data, head["flags"] = data[:, ::-1], 1 << (ismrmrd.ACQ_IS_REVERSE - 1)
            table.append((head, data))
    xml = example_header((samples, columns, height), count, geometry, {**EXAMPLE_SUBJECT, **(subject or {})})
    with atomic_path(path) as part, h5py.File(part, "w") as file:
        group = file.create_group("dataset")
        group.create_dataset("xml", data=[xml.encode()], dtype=h5py.special_dtype(vlen=bytes))
        group.create_dataset("data", data=_records(table))


def write_example_fastmri(
    path: str | Path,
    image: ArrayLike,
    lines: Sequence[int] | None = None,
    pixel: tuple[float, float] = (2.0, 2.0),
    thickness: float = 4.0,
    mask: bool = True,
    subject: Mapping[str, str] | None = None,
    coils: int = 1,
) -> None:
    """Write an acquisition in fastMRI's layout: "kspace", "mask", "ismrmrd_header" and attributes.

    Args:
        path: the file; replaced if it exists.
        image: real or complex, shape (slice, height, width) or (height, width).
        lines: numbers of the columns of k-space to acquire; None for all. The others are zero.
        pixel: size along (height, width), mm.
        thickness: of a slice, mm.
        mask: write the mask too, as the challenge's files have it.
        subject: entries of :data:`EXAMPLE_SUBJECT` to change; "" leaves one out.
        coils: number of coils, with :func:`example_sensitivities`; several are the second axis of "kspace".

    Raises:
        ValueError: if the image has another shape or a line lies outside.

    References:
        Zbontar J. et al., "fastMRI: An open dataset and benchmarks for accelerated MRI", 2018.
    """
    stack = _stack(image)
    count, height, width = stack.shape
    measured = np.zeros(width, bool)
    measured[_line_numbers(lines, width)] = True
    geometry = ExampleGeometry(pixel=pixel, thickness=thickness)
    xml = example_header((height, height, width), count, geometry, {**EXAMPLE_SUBJECT, **(subject or {})})
    with atomic_path(path) as part, h5py.File(part, "w") as file:
        if coils > 1:
            stack = stack[:, None] * example_sensitivities(coils, (height, width))
        file["kspace"] = _fourier(stack, (-2, -1)) * measured + 0  # no signs of what is hidden
        file["ismrmrd_header"] = xml
        if mask:
            file["mask"] = measured
        peak = float(np.abs(stack).max())
        file.attrs.update(
            {"acquisition": "CORPD_FBK" if coils == 1 else "AXT2", "max": peak, "norm": float(np.linalg.norm(stack))}
        )
        file.attrs["patient_id"] = "0" * 64


def example_header(
    size: tuple[int, int, int], slices: int, geometry: ExampleGeometry | None, subject: Mapping[str, str]
) -> str:
    """ISMRMRD's XML header.

    Args:
        size: (samples of the readout with oversampling, columns without, lines).
        slices: their number.
        geometry: of which pixel and thickness stand in the header.
        subject: entries as in :data:`EXAMPLE_SUBJECT`; "" leaves one out.

    Returns:
        The XML text.
    """
    samples, columns, height = size
    pixel, thickness = (ExampleGeometry() if geometry is None else geometry)[:2]

    def space(width: int) -> Any:
        fov = xsd.fieldOfViewMm(x=width * pixel[0], y=height * pixel[1], z=thickness)
        return xsd.encodingSpaceType(matrixSize=xsd.matrixSizeType(x=width, y=height, z=1), fieldOfView_mm=fov)

    limits = xsd.encodingLimitsType(
        kspace_encoding_step_1=xsd.limitType(minimum=0, maximum=height - 1, center=height // 2),
        slice=xsd.limitType(minimum=0, maximum=slices - 1, center=0),
    )
    encoding = xsd.encodingType(
        encodedSpace=space(samples),
        reconSpace=space(columns),
        encodingLimits=limits,
        trajectory=xsd.trajectoryType.CARTESIAN,
    )
    header = xsd.ismrmrdHeader(
        version=2,
        subjectInformation=xsd.subjectInformationType(**_known(xsd.subjectInformationType, subject)),
        studyInformation=xsd.studyInformationType(**_known(xsd.studyInformationType, subject)),
        measurementInformation=xsd.measurementInformationType(**_known(xsd.measurementInformationType, subject)),
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(systemVendor="InfoMRI example"),
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=123_000_000),
        encoding=[encoding],
    )
    return str(xsd.ToXML(header, encoding="utf-8"))


def _known(kind: Any, subject: Mapping[str, str]) -> dict[str, Any]:
    """The entries that a type of the schema has."""
    values: dict[str, Any] = {
        key: value for key, value in subject.items() if value and key in kind.__dataclass_fields__
    }
    if "patientPosition" in kind.__dataclass_fields__:
        values["patientPosition"] = xsd.patientPositionType(values.get("patientPosition", "HFS"))
    return values


def _stack(image: ArrayLike) -> NDArray[np.complex64]:
    stack = np.asarray(image, np.complex64)
    stack = stack[None] if stack.ndim == 2 else stack
    if stack.ndim != 3 or not stack.size:
        raise ValueError(f"image must have shape (slice, readout, phase encoding), got {np.shape(image)}.")
    return stack


def _line_numbers(lines: Sequence[int] | None, height: int) -> list[int]:
    wanted = list(range(height)) if lines is None else [int(line) for line in lines]
    if not wanted or min(wanted) < 0 or max(wanted) >= height:
        raise ValueError(f"lines must lie in 0 to {height - 1}, got {wanted}.")
    return wanted


def _fourier(image: NDArray[Any], axes: tuple[int, ...]) -> NDArray[np.complex64]:
    """Centred, orthonormal."""
    shifted = np.fft.fftn(np.fft.ifftshift(image, axes), axes=axes, norm="ortho")
    return np.fft.fftshift(shifted, axes).astype(np.complex64)


def _oversampled_kspace(stack: NDArray[np.complex64], coils: int, samples: int) -> NDArray[np.complex64]:
    """k-space (slice, coil, samples, lines) of the image in the middle of an empty field of view, as long as the readout."""
    count, columns, height = stack.shape
    wide = np.zeros((count, coils, samples, height), np.complex64)
    first = samples // 2 - columns // 2
    wide[:, :, first : first + columns] = stack[:, None] * example_sensitivities(coils, (columns, height))
    return _fourier(wide, (2, 3))


def _noise_scan(coils: int, samples: int, draw: np.random.Generator) -> tuple[Any, NDArray[np.complex64]]:
    head = np.zeros((), hdf5.acquisition_header_dtype)
    head["flags"] = 1 << (ismrmrd.ACQ_IS_NOISE_MEASUREMENT - 1)
    return head, (draw.normal(size=(coils, samples, 2)) @ [1, 1j]).astype(np.complex64)


def _line_head(geometry: ExampleGeometry | None, index: int, line: int, average: int, centre: int) -> NDArray[Any]:
    head = np.zeros((), hdf5.acquisition_header_dtype)
    head["version"], head["center_sample"] = 1, centre
    head["idx"]["kspace_encode_step_1"], head["idx"]["slice"], head["idx"]["average"] = line, index, average
    if geometry is not None:
        axes = geometry.axes()
        head["position"] = np.array(geometry.centre) + index * geometry.spacing * axes[:, 2]
        head["read_dir"], head["phase_dir"], head["slice_dir"] = axes.T
    return head


def _records(table: list[tuple[Any, NDArray[Any]]]) -> NDArray[Any]:
    """Acquisitions as ISMRMRD's HDF5 type has them."""
    records = np.empty(len(table), hdf5.acquisition_dtype)
    for i, (head, data) in enumerate(table):
        head["active_channels"] = head["available_channels"] = data.shape[0]
        head["number_of_samples"], head["scan_counter"] = data.shape[1], i
        records[i]["head"] = head
        records[i]["traj"] = np.zeros(0, np.float32)
        records[i]["data"] = np.ascontiguousarray(data, np.complex64).view(np.float32).ravel()
    return records


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a head's scan, every eighth line and the middle ones, as scan.h5 (ISMRMRD) and fastmri.h5 (fastMRI, 4 coils)."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--slices", type=int, default=8)
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    head, lines = example_head(given.slices, (64, 64)), [*range(0, 64, 8), *range(30, 36)]
    write_example_ismrmrd(given.folder / "scan.h5", head, lines)
    write_example_fastmri(given.folder / "fastmri.h5", head, lines, coils=4)


if __name__ == "__main__":
    main()
