"""The demonstration end to end, as a user starts it; what it says where Orthanc is missing; and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("highdicom")
pytest.importorskip("holoscan")
import hospital_demo
import pydicom
from pacs_helper import as_file, require, secrets
from PIL import Image
from series_files import assert_no_identifier
from validate import assert_valid_dicom

from hospital.orthanc import orthanc_missing
from hospital.report import report_text
from hospital.result import drawn_masks, read_result, recognised
from infomri_monai.data import embedded_segmentation
from infomri_monai.data.dicom.series import find_series
from infomri_monai.deploy.bundle import DeployBundle
from infomri_monai.deploy.dicom.series import read_case

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "bundles/infomri_segmentation"
COMMAND = [sys.executable, str(ROOT / "examples/hospital_demo.py"), "--models", str(MODELS)]
#: of app.yaml
SETTINGS = {"ratio": 0.125, "seed": 0, "samples": 16, "swap_axes": True}


def environment(temporary):
    return {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def demonstrated(once):
    """The folder that a run leaves, its output in output/, what it printed in log.txt; tmp/ is where it may put temporary files."""
    require(orthanc_missing())

    def fill(folder):
        (folder / "tmp").mkdir()
        arguments = [*COMMAND, "--output", str(folder / "output")]
        done = subprocess.run(
            arguments, env=environment(folder / "tmp"), capture_output=True, text=True, cwd=folder, timeout=800
        )
        (folder / "log.txt").write_text(done.stdout + done.stderr)
        assert done.returncode == 0, done.stdout + done.stderr

    return once("deploy_demo", fill)


@pytest.fixture(scope="module")
def retrieved(demonstrated):
    """All that the PACS had at the end."""
    return [pydicom.dcmread(path) for path in sorted((demonstrated / "output/retrieved").iterdir())]


@pytest.fixture(scope="module")
def result(demonstrated, retrieved):
    return read_result(find_series(demonstrated / "output/retrieved").candidates[0], recognised(retrieved))


@pytest.fixture(scope="module")
def inferred(demonstrated):
    """The bundle on the series as it was sent, in memory."""
    case = read_case(find_series(demonstrated / "output/source").candidates[0])
    return DeployBundle(MODELS, "segmentation", SETTINGS)(case).result


def test_everything_lies_in_the_output_folder(demonstrated):
    assert {path.name for path in demonstrated.iterdir()} == {"output", "tmp", "log.txt"}
    assert not list((demonstrated / "tmp").iterdir())
    output = demonstrated / "output"
    folders = ("source", "received", "application", "retrieved")
    assert {path.name for path in output.iterdir()} == {*folders, "segmentation.png", "triage.txt", "demo.json"}
    files = [[path for path in (output / folder).rglob("*") if path.is_file()] for folder in folders]
    assert [sum(path.name != "summary.json" for path in each) for each in files] == [8, 8, 4, 12]


def test_says_what_it_did_and_how_long_it_took(demonstrated):
    log = (demonstrated / "log.txt").read_text()
    record = json.loads((demonstrated / "output/demo.json").read_text())
    names = ["example", "start Orthanc", "send", "pull", "application", "push", "check", "picture"]
    assert [step["name"] for step in record["steps"]] == names
    for step in record["steps"]:
        assert any(line.startswith(step["name"]) and f"{step['seconds']:.1f} s" in line for line in log.splitlines())
        assert all(note in log for note in step["notes"])
    assert record["seconds"] == pytest.approx(sum(step["seconds"] for step in record["steps"]))
    assert "queries find the patient's study with 5 series, 12 instances" in log
    assert "2 x Segmentation Storage, 1 x Parametric Map Storage, 1 x Comprehensive SR Storage" in log


def test_names_no_patient(demonstrated, retrieved):
    said = (demonstrated / "log.txt").read_text()
    said += "".join((demonstrated / "output" / name).read_text() for name in ("triage.txt", "demo.json"))
    assert_no_identifier(said, [d for d in retrieved if d.Modality == "MR"], demonstrated / "output/source")
    for secret in secrets(retrieved):
        assert secret not in said


def test_the_pacs_gave_back_what_was_sent_and_made_and_all_is_valid(demonstrated, retrieved):
    output = demonstrated / "output"
    made = [pydicom.dcmread(path) for folder in ("source", "application") for path in (output / folder).rglob("*.dcm")]
    came = {dataset.SOPInstanceUID: dataset for dataset in retrieved}
    assert came.keys() == {dataset.SOPInstanceUID for dataset in made}
    assert all(as_file(came[dataset.SOPInstanceUID]) == as_file(dataset) for dataset in made)
    for path in (output / "retrieved").iterdir():
        assert_valid_dicom(path)


def test_the_picture_shows_the_masks_and_numbers_of_the_run(result, inferred):
    masks = drawn_masks(MODELS, *result.images.shape)
    assert f"agreement of the samples {inferred.agreement:.2f}" in result.triage
    assert result.acceleration == pytest.approx(1 / float(inferred.ratio.mean()), rel=1e-4)
    np.testing.assert_array_equal(masks, inferred.mask.numpy().transpose(2, 0, 1) > 0)


def test_the_segmentation_is_good_and_upright_and_oblique(result, retrieved):
    """Dice with the subject's tissues, which the series was drawn from; the front of the head is at the top."""
    orientation = np.array(next(d for d in retrieved if "ImageOrientationPatient" in d).ImageOrientationPatient)
    assert (np.abs(orientation).reshape(2, 3).max(1) < 0.999).all()
    entries = embedded_segmentation(
        "test", 1, 8, hospital_demo.EXAMPLE["grid"], hospital_demo.EXAMPLE["seed"], raters=1
    )
    truth = np.concatenate([entry["label"] for entry in entries])
    for number, (mask, least) in enumerate(zip(result.masks, (0.6, 0.8, 0.8), strict=True), 1):
        assert 2 * (mask & (truth == number)).sum() / (mask.sum() + (truth == number).sum()) > least
    assert result.names == ("Cerebrospinal Fluid", "Gray Matter", "White Matter")
    assert result.edges == ("R", "L", "A", "P")
    np.testing.assert_allclose(result.positions, 8 * (np.arange(8) - 3.5), atol=1e-6)
    np.testing.assert_allclose(result.pixel_spacing, 224 / 96, rtol=1e-6)


def test_report_and_picture(demonstrated, retrieved):
    output = demonstrated / "output"
    report = next(dataset for dataset in retrieved if dataset.Modality == "SR")
    assert (output / "triage.txt").read_text() == report_text(report) + "\n"
    assert "A person must review the segmentation: No" in report_text(report)
    with Image.open(output / "segmentation.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=float)
    assert pixels.shape[1] > 1200
    assert pixels.std() > 50


def test_orthanc_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("hospital.orthanc._program", lambda: None)
    assert hospital_demo.main(["--output", str(tmp_path / "output")]) == 2
    assert "apt-get install orthanc orthanc-dicomweb" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"--models": "none"}, "models: the path does not exist"),
        ({"--output": "full"}, "output must be new or empty"),
        ({"--output": "file.txt"}, "output must be new or empty"),
        ({"--series": "none"}, "must be an existing folder"),
        ({"--series": "full"}, "series must be a folder with one MR series, found 0"),
    ],
)
def test_bad_input(wrong, message, tmp_path, capfd):
    require(orthanc_missing())
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes").write_text("mine")
    (tmp_path / "file.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    given = {"--models": MODELS, "--output": tmp_path / "output"}
    given |= {key: tmp_path / value for key, value in wrong.items()}
    assert hospital_demo.main([str(part) for pair in given.items() for part in pair]) == 2
    assert message in capfd.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_failures_leave_nothing_and_quote_nothing(tmp_path, monkeypatch, capfd):
    """The application's exit code is the demonstration's; an unforeseen error's message, and an unknown argument, are not shown."""
    require(orthanc_missing())
    given = ["--models", str(MODELS), "--output", str(tmp_path / "output")]
    with monkeypatch.context() as patched:
        failed = subprocess.CompletedProcess([], 3)
        patched.setattr(hospital_demo, "subprocess", SimpleNamespace(DEVNULL=None, run=lambda *_, **__: failed))
        patched.setattr(hospital_demo, "EXAMPLE", {"slices": 2})
        assert hospital_demo.main(given) == 3
    assert "error: the application ended with exit code 3." in capfd.readouterr().err
    secret = "DOE^" + "JANE"
    monkeypatch.setattr(hospital_demo, "demonstrate", lambda *_: int(secret))
    assert hospital_demo.main(given) == 1
    said = capfd.readouterr().err
    assert "error: the demonstration failed (ValueError)." in said
    assert secret not in said
    with pytest.raises(SystemExit) as ended:
        hospital_demo.main(["JANE-DOE"])
    assert ended.value.code == 2
    assert "JANE" not in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def children(process):
    """Numbers of a process's children, and theirs."""
    try:
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        own = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [*own, *(number for child in own for number in children(child))]


def runs(process):
    status = Path(f"/proc/{process}/status")
    return status.exists() and "zombie" not in status.read_text()


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing_behind(how, code, tmp_path):
    """While the application runs: Orthanc, the application and all files end with the demonstration."""
    require(orthanc_missing())
    (tmp_path / "tmp").mkdir()
    arguments = [*COMMAND, "--output", str(tmp_path / "output")]
    with subprocess.Popen(
        arguments, env=environment(tmp_path / "tmp"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = ""
        while not said.split("\n")[-2:][0].startswith("pull"):
            line = process.stdout.readline()
            assert line, said
            said += line
        end = time.monotonic() + 300  # Orthanc and the application; much more than a loaded machine needs
        while len(started := children(process.pid)) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        commands = [Path(f"/proc/{number}/cmdline").read_bytes() for number in started]
        assert any(b"Orthanc" in one for one in commands)
        process.send_signal(how)
        rest = process.communicate(timeout=300)[0]
    assert process.returncode == code
    assert "interrupted; nothing is left behind." in rest
    assert not any(runs(number) for number in started)
    assert [path.name for path in tmp_path.rglob("*")] == ["tmp"]
