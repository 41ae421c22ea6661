"""DICOM series that are damaged in one way each, with the message that each must give."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from faults import FILE, FOLDER, GRID, PATIENT, Fault
from pydicom.pixels import get_encoder

from hospital.mr_series import example_datasets
from infomri_monai.data.dicom.quiet import quiet


def datasets(folder: Path, kind: str = "classic") -> list[pydicom.Dataset]:
    """The series that is damaged; another one for each name of a folder."""
    return example_datasets(kind, 4, GRID, patient=PATIENT, seed=zlib.crc32(folder.name.encode()))


def save(series: list[pydicom.Dataset], folder: Path) -> list[Path]:
    """Write a series below a folder."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    paths = [folder / FOLDER / f"{FILE}_{number:03d}.dcm" for number in range(1, len(series) + 1)]
    for path, dataset in zip(paths, series, strict=True):
        dataset.save_as(path, enforce_file_format=True)
    return paths


def good(folder: Path) -> None:
    """A series without fault."""
    save(datasets(folder), folder)


def changed(change: Callable[[list[pydicom.Dataset]], Any], kind: str = "classic") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        series = datasets(folder, kind)
        with quiet():  # pydicom warns of what is wrong
            change(series)
            save(series, folder)

    return write


def _set(series: Iterable[pydicom.Dataset], values: dict[str, Any]) -> None:
    for dataset in series:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)


def every(kind: str = "classic", **values: Any) -> Callable[[Path], None]:
    """A series with other values in all of its headers."""
    return changed(lambda series: _set(series, values), kind)


def of_one(**values: Any) -> Callable[[Path], None]:
    """A series with other values in one of its headers."""
    return changed(lambda series: _set(series[1:2], values))


def _of_another_size(series: list[pydicom.Dataset]) -> None:
    d = series[2]
    d.PixelData, d.Rows = d.pixel_array[:-8].tobytes(), GRID[1] - 8


def _coloured(series: list[pydicom.Dataset]) -> None:
    for d in series:
        d.PixelData = np.repeat((d.pixel_array >> 4).astype(np.uint8)[..., None], 3, -1).tobytes()
        d.SamplesPerPixel, d.PlanarConfiguration, d.PhotometricInterpretation = 3, 0, "RGB"
        d.BitsAllocated, d.BitsStored, d.HighBit = 8, 8, 7


def _encoded(syntax: str, content: bytes) -> Callable[[Path], None]:
    """A series whose pixels are bytes that claim to be compressed."""

    def change(series: list[pydicom.Dataset]) -> None:
        for d in series:
            d.PixelData = pydicom.encaps.encapsulate([content])
            d["PixelData"].VR, d["PixelData"].is_undefined_length = "OB", True
            d.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)

    return changed(change)


def _damaged_compression(folder: Path) -> None:
    series = datasets(folder)
    assert get_encoder(pydicom.uid.RLELossless).is_available
    for d in series:
        d.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    for path in save(series, folder):
        raw = bytearray(path.read_bytes())
        raw[-400:-200] = b"DOE^JANE" * 25
        path.write_bytes(raw)


def _cut(keep: Callable[[bytes], int]) -> Callable[[Path], None]:
    """A series of which one file ends early."""

    def write(folder: Path) -> None:
        path = save(datasets(folder), folder)[1]
        raw = path.read_bytes()
        path.write_bytes(raw[: keep(raw)])

    return write


def _other_image_under_one_uid(folder: Path) -> None:
    series = datasets(folder)
    changed = copy.deepcopy(series[1])
    changed.PixelData = bytes(len(changed.PixelData))
    save([*series, changed], folder)


def _text(folder: Path) -> None:
    (folder / FOLDER).mkdir(parents=True)
    (folder / FOLDER / f"{FILE}.dcm").write_text(f"{PATIENT.name} {PATIENT.identifier}")


def _hostile_numbers(folder: Path) -> None:
    """A name where a number belongs: the parser's message quotes it."""
    for path in save(datasets(folder), folder):
        raw = path.read_bytes()
        at = raw.index(b"\x20\x00\x37\x00DS") + 8
        path.write_bytes(raw[:at] + b"DOE^JANE\\" + raw[at + 9 :])


_HTJ2K, _JPEG2000 = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.90"
_UNCOMPRESSED = (
    "transfer syntax of an image (High-Throughput JPEG 2000 Image Compression (Lossless Only)) cannot be decoded"
)


def _at_one_place(series: list[pydicom.Dataset]) -> None:
    series[1].ImagePositionPatient = series[2].ImagePositionPatient


SERIES_FAULTS = (
    Fault("two orientations", of_one(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]), "its 4 images differ in orientation"),
    Fault("two sizes", changed(_of_another_size), "its 4 images differ in rows (2 values)"),
    Fault("two patients", of_one(PatientID="ID-4711-OTHER"), "its 4 images differ in patient (2 values)"),
    Fault("two echoes", of_one(EchoTime=80), "its 4 images differ in echo time (2 values)"),
    Fault("missing slice", changed(lambda s: s.pop(1)), "missing slices: gap of 1 between slice 1 and 2"),
    Fault(
        "one UID twice", _other_image_under_one_uid, "files 2 and 5 of 5 (in the order of their names) have one SOPIns"
    ),
    Fault("two at one position", changed(_at_one_place), "1 of 4 images lie where another one does"),
    Fault("not MR", every(SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT"), "must hold MR images, found CT"),
    Fault("phase", every(ImageType=["ORIGINAL", "PRIMARY", "P"]), "must hold magnitude images, found phase"),
    Fault("colour", changed(_coloured), "pixels must be greyscale (MONOCHROME2), found colours"),
    Fault("no position", every(ImagePositionPatient=None), "an image must have ImagePositionPatient; it is missing"),
    Fault("undecodable compression", _encoded(_HTJ2K, b"DOE^JANE" * 64), _UNCOMPRESSED),
    Fault("no compression", _encoded(_JPEG2000, b"DOE^JANE" * 64), "the pixel data of an image cannot be decoded ("),
    Fault("damaged compression", _damaged_compression, "the pixel data of an image cannot be decoded ("),
    Fault("truncated header", _cut(lambda raw: 700), "1 of 4 files cannot be used: truncated: its header ends before"),
    Fault("truncated pixels", _cut(lambda raw: len(raw) - 999), "data of an image are truncated: 7193 of 8192"),
    Fault("name for a number", _hostile_numbers, "4 of 4 files cannot be used: damaged values in its header ("),
    Fault("text called .dcm", _text, "the file cannot be used: no readable DICOM file (InvalidDicomError)"),
    Fault("Inf after rescaling", every(RescaleSlope="1e300", RescaleIntercept="0"), "or Inf values after rescaling"),
    Fault("NaN as slope", every(RescaleSlope="NaN", RescaleIntercept="0"), "RescaleSlope must hold 1 finite number"),
    Fault("frames not described", every("enhanced", NumberOfFrames=3), "each of its 3 frames, found 4 descriptions"),
)
