"""The commands of docs/deploy.md that find, fetch and store, over TLS too, run as they stand there against Orthanc."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from derived_cases import DERIVATION, image_case
from helper import refuses
from pacs_helper import assert_same, new_study, require, written
from pydicom import Dataset

from hospital.orthanc import LocalPacs, free_port, local_orthanc, orthanc_missing
from hospital.programs import fetch, find, program, search, store
from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.dicom.parametric_map import parametric_map

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs/deploy.md").read_text().split("\n## A PACS\n")[1].split("\n## ")[0]
BLOCKS = [block.replace("\\\n", " ") for block in re.findall(r"```bash\n(.*?)```", SECTION, re.DOTALL)]
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line and not line.startswith("#")]
#: they run in the background
TUNNELS = [command for command in COMMANDS if command.startswith("socat")]
WAITING = 120.0
FOLDERS = [str(Path(name).parent) for name in (sys.executable, program("dicomweb_client")[0])]
ENVIRONMENT = {**os.environ, "PATH": os.pathsep.join([*FOLDERS, os.environ["PATH"]]), "NO_PROXY": "127.0.0.1"}


def is_encrypted(command: str) -> bool:
    """It is for a PACS that wants TLS, or for the tunnel to it."""
    return any(word in command for word in ("+tls", "REQUESTS_CA_BUNDLE", "127.0.0.1"))


class Place(NamedTuple):
    """A PACS and a folder: what the words of the page mean here.

    Attributes:
        pacs: an Orthanc.
        folder: the working directory; certificates lie in it.
        words: of the page, and what takes their place.
    """

    pacs: LocalPacs
    folder: Path
    words: dict[str, str]

    def filled(self, command: str, **more: str) -> str:
        """The command with a place's words."""
        words = {**self.words, **more}
        return re.sub(r"https://HOST|\b(HOST|PORT|PACS|1111\d|STUDY_UID|SERIES_UID)\b", lambda m: words[m[0]], command)

    def run(self, command: str, **more: str) -> str:
        """Run a command of the page to its end; what it printed."""
        done = subprocess.run(
            ["bash", "-c", self.filled(command, **more)],
            cwd=self.folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def make_certificates(folder: Path) -> None:
    """An authority, and a PACS and us that it vouches for, at 127.0.0.1; by openssl."""
    key = "-newkey rsa:2048 -nodes"
    lines = [f"openssl req -x509 {key} -keyout ca.key -out hospital-ca.pem -days 2 -subj /CN=authority"]
    for name in ("pacs", "ours"):
        lines += [
            f"openssl req {key} -keyout {name}.key -out {name}.csr -subj /CN={name} -addext subjectAltName=IP:127.0.0.1",
            f"openssl x509 -req -in {name}.csr -CA hospital-ca.pem -CAkey ca.key -CAcreateserial -days 2"
            f" -copy_extensions copyall -out {name}.pem",
        ]
    subprocess.run(["bash", "-ec", "\n".join(lines)], cwd=folder, check=True, capture_output=True)


def listen(stack: ExitStack, command: str, folder: Path) -> None:
    """Start socat in the background until the stack closes, and wait until it says that it listens."""
    log = folder / f"socat{len(list(folder.glob('socat*')))}.log"
    with log.open("w") as said:
        words = command.removesuffix("&").split()
        process = subprocess.Popen([words[0], "-d", "-d", *words[1:]], cwd=folder, stderr=said)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    end = time.monotonic() + WAITING
    while "listening on" not in log.read_text() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert "listening on" in log.read_text()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, orthanc: LocalPacs) -> Place:
    folder = tmp_path_factory.mktemp("plain")
    words = {"HOST": "127.0.0.1", "PORT": str(orthanc.dicom_port), "PACS": orthanc.ae_title}
    return Place(orthanc, folder, {**words, "https://HOST": orthanc.http_url, "11112": str(orthanc.move_port)})


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """By DIMSE it talks TLS alone and asks for certificates; so does a proxy by https, as Debian's Orthanc crashes with it."""
    require(orthanc_missing() or ("" if shutil.which("socat") else "socat is not installed: `make system-packages`."))
    folder = tmp_path_factory.mktemp("tls")
    make_certificates(folder)
    ports = {number: str(free_port()) for number in ("11110", "11112", "11113")}
    options = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(folder / "pacs.pem"),
        "DicomTlsPrivateKey": str(folder / "pacs.key"),
        "DicomTlsTrustedCertificates": str(folder / "hospital-ca.pem"),
        "DicomModalities": {
            "client": {"AET": "INFOMRI", "Host": "127.0.0.1", "Port": int(ports["11112"]), "UseDicomTls": True}
        },
    }
    with local_orthanc(options=options) as pacs, ExitStack() as stack:
        https = free_port()
        words = {"HOST": "127.0.0.1", "PORT": str(pacs.dicom_port), "PACS": pacs.ae_title, **ports}
        place = Place(pacs, folder, {**words, "https://HOST": f"https://127.0.0.1:{https}"})
        files = "cafile=hospital-ca.pem,cert=pacs.pem,key=pacs.key"
        proxied = pacs.http_url.removeprefix("http://")
        listen(stack, f"socat OPENSSL-LISTEN:{https},fork,reuseaddr,{files} TCP:{proxied}", folder)
        for tunnel in TUNNELS:
            listen(stack, place.filled(tunnel), folder)
        yield place


@pytest.fixture
def place(request: pytest.FixtureRequest, command: str) -> Place:
    """Where a command of the page is at home."""
    return request.getfixturevalue("encrypted" if is_encrypted(command) else "plain")


def stored(place: Place) -> list[Dataset]:
    """A new study that the PACS has; by DICOMweb, which is Orthanc's without TLS on this machine."""
    datasets = new_study()
    store(place.pacs, "web", written(datasets, place.folder / str(datasets[0].StudyInstanceUID)))
    return datasets


def commands(*words: str) -> pytest.MarkDecorator:
    """Those of the page that have one of the words."""
    found = [command for command in COMMANDS if command not in TUNNELS and any(word in command for word in words)]
    names = [
        f"{'tls-' * is_encrypted(command)}{re.search('[a-z]+scu|search|retrieve|store', command)[0]}"
        for command in found
    ]
    return pytest.mark.parametrize("command", found, ids=names)


def test_the_page_shows_every_way() -> None:
    text = "\n".join(COMMANDS)
    for words in ("findscu HOST", "getscu HOST", "movescu HOST", "storescu HOST", "search", "retrieve", "store inst"):
        assert words in text
    for words in ("/usr/bin/findscu +tls", "/usr/bin/storescu +tls", "getscu 127", "movescu 127", "REQUESTS_CA_BUNDLE"):
        assert words in text
    assert len(TUNNELS) == 2


@commands("findscu", "search")
def test_finds(command: str, place: Place) -> None:
    first = stored(place)[0]
    said = place.run(command, STUDY_UID=first.StudyInstanceUID, SERIES_UID=first.SeriesInstanceUID)
    wanted = first.SeriesInstanceUID if "SERIES" in command or "search series" in command else first.StudyInstanceUID
    assert wanted in said


@commands("getscu", "movescu", "retrieve")
def test_fetches(command: str, place: Place) -> None:
    sent = stored(place)
    shutil.rmtree(place.folder / "IN", ignore_errors=True)
    place.run(command, STUDY_UID=sent[0].StudyInstanceUID, SERIES_UID=sent[0].SeriesInstanceUID)
    assert_same((place.folder / "IN").iterdir(), sent)


@commands("storescu", "store instances")
def test_stores(command: str, place: Place, tmp_path: Path) -> None:
    """What an application leaves: DICOM files in folders, and a summary, which is passed over."""
    made = new_study()
    shutil.rmtree(place.folder / "OUT", ignore_errors=True)
    written(made, place.folder / "OUT/case_0001/reconstruction")
    (place.folder / "OUT/summary.json").write_text("{}")
    place.run(command)
    assert_same(fetch(place.pacs, "web", tmp_path / "back", str(made[0].StudyInstanceUID)), made)


TABLE = (ROOT / "docs/deploy_errors.md").read_text().split("\n## Programs that talk to a PACS\n")[1]


def said_by(*command: object, folder: Path | None = None) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=folder, env=ENVIRONMENT, timeout=600
    )
    return done.stdout + done.stderr


def assert_told(message: str, said: str) -> None:
    """The message was said, and stands in the table."""
    assert message in said
    assert message in TABLE


def test_messages_of_pynetdicom(plain: Place, tmp_path: Path) -> None:
    """Nobody listens; our AE title is unknown; what a C-GET does not ask for; an instance that the PACS does not take."""
    pacs, study = plain.pacs, new_study(1)
    echo = [*program("echoscu"), "127.0.0.1"]
    assert_told("Connection refused", said_by(*echo, free_port()))
    assert_told("Calling AE title not recognised", said_by(*echo, pacs.dicom_port, "-aec", pacs.ae_title))
    case = image_case("classic")
    values = 1.0 + np.indices(case.shape).sum(0)
    entropy = parametric_map(values, case.affine, case.source, DERIVATION, "entropy", 902)
    store(pacs, "get", written([entropy], tmp_path / "map"))
    uid = str(entropy.StudyInstanceUID)
    keys = ["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid}", "-od", tmp_path / "got"]
    where = ["127.0.0.1", pacs.dicom_port, "-aet", pacs.client_aet, "-aec", pacs.ae_title]
    assert_told("Failed: 1", said_by(*program("getscu"), *where, *keys))
    assert fetch(pacs, "move", tmp_path / "moved", uid)
    study[0].SOPClassUID = study[0].file_meta.MediaStorageSOPClassUID = "1.3.12.2.1107.5.9.1"  # a private one
    (path,) = written(study, tmp_path / "odd")
    assert_told("No accepted presentation contexts", said_by(*program("storescu"), *where, "-cx", path))


def test_messages_of_tls(encrypted: Place) -> None:
    """Who is not vouched for, or has no TLS, gets nothing; nor does a tunnel to another host than the certificate's."""
    port, folder = encrypted.pacs.dicom_port, encrypted.folder
    ours = ["/usr/bin/echoscu", "+tls", "ours.key", "ours.pem", "-aet", "INFOMRI", "-aec", "ORTHANC"]
    trusted = ["+cf", "hospital-ca.pem"]
    assert said_by(*ours, *trusted, "127.0.0.1", port, folder=folder) == ""
    assert_told("certificate verify failed", said_by(*ours, "127.0.0.1", port, folder=folder))
    assert_told("Peer aborted Association", said_by("/usr/bin/echoscu", "127.0.0.1", port, folder=folder))
    tunnel = f"OPENSSL:localhost:{port},cafile=hospital-ca.pem,cert=ours.pem,key=ours.key"
    assert_told("does not match hostname", said_by("socat", "-u", "/dev/null", tunnel, folder=folder))


def test_a_program_that_fails_shows_no_identifier(plain: Place, tmp_path: Path) -> None:
    unknown = plain.pacs._replace(ae_title="OTHERPACS")
    with pytest.raises(DeployError, match="findscu ended with exit code 1") as raised:
        find(unknown, "STUDY", PatientID="ID-4711-SECRET")
    assert "4711" not in str(raised.value)
    refuses(DeployError, "dicomweb_client ended with exit code 1", fetch, plain.pacs, "web", tmp_path, "1.2.3")
    assert search(plain.pacs, "studies", "--filter", "PatientID=NOBODY") == []
