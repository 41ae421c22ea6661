"""What became of every case: summary.json, exit code, words in the log."""

import json
import logging
from datetime import date

import numpy as np
import pytest
import torch

from infomri_monai.deploy.bundle import Inference
from infomri_monai.deploy.case import EXIT_CASE_FAILED, EXIT_OK, CaseSource, DeployCase, DeployError
from infomri_monai.deploy.derivation import ModelIdentity
from infomri_monai.deploy.journal import Delivery, Journal, safe_reason, where

MODEL = ModelIdentity("InfoMRI segmentation", "0.1.0", "ab" * 32)


def written(number, warnings=(), said=()):
    """A delivery of a case that was written."""
    source = CaseSource((), {"PatientName": "DOE^JANE"})
    case = DeployCase(number, "image", torch.zeros(1, 4, 5, 3), np.eye(4), source, warnings=warnings)
    seconds = {"load": 0.123456, "acquire": 1.0, "network": 2.0, "write": 0.25}
    return Delivery(number, case, Inference(None, {}, said), seconds=seconds, objects=[f"case_{number:04d}/a.dcm"])


def saved(journal, folder, seconds=5.67891):
    journal.save(folder / "summary.json", seconds)
    assert [path.name for path in folder.iterdir()] == ["summary.json"]
    return json.loads((folder / "summary.json").read_text())


def test_the_summary_is_in_the_order_of_the_cases(tmp_path):
    beside = {"policy_checksum": "cd" * 32, "triage_checksum": ""}
    settings = {"ratio": 0.25, "name_by": date(2024, 1, 2)}
    journal = Journal("segmentation", MODEL, 3, beside, settings)
    for delivery in (written(3), Delivery(1, failure="a slice is missing."), written(2, ("axial",), ("ratio=0.5",))):
        journal.add(delivery)
    summary = saved(journal, tmp_path)
    assert summary.keys() == {"application", "model", "settings", "cases", "seconds", "units"}
    assert summary["settings"] == {"ratio": 0.25, "name_by": "2024-01-02"}
    assert (summary["application"], summary["seconds"]) == ("segmentation", 5.679)
    assert summary["model"] == {**MODEL._asdict(), **beside}
    first, second, third = summary["cases"]
    empty = {"domain": None, "slices": None, "warnings": [], "seconds": {}, "objects": []}
    assert first == {"case": 1, "status": "failed", "reason": "a slice is missing.", **empty}
    known = {"domain": "image", "slices": 3, "warnings": ["axial", "ratio=0.5"], "objects": ["case_0002/a.dcm"]}
    seconds = {"load": 0.1235, "acquire": 1.0, "network": 2.0, "write": 0.25}
    assert second == {"case": 2, "status": "written", "reason": "", "seconds": seconds, **known}
    assert third["case"] == 3
    assert "DOE" not in json.dumps(summary)


def test_a_failed_case_keeps_what_was_known(tmp_path, caplog):
    """At loading nothing, in the network what was loaded and warned of, at writing all; its data are let go."""
    journal = Journal("segmentation", MODEL, total=3)
    unread, stopped, unwritten = Delivery(1), written(2, ("axial",)), written(3, ("axial",), ("ratio=0.5",))
    stopped.inference, stopped.objects, unwritten.objects = None, [], []
    unread.fail("a slice is missing.")
    stopped.fail("no overlap.", ("grid (8, 8)",))
    unwritten.fail("write failed (No space left on device).")
    for delivery in (unread, stopped, unwritten):
        assert delivery.case is delivery.inference is None
        journal.add(delivery)
    rows = saved(journal, tmp_path)["cases"]
    assert [row["domain"] for row in rows] == [None, "image", "image"]
    assert [row["slices"] for row in rows] == [None, 3, 3]
    assert [row["warnings"] for row in rows] == [[], ["axial", "grid (8, 8)"], ["axial", "ratio=0.5"]]
    assert {row["status"] for row in rows} == {"failed"}
    assert rows[1]["reason"] == "no overlap."
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "case 2 of 3: axial",
        "case 3 of 3: axial",
    ]


@pytest.mark.parametrize(
    ("deliveries", "code"),
    [
        ([], EXIT_CASE_FAILED),
        ([written(1)], EXIT_CASE_FAILED),  # the second one is missing
        ([written(1), Delivery(2, failure="no.")], EXIT_CASE_FAILED),
        ([Delivery(1, failure="no."), Delivery(2, failure="no.")], EXIT_CASE_FAILED),
        ([written(1), written(2)], EXIT_OK),
    ],
)
def test_exit_code(deliveries, code, tmp_path):
    journal = Journal("segmentation", MODEL, total=2)
    for delivery in deliveries:
        journal.add(delivery)
    assert journal.exit_code == code
    cases = saved(journal, tmp_path)["cases"]
    assert [row["case"] for row in cases] == [1, 2]  # none is forgotten
    assert all((row["status"] == "written") == (row["reason"] == "") for row in cases)


def test_what_is_said(caplog):
    journal = Journal("segmentation", MODEL, total=2)
    with caplog.at_level(logging.INFO):
        journal.add(written(1, ("position is made up.",), ("the bundle has said this itself",)))
        journal.add(Delivery(2, failure="a slice is missing."))
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "case 1 of 2: position is made up."),
        ("INFO", "case 1 of 2 written: 1 DICOM object (load 0.12 s, acquire 1.00 s, network 2.00 s, write 0.25 s)"),
        ("ERROR", "case 2 of 2 failed: a slice is missing."),
    ]


def test_reasons_and_places_quote_no_message():
    secret = "DOE^JANE 4711"
    with pytest.raises(KeyError) as error:
        {}[secret]
    assert safe_reason(error.value, "loading") == "loading failed (KeyError)."
    assert safe_reason(DeployError("the series is mixed."), "loading") == "the series is mixed."
    lines = where(error.value)
    assert "test_reasons_and_places_quote_no_message" in lines
    assert secret not in lines
