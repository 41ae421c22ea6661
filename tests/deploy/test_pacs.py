"""DIMSE: every answer that a PACS may give, and what is proposed to it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pacs_helper import client, new_study, study_of
from pydicom import Dataset, uid
from pynetdicom import evt
from pynetdicom.sop_class import Verification
from stub_pacs import SERVICES, stub

from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.deploy.pacs.answers import retrieved
from infomri_monai.deploy.pacs.command import main
from infomri_monai.deploy.pacs.dimse import FIND, GET, MOVE, DimsePacs
from infomri_monai.deploy.pacs.inbox import OTHER_STUDY, SUCCESS, Inbox
from infomri_monai.deploy.pacs.orthanc import LocalPacs, free_port
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


def found_series(datasets: list[Dataset], instances: int | None) -> Any:
    """Handler of C-FIND that knows one series."""

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        answer = Dataset()
        answer.QueryRetrieveLevel = "SERIES"
        answer.SeriesInstanceUID = datasets[0].SeriesInstanceUID
        if instances is not None:
            answer.NumberOfSeriesRelatedInstances = instances
        yield 0xFF00, answer

    return find


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


@pytest.mark.parametrize("announced", [3, None])
def test_some_instances_are_not_sent(announced: int | None, tmp_path: Path, silent: Silent) -> None:
    """C-GET with failed sub-operations: all or nothing."""
    datasets = new_study()

    def get(event: evt.Event) -> Iterator[Any]:
        yield 3
        yield 0xFF00, datasets[0]
        refused = Dataset()
        refused.SOPClassUID, refused.SOPInstanceUID = "1.2.3.4", "1.2.3.4.5"
        refused.file_meta = datasets[0].file_meta
        yield 0xFF00, refused
        yield 0xFF00, datasets[2]

    handlers = {evt.EVT_C_FIND: found_series(datasets, announced), evt.EVT_C_GET: get}
    with stub(handlers) as archive, pytest.raises(DeployError, match="C-GET brought not all: 1 instance of"):
        archive.pull(study_of(datasets), tmp_path / "study")
    assert not list(tmp_path.iterdir())
    silent(datasets)


@pytest.mark.parametrize(("announced", "message"), [(3, "sent 2 of 3 instances"), (1, "sent 2 of 1 instance of")])
def test_less_or_more_than_announced(announced: int, message: str, tmp_path: Path) -> None:
    datasets = new_study(2)

    def get(event: evt.Event) -> Iterator[Any]:
        yield 2
        for dataset in datasets:
            yield 0xFF00, dataset

    handlers = {evt.EVT_C_FIND: found_series(datasets, announced), evt.EVT_C_GET: get}
    with stub(handlers) as archive, pytest.raises(DeployError, match=message):
        archive.pull(study_of(datasets), tmp_path / "study")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("announced", [0, None])
def test_nothing_is_sent(announced: int | None, tmp_path: Path) -> None:
    datasets = new_study(1)

    def get(event: evt.Event) -> Iterator[Any]:
        yield 0

    handlers = {evt.EVT_C_FIND: found_series(datasets, announced), evt.EVT_C_GET: get}
    with stub(handlers) as archive, pytest.raises(DeployError, match="sent 0 of "):
        archive.pull(study_of(datasets), tmp_path / "study")


def test_pacs_breaks_off_or_falls_silent(tmp_path: Path) -> None:
    """The connection is aborted after an instance; or nothing comes any more."""
    datasets = new_study(2)

    def aborts(event: evt.Event) -> Iterator[Any]:
        yield 2
        yield 0xFF00, datasets[0]
        event.assoc.abort()
        yield 0xFF00, datasets[1]

    def silent_one(event: evt.Event) -> Iterator[Any]:
        time.sleep(3)
        yield 0

    for get in (aborts, silent_one):
        handlers = {evt.EVT_C_FIND: found_series(datasets, 2), evt.EVT_C_GET: get}
        with stub(handlers, timeout=1) as archive, pytest.raises(DeployError, match="broke off or it did not answer"):
            archive.pull(study_of(datasets), tmp_path / "study")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("retrieve", "other", "service"), [("get", "move", GET), ("move", "get", MOVE)])
def test_a_pacs_that_offers_one_retrieval_alone(retrieve: str, other: str, service: str, tmp_path: Path) -> None:
    """What is missing, and what to try; nothing is left, and the other way works as far as it can."""
    datasets = new_study(1)
    handlers = {evt.EVT_C_FIND: found_series(datasets, 1)}
    offered = [model for model in SERVICES if model != service]
    with stub(handlers, services=offered, retrieve=retrieve, move_port=free_port()) as archive:
        archive.echo()
        with pytest.raises(DeployError) as raised:
            archive.pull(study_of(datasets), tmp_path / "study")
    assert str(raised.value) == f"the PACS does not offer C-{retrieve.upper()}; try the other way, retrieve {other}."
    assert raised.value.code == EXIT_USAGE
    assert not list(tmp_path.iterdir())


def test_the_command_on_a_pacs_without_c_get(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    datasets = new_study(1)
    with stub({evt.EVT_C_FIND: found_series(datasets, 1)}, services=(FIND, MOVE, Verification)) as archive:
        where = ["--dicom", f"127.0.0.1:{archive.peer.port}", "--aet", "STUB"]
        code = main(["pull", *where, "--study", study_of(datasets), str(tmp_path / "study")])
    assert code == EXIT_USAGE
    assert capsys.readouterr().err == "error: the PACS does not offer C-GET; try the other way, retrieve move.\n"
    assert not list(tmp_path.iterdir())


def test_a_pacs_without_queries() -> None:
    with stub({}, services=(GET, MOVE, Verification)) as archive, pytest.raises(DeployError, match="takes none of"):
        archive.find_studies()


def test_the_pacs_is_gone_when_it_is_asked() -> None:
    """Between two series, say."""

    def gone() -> Iterator[Any]:
        raise RuntimeError("DOE^JANE")

    with pytest.raises(DeployError, match=f"^{LOST}\\.$"):
        retrieved(gone, "C-GET")


def test_move_destination_is_unknown(tmp_path: Path) -> None:
    datasets = new_study(1)

    def move(event: evt.Event) -> Iterator[Any]:
        yield None, None

    handlers = {evt.EVT_C_FIND: found_series(datasets, 1), evt.EVT_C_MOVE: move}
    with (
        stub(handlers, retrieve="move", move_port=free_port()) as archive,
        pytest.raises(DeployError, match="does not know where to move to"),
    ):
        archive.pull(study_of(datasets), tmp_path / "study")
    assert not list(tmp_path.iterdir())


def test_move_port_is_taken(orthanc: LocalPacs, tmp_path: Path) -> None:
    datasets = new_study(1)
    archive = client("move", orthanc)
    archive.push(datasets).check()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", orthanc.move_port))
        taken.listen()
        with pytest.raises(DeployError, match=f"cannot listen at port {orthanc.move_port}"):
            archive.pull(study_of(datasets), tmp_path / "study")
    assert not list(tmp_path.iterdir())


def test_an_instance_of_another_study_is_not_taken(tmp_path: Path) -> None:
    wanted, other = new_study(1)[0], new_study(1)[0]
    inbox = Inbox(tmp_path, wanted.StudyInstanceUID)
    assert inbox.add(other, b"other") == OTHER_STUDY
    assert inbox.add(wanted, b"wanted") == SUCCESS
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"wanted"]
    assert inbox.count == 1


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
