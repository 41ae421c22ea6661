"""A PACS by DICOMweb: QIDO-RS to find, WADO-RS to fetch, STOW-RS to store."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from monai.utils import optional_import

from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.deploy.logs import quiet
from infomri_monai.deploy.pacs.inbox import SUCCESS, Inbox
from infomri_monai.deploy.pacs.pushing import GONE, LOST, PushOutcome, PushReport, push_each
from infomri_monai.deploy.pacs.records import SeriesRecord, StudyQuery, StudyRecord, series_record, study_record
from infomri_monai.deploy.pacs.transfer import checked_timeout, checked_uid, chosen_series, new_folder

pydicom, _ = optional_import("pydicom")
requests, _ = optional_import("requests")
dicomweb_client, _ = optional_import("dicomweb_client")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["WebPacs"]

#: as the PACS has them, not converted to explicit VR little endian
AS_STORED = (("application/dicom", "*"),)
UNREACHABLE = "the PACS cannot be reached, or broke off, or did not answer in time"

Record = TypeVar("Record")


class WebPacs:
    """A PACS by DICOMweb; :class:`~infomri_monai.deploy.pacs.transfer.Pacs` says what its methods do.

    Proxies of the environment are used, except for this machine's loopback.

    Args:
        url: of the service, e.g. "https://pacs.example.org/dicom-web"; without user and password.
        user: name for basic authentication; with it ``password``.
        password: for basic authentication; by https, or to this machine, only.
        token: bearer token instead of the two.
        timeout: seconds without an answer after which the PACS counts as lost.

    Raises:
        DeployError: if an argument is outside its range.

    Example:
        >>> WebPacs("http://127.0.0.1:8042/dicom-web/").url
        'http://127.0.0.1:8042/dicom-web'
    """

    def __init__(self, url: str, user: str = "", password: str = "", token: str = "", timeout: float = 30.0) -> None:
        parts = _parts(url)
        if token and (user or password):
            raise DeployError("give user and password, or token, not both.", EXIT_USAGE)
        self.local = _is_loopback(parts.hostname or "")
        if (token or password) and parts.scheme == "http" and not self.local:
            raise DeployError("credentials are only sent by https, or to this machine.", EXIT_USAGE)
        self.url, self.timeout = url.rstrip("/"), checked_timeout(timeout)
        self._user, self._password, self._token = user, password, token

    def echo(self) -> None:
        """A query for one study, as DICOMweb has no C-ECHO."""
        self.find_studies(limit=1)

    def find_studies(self, query: StudyQuery | None = None, limit: int = 100) -> tuple[StudyRecord, ...]:
        """QIDO-RS of studies."""
        wanted = query or StudyQuery()
        filters = {
            "PatientID": wanted.patient_id,
            "AccessionNumber": wanted.accession_number,
            "StudyDate": wanted.date,
            "ModalitiesInStudy": wanted.modality,
        }
        fields = ["ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"]
        with self._connected("a query for studies") as client:
            found = client.search_for_studies(
                search_filters={name: value for name, value in filters.items() if value}, fields=fields, limit=limit
            )
            return _records(found, study_record)[:limit]

    def find_series(self, study_uid: str) -> tuple[SeriesRecord, ...]:
        """QIDO-RS of a study's series."""
        checked_uid(study_uid, "study_uid")
        with self._connected("a query for series") as client:
            found = client.search_for_series(study_uid, fields=["SeriesDescription", "NumberOfSeriesRelatedInstances"])
            return _records(found, series_record)

    def pull(self, study_uid: str, folder: str | Path, series_uids: Sequence[str] = ()) -> tuple[Path, ...]:
        """WADO-RS, series by series."""
        series = chosen_series(self.find_series(study_uid), series_uids)
        with new_folder(folder) as part, self._connected("a request for a series") as client:
            inbox = Inbox(part, study_uid)
            for one in series:
                with inbox.receiving(one.instances):
                    for dataset in client.iter_series(study_uid, one.series_uid, media_types=AS_STORED):
                        if inbox.add(dataset, _encoded(dataset)) != SUCCESS:
                            break
        return tuple(sorted(Path(folder).iterdir()))

    def push(self, instances: Sequence[str | Path | Dataset]) -> PushReport:
        """STOW-RS, instance by instance.

        Raises:
            DeployError: if the PACS cannot be reached at all.
        """
        with self._connected("a request to store") as client:
            report = push_each(instances, partial(_stored, client))
        if report.outcomes and all(outcome.note in (LOST, GONE) for outcome in report.outcomes):
            raise DeployError(f"{UNREACHABLE}.")
        return report

    @contextmanager
    def _connected(self, request: str) -> Iterator[Any]:
        """A client whose errors come out as ours, without the URLs that they hold; nothing is logged."""
        with quiet(), requests.Session() as session:
            session.trust_env = not self.local
            if self._token:
                session.auth = self._bearer  # a header alone would give way to a password in ~/.netrc
            elif self._user or self._password:
                session.auth = (self._user, self._password)
            client = dicomweb_client.DICOMwebClient(self.url, session, permissive_uid=True, timeout=self.timeout)
            client.set_http_retry_params(retry=False)  # it would wait half a minute for a PACS that is down
            try:
                yield client
            except DeployError:
                raise
            except requests.HTTPError as error:
                raise DeployError(f"the PACS answered {request} with {_http(error)}.") from None
            except Exception as error:  # what pydicom, JSON and the client raise at an answer that is no DICOMweb
                if isinstance(error, OSError) and not isinstance(error, ValueError):
                    raise DeployError(f"{UNREACHABLE} ({type(error).__name__}).") from None
                raise DeployError(
                    f"the answer to {request} is not that of a DICOMweb service ({type(error).__name__})."
                ) from None

    def _bearer(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _parts(url: str) -> SplitResult:
    """The parts of a service's URL.

    Raises:
        DeployError: if it is none, or holds more than scheme, host, port and path.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or "@" in parts.netloc or parts.query or parts.fragment:
        raise DeployError("url must be http(s)://host[:port]/path, without user, password or query.", EXIT_USAGE)
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _records(found: Sequence[dict[str, Any]], record: Callable[[Dataset], Record]) -> tuple[Record, ...]:
    return tuple(record(pydicom.Dataset.from_json(entry)) for entry in found)


def _encoded(dataset: Dataset) -> bytes:
    """The content of a file."""
    with BytesIO() as stream:
        dataset.save_as(stream, enforce_file_format=True)
        return stream.getvalue()


def _http(error: Any) -> str:
    """An HTTP status in words; its text and URL may hold UIDs."""
    code = error.response.status_code
    known = {status.value: status.phrase for status in HTTPStatus}
    hint = "; user, password or token are wrong or missing" if code in (401, 403) else ""
    return f"HTTP status {code} ({known.get(code, 'not a standard one')}{hint})"


def _stored(client: Any, number: int, dataset: Dataset) -> PushOutcome:
    """Send one."""
    try:
        complete = pydicom.dcmread(BytesIO(_encoded(dataset)))  # with preamble and all of the file meta information
        return _outcome(number, client.store_instances([complete]))
    except requests.HTTPError as error:
        return PushOutcome(number, False, f"refused with {_http(error)}")
    except Exception as error:  # encoding of a data set, or an answer that is no DICOM; the message quotes values
        if isinstance(error, OSError) and not isinstance(error, ValueError):
            return PushOutcome(number, False, LOST)
        return PushOutcome(
            number, False, f"it cannot be encoded, or the answer not be decoded ({type(error).__name__})"
        )


def _outcome(number: int, answer: Dataset) -> PushOutcome:
    """What the answer to STOW-RS says.

    References:
        DICOM PS3.18 (2024), Table I.1-1 and I.2: store instances response module.
    """
    if answer.get("FailedSOPSequence"):
        reason = int(answer.FailedSOPSequence[0].get("FailureReason") or 0)
        return PushOutcome(number, False, f"refused with reason 0x{reason:04X}")
    stored = answer.get("ReferencedSOPSequence") or []
    warning = int(stored[0].get("WarningReason") or 0) if stored else 0
    return PushOutcome(number, True, f"stored with a warning, reason 0x{warning:04X}" if warning else "")
