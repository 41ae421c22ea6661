"""DICOMweb: credentials, large instances, and servers that answer something else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pacs_helper import as_file, assert_same, client, new_study, study_of
from pydicom import Dataset
from stub_pacs import web_stub

from hospital.mr_series import example_datasets
from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.deploy.pacs.dicomweb import WebPacs
from infomri_monai.deploy.pacs.orthanc import LocalPacs, local_orthanc
from infomri_monai.deploy.pacs.pushing import PushOutcome

if TYPE_CHECKING:
    from conftest import Silent

JSON = "application/dicom+json"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "ftp://pacs/dicom-web"}, r"url must be http\(s\)"),
        ({"url": "pacs/dicom-web"}, r"url must be http\(s\)"),
        ({"url": "https://user:secret@pacs/dicom-web"}, "without user, password"),
        ({"url": "https://pacs/dicom-web?token=secret"}, "or query"),
        ({"url": "https://pacs:port/dicom-web"}, r"url must be http\(s\)"),
        ({"url": "http://[::1/dicom-web"}, r"url must be http\(s\)"),
        ({"url": "https://pacs", "password": "secret", "token": "secret"}, "not both"),
        ({"url": "http://pacs", "user": "me", "password": "secret"}, "only sent by https"),
        ({"url": "http://pacs", "token": "secret"}, "only sent by https"),
        ({"url": "https://pacs", "timeout": -1.0}, "timeout must be positive"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DeployError, match=message) as raised:
        WebPacs(**arguments)
    assert raised.value.code == EXIT_USAGE
    assert "secret" not in str(raised.value)


def test_password_of_a_pacs() -> None:
    options = {"AuthenticationEnabled": True, "RegisteredUsers": {"me": "secret"}}
    with local_orthanc(options=options) as pacs:
        WebPacs(pacs.dicomweb_url, "me", "secret").echo()
        datasets = new_study(2)
        for stranger in (WebPacs(pacs.dicomweb_url), WebPacs(pacs.dicomweb_url, "me", "wrong")):
            with pytest.raises(DeployError, match=r"HTTP status 401 .*password or token are wrong or missing"):
                stranger.echo()
            notes = [outcome.note for outcome in stranger.push(datasets).failures]
            assert len(notes) == 2
            assert all("HTTP status 401" in note for note in notes)


def test_token_is_sent() -> None:
    seen: list[str] = []

    with web_stub(
        lambda method, path, body, headers: (seen.append(headers["Authorization"]), (200, JSON, b"[]"))[1]
    ) as url:
        WebPacs(url, token="abc").echo()
    assert seen == ["Bearer abc"]


def test_proxies_are_not_asked_for_loopback(orthanc: LocalPacs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    client("web", orthanc).echo()


def test_large_instances(orthanc: LocalPacs, tmp_path: Path) -> None:
    """Sent and fetched in more than one piece."""
    images = np.random.default_rng(0).random((16, 256, 256))
    sent = example_datasets("enhanced", images=images, seed=int.from_bytes(os.urandom(4), "big"))
    assert len(sent[0].PixelData) > 2_000_000
    archive = client("web", orthanc)
    archive.push(sent).check()
    assert_same(archive.pull(study_of(sent), tmp_path / "study"), sent)


def failed(code: int) -> bytes:
    return json.dumps({"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [code]}}]}}).encode()


def stored(code: int) -> bytes:
    warning = {"00081196": {"vr": "US", "Value": [code]}} if code else {}
    return json.dumps({"00081199": {"vr": "SQ", "Value": [warning]}}).encode()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((200, JSON, stored(0)), PushOutcome(1, True)),
        ((200, JSON, stored(0xB000)), PushOutcome(1, True, "stored with a warning, reason 0xB000")),
        ((200, JSON, b""), PushOutcome(1, True)),
        ((202, JSON, failed(0xA700)), PushOutcome(1, False, "refused with reason 0xA700")),
        ((409, JSON, failed(0xA900)), PushOutcome(1, False, "refused with HTTP status 409 (Conflict)")),
        ((503, "text/html", b"DOE^JANE"), PushOutcome(1, False, "refused with HTTP status 503 (Service Unavailable)")),
        ((599, "text/html", b""), PushOutcome(1, False, "refused with HTTP status 599 (not a standard one)")),
    ],
)
def test_every_answer_to_store(answer: tuple[int, str, bytes], outcome: PushOutcome, silent: Silent) -> None:
    datasets = new_study(1)
    with web_stub(lambda method, path, body, headers: answer) as url:
        assert WebPacs(url).push(datasets).outcomes == (outcome,)
    silent(datasets)


def test_answer_to_store_that_is_no_dicom() -> None:
    with web_stub(lambda method, path, body, headers: (200, JSON, b"<html>")) as url:
        (outcome,) = WebPacs(url).push(new_study(1)).outcomes
    assert not outcome.stored
    assert "JSONDecodeError" in outcome.note


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, "text/html", b"no /studies/SECRET"), r"with HTTP status 404 \(Not Found\)"),
        ((500, "text/html", b"SECRET"), "HTTP status 500"),
        ((200, "text/html", b"<html>SECRET</html>"), "not that of a DICOMweb service"),
        ((200, JSON, b'[{"0020000D": "SECRET"}]'), "not that of a DICOMweb service"),
        ((200, JSON, b"[{}]"), "lacks StudyInstanceUID"),
    ],
)
def test_answers_to_a_query_that_are_none(answer: tuple[int, str, bytes], message: str) -> None:
    with (
        web_stub(lambda method, path, body, headers: answer) as url,
        pytest.raises(DeployError, match=message) as raised,
    ):
        WebPacs(url).find_studies()
    assert "SECRET" not in str(raised.value)


def archive_of(datasets: list[Dataset], parts: list[bytes], announced: int) -> Any:
    """A server with one series, whose instances are ``parts``."""
    series = {
        "0020000E": {"vr": "UI", "Value": [datasets[0].SeriesInstanceUID]},
        "00201209": {"vr": "IS", "Value": [announced]},
    }
    body = (
        b"".join(b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts) + b"--edge--"
    )

    def answer(method: str, path: str, content: bytes, headers: Any) -> tuple[int, str, bytes]:
        if "?" in path or path.endswith("/series"):
            return 200, JSON, json.dumps([series]).encode()
        return 200, 'multipart/related; type="application/dicom"; boundary=edge', body

    return answer


def content(dataset: Dataset, folder: Path) -> bytes:
    as_file(dataset).save_as(folder / "instance.dcm")
    return (folder / "instance.dcm").read_bytes()


def test_what_is_fetched_is_complete_and_of_the_study(tmp_path: Path, silent: Silent) -> None:
    datasets, (other,) = new_study(2), new_study(1)
    parts = [content(dataset, tmp_path) for dataset in datasets]
    with web_stub(archive_of(datasets, parts, 2)) as url:
        assert_same(WebPacs(url).pull(study_of(datasets), tmp_path / "good"), datasets)
    bad = {
        "sent 1 of 2 instances": parts[:1],
        "sent 3 of 2 instances": [*parts, parts[0]],
        "sent 1 of 2 instances of a series": [parts[0], content(other, tmp_path)],
        r"not that of a DICOMweb service \(InvalidDicomError\)": [parts[0], b"<html>DOE^JANE</html>"],
        r"not that of a DICOMweb service \(ValueError\)": [],
    }
    for message, sent in bad.items():
        with web_stub(archive_of(datasets, sent, 2)) as url, pytest.raises(DeployError, match=message):
            WebPacs(url).pull(study_of(datasets), tmp_path / "bad")
        assert not (tmp_path / "bad").exists()
        assert not list(tmp_path.glob(".*"))
    silent([*datasets, other])


def test_answer_that_breaks_off(tmp_path: Path, silent: Silent) -> None:
    """Less comes than the header says: nothing is kept, even if what came could be read."""
    datasets = new_study(1)
    answer = archive_of(datasets, [content(datasets[0], tmp_path)], 1)
    with web_stub(answer, excess=1000) as url, pytest.raises(DeployError, match="broke off"):
        WebPacs(url).pull(study_of(datasets), tmp_path / "study")
    assert [path.name for path in tmp_path.iterdir()] == ["instance.dcm"]
    silent(datasets)
