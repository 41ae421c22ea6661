"""DIMSE: every answer that a PACS may give, and what is proposed to it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from pacs_helper import new_study
from pydicom import Dataset, uid
from pynetdicom import evt
from pynetdicom.sop_class import Verification
from stub_pacs import stub

from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.deploy.pacs.dimse import GET, MOVE, DimsePacs
from infomri_monai.deploy.pacs.inbox import SUCCESS
from infomri_monai.deploy.pacs.presentation import MOST_CONTEXTS, send_contexts, storage_contexts
from infomri_monai.deploy.pacs.pushing import GONE, LOST

if TYPE_CHECKING:
    from conftest import Silent


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"called_aet": ""}, "called_aet must be an AE title"),
        ({"called_aet": "SEVENTEEN_LETTERS"}, "called_aet must be an AE title"),
        ({"calling_aet": "A\\B"}, "calling_aet must be an AE title"),
        ({"calling_aet": "Ä"}, "calling_aet must be an AE title"),
        ({"port": 0}, r"port must lie in \[1, 65535\], got 0"),
        ({"move_port": 70000}, r"move_port must lie in \[1, 65535\], got 70000"),
        ({"retrieve": "fetch"}, "retrieve must be one of"),
        ({"retrieve": "move"}, "needs move_port"),
        ({"timeout": 0.0}, "timeout must be positive"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    good = {"host": "127.0.0.1", "port": 104, "called_aet": "PACS"}
    with pytest.raises(DeployError, match=message) as raised:
        DimsePacs(**{**good, **arguments})
    assert raised.value.code == EXIT_USAGE


def test_host_that_does_not_exist() -> None:
    with pytest.raises(DeployError, match="host is not known"):
        DimsePacs("pacs.invalid", 104, "PACS").echo()


def test_no_dicom_server_and_one_that_is_silent() -> None:
    """A port where something listens that never says a word."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        start = time.monotonic()
        with pytest.raises(DeployError, match="cannot be reached"):
            DimsePacs("127.0.0.1", mute.getsockname()[1], "PACS", timeout=1).echo()
        assert time.monotonic() - start < 5


def test_every_storage_status(silent: Silent) -> None:
    """Success, the three warnings, and failures of every kind; each instance is judged by its own."""
    codes = [0x0000, 0xB000, 0xB006, 0xB007, 0xA700, 0xA900, 0xC000, 0xC123, 0x0110, 0x0122, 0x0000]
    datasets = new_study(len(codes))
    answers = iter(codes)
    with stub({evt.EVT_C_STORE: lambda event: next(answers)}) as archive:
        report = archive.push(datasets)
    assert [outcome.stored for outcome in report.outcomes] == [True] * 4 + [False] * 6 + [True]
    for outcome, code in zip(report.outcomes, codes, strict=True):
        assert (f"0x{code:04X}" in outcome.note) == (code != 0)
    with pytest.raises(DeployError, match=r"did not store 6 of 11 instances \(instance 5: .*A700.*; and 1 more\)"):
        report.check()
    silent(datasets)


def test_one_instance_breaks_the_connection() -> None:
    """The rest goes over a new one."""
    datasets = new_study(4)
    got: list[str] = []

    def store(event: evt.Event) -> int:
        if event.dataset.SOPInstanceUID == datasets[1].SOPInstanceUID:
            event.assoc.abort()
        got.append(event.dataset.SOPInstanceUID)
        return SUCCESS

    with stub({evt.EVT_C_STORE: store}) as archive:
        report = archive.push(datasets)
    assert [outcome.note for outcome in report.outcomes] == ["", LOST, "", ""]
    assert [datasets[number].SOPInstanceUID in got for number in (0, 2, 3)] == [True] * 3


def test_every_instance_breaks_the_connection() -> None:
    """Two in a row are enough."""

    def store(event: evt.Event) -> int:
        event.assoc.abort()
        return SUCCESS

    with stub({evt.EVT_C_STORE: store}) as archive:
        report = archive.push(new_study(4))
    assert [outcome.note for outcome in report.outcomes] == [LOST, LOST, GONE, GONE]


def test_uncompressed_is_converted_for_a_pacs_that_takes_implicit_only() -> None:
    datasets = new_study(2)
    got: list[tuple[str, Dataset]] = []

    def store(event: evt.Event) -> int:
        got.append((event.context.transfer_syntax, event.dataset))
        return SUCCESS

    def implicit_only(event: evt.Event) -> None:
        for context in event.assoc.acceptor.supported_contexts:
            context.transfer_syntax = [uid.ImplicitVRLittleEndian]

    with stub({evt.EVT_C_STORE: store, evt.EVT_CONN_OPEN: implicit_only}) as archive:
        archive.push(datasets).check()
    assert [syntax for syntax, _ in got] == [uid.ImplicitVRLittleEndian] * 2
    assert [dataset.PixelData for _, dataset in got] == [dataset.PixelData for dataset in datasets]


@pytest.mark.parametrize(("code", "message"), [(0xA700, "refused C-FIND with status 0xA700"), (0xC001, "0xC001")])
def test_query_is_refused(code: int, message: str) -> None:
    def find(event: evt.Event) -> Iterator[tuple[int, None]]:
        yield code, None

    with stub({evt.EVT_C_FIND: find}) as archive, pytest.raises(DeployError, match=message):
        archive.find_studies()


def test_answer_without_a_uid_or_with_odd_numbers() -> None:
    def find(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        answer = Dataset()
        if event.identifier.QueryRetrieveLevel == "STUDY":
            answer.StudyInstanceUID, answer.NumberOfStudyRelatedSeries = "1.2.3", ""
        answer.Modality = "MR"
        yield 0xFF00, answer

    with stub({evt.EVT_C_FIND: find}) as archive:
        (study,) = archive.find_studies()
        assert (study.study_uid, study.series, study.instances) == ("1.2.3", None, None)
        with pytest.raises(DeployError, match="answer lacks SeriesInstanceUID"):
            archive.find_series("1.2.3")


def test_a_pacs_without_queries() -> None:
    with stub({}, services=(GET, MOVE, Verification)) as archive, pytest.raises(DeployError, match="takes none of"):
        archive.find_studies()


def test_proposals_fit_into_an_association() -> None:
    """Each SOP class in each encoding has a context of its own, within the protocol's 128 with the one of C-GET."""
    contexts = storage_contexts()
    assert len(contexts) < MOST_CONTEXTS
    assert all(len(context.transfer_syntax) == 1 for context in contexts)
    assert len({(context.abstract_syntax, context.transfer_syntax[0]) for context in contexts}) == len(contexts)
    kinds = [(f"1.2.{number}", str(uid.JPEG2000)) for number in range(1, MOST_CONTEXTS)]
    assert len(send_contexts(kinds)) == MOST_CONTEXTS
    with pytest.raises(DeployError, match="more than can be sent at once"):
        send_contexts([*kinds, ("1.3", str(uid.JPEG2000))])
