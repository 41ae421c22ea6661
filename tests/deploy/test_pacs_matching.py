"""What a PACS is asked for: dates against the calendar and pydicom's own reading, modalities, texts; and a real PACS."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pacs_helper import WAYS, client, new_study, study_of
from pydicom.valuerep import DA

from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.deploy.pacs.matching import matching_date, matching_modality, matching_text
from infomri_monai.deploy.pacs.orthanc import LocalPacs
from infomri_monai.deploy.pacs.records import StudyQuery, study_request

if TYPE_CHECKING:
    from conftest import Silent

WRITTEN = st.sampled_from(["%Y%m%d", "%Y-%m-%d"])
DAYS = st.dates(min_value=date(1900, 1, 1))


@given(DAYS, WRITTEN)
def test_a_day_as_pydicom_reads_it(day: date, written: str) -> None:
    assert DA(matching_date(day.strftime(written))) == day


@given(st.lists(DAYS, min_size=2, max_size=2).map(sorted), WRITTEN, WRITTEN)
def test_ranges(days: list[date], one: str, other: str) -> None:
    first, last = days[0].strftime(one), days[1].strftime(other)
    assert matching_date(f"{first}-{last}") == f"{days[0]:%Y%m%d}-{days[1]:%Y%m%d}"
    assert matching_date(f"{first}-") == f"{days[0]:%Y%m%d}-"
    assert matching_date(f" -{last} ") == f"-{days[1]:%Y%m%d}"
    if days[0] < days[1]:
        with pytest.raises(DeployError, match="does not end before it begins"):
            matching_date(f"{last}-{first}")


NO_DATES = ["heute", "-", "--", "2023-6-7", "07.06.2023", "2023-0607", "202306-07", "20230230", "2023-13-01", "2023"]
NO_DATES += ["20230101-20230102-20230103", "00000101", "2023010*", "２０２３０６０７", "20230607\\20230608"]


@pytest.mark.parametrize("text", NO_DATES)
def test_no_dates(text: str) -> None:
    with pytest.raises(DeployError, match="date must be a day, YYYYMMDD or YYYY-MM-DD, or a range") as raised:
        StudyQuery(date=text)
    assert raised.value.code == EXIT_USAGE
    assert text == "-" or text not in str(raised.value)


@given(st.text())
def test_whatever_is_given_is_refused_or_can_be_sent_without_a_warning(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("date", "modality", "patient_id", "accession_number"):
            with suppress(DeployError):
                study_request(StudyQuery(**{name: text}))


def test_modalities_and_texts() -> None:
    assert [matching_modality(text) for text in ("mr", " MR ", "", "rtstruct")] == ["MR", "MR", "", "RTSTRUCT"]
    for text in ("MR,CT", "MR\\CT", "M*", "ä", "A" * 17):
        with pytest.raises(DeployError, match="modality must be one code, such as MR"):
            matching_modality(text)
    assert matching_text("x" * 64, "patient_id", 64) == "x" * 64
    for text in ("x" * 65, "DOE\\JANE", "DOE\nJANE"):
        with pytest.raises(DeployError, match="patient_id must have at most 64 characters") as raised:
            StudyQuery(patient_id=text)
        assert text not in str(raised.value)


@pytest.mark.parametrize("way", WAYS)
def test_a_pacs_finds_what_is_asked_for(way: str, orthanc: LocalPacs, silent: Silent) -> None:
    """The day in every form, the modality in any case, and by DIMSE a patient's ID beyond ASCII.

    Orthanc 1.10 does not decode what is percent-encoded in a URL.
    """
    datasets = new_study(1)
    letter = "A" if way == "web" else "Ä"
    datasets[0].SpecificCharacterSet, datasets[0].PatientID = "ISO_IR 192", f"B{letter}R-{os.urandom(6).hex()}"
    datasets[0].StudyDate = "20230607"
    archive = client(way, orthanc)
    archive.push(datasets).check()
    patient = str(datasets[0].PatientID)
    for day in ("20230607", "2023-06-07", "2023-06-07-", "-20230607", "2023-06-01-20230630", ""):
        for modality in ("mr", "MR", ""):
            (found,) = archive.find_studies(StudyQuery(patient, date=day, modality=modality))
            assert (found.study_uid, found.patient_id, found.date) == (study_of(datasets), patient, "20230607")
    for query in (
        StudyQuery(patient, date="2023-06-08-"),
        StudyQuery(patient, modality="CT"),
        StudyQuery(patient[:-1]),
    ):
        assert archive.find_studies(query) == ()
    silent(datasets)
