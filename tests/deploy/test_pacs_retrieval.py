"""C-GET and C-MOVE: all of a study comes, or nothing is left and the message says why."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pacs_helper import client, new_study, study_of
from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.sop_class import Verification
from stub_pacs import SERVICES, stub

from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.deploy.pacs.answers import retrieved
from infomri_monai.deploy.pacs.command import main
from infomri_monai.deploy.pacs.dimse import FIND, GET, MOVE
from infomri_monai.deploy.pacs.inbox import OTHER_STUDY, SUCCESS, Inbox
from infomri_monai.deploy.pacs.orthanc import LocalPacs, free_port
from infomri_monai.deploy.pacs.pushing import LOST

if TYPE_CHECKING:
    from conftest import Silent


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
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the last association may not have timed out yet
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
