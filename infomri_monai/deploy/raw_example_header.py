"""ISMRMRD headers of the example raw data, with an invented patient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

xsd, _ = optional_import("ismrmrd", name="xsd", descriptor="ISMRMRD needs the extra infomri-monai[deploy]")

__all__ = ["EXAMPLE_SUBJECT", "ExampleGeometry", "example_header"]

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
