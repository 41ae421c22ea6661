"""What all damaged inputs have in common: patient-like names and identifiers, and the message that each must give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hospital.mr_series import ExamplePatient

#: of every DICOM series and every ISMRMRD file below
PATIENT = ExamplePatient()
SUBJECT = {
    "patientName": PATIENT.name,
    "patientID": PATIENT.identifier,
    "patientBirthdate": "1947-02-28",
    "accessionNumber": PATIENT.accession_number,
    "referringPhysicianName": PATIENT.physician,
    "studyDescription": "STUDY-SECRET of a head",
    "studyInstanceUID": "2.25.4711471147114711471147114711",
    "frameOfReferenceUID": "2.25.4712471247124712471247124712",
}
#: names of folders and files of the inputs
FOLDER, FILE = "DOE_JANE_4711", "DOE_JANE_19470228"
#: names of an innocent object: reading a pickle would make this file in the working directory
EXECUTED = "executed_by_a_pickle"
GRID = (64, 64)
#: begin of all UIDs of the example series
UIDS = "1.2.826.0.1.3680043.8.498."


class Fault(NamedTuple):
    """A damaged input.

    Attributes:
        name: short.
        write: writes the input into a new folder.
        message: what the application says of it, in part.
    """

    name: str
    write: Callable[[Path], None]
    message: str


def secrets() -> set[str]:
    """What must not turn up: everything that identifies the patient, in the spelling of DICOM, ISMRMRD and the files."""
    words = {"DOE", "JANE", "QUINCY", "SECRET", "4711-", "_4711", "471147", "19470229", "19470228", "1947-02-28"}
    return words | {*PATIENT, *SUBJECT.values(), FOLDER, FILE, UIDS}


class Bomb:
    """Unpickling it makes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (EXECUTED, "w")
