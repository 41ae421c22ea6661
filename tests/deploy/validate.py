"""The DICOM validator of dicom3tools, for every object that we write."""

import os
import shutil
import subprocess

import pytest

REQUIRED = os.environ.get("INFOMRI_REQUIRE_DEPLOY") == "1"


def dicom_errors(path):
    """Lines of ``dciodvfy`` that begin with Error, of the file ``path``; skips where the validator is not installed."""
    program = shutil.which("dciodvfy")
    if program is None:
        if REQUIRED:
            pytest.fail("dciodvfy is not installed (Debian package dicom3tools), and INFOMRI_REQUIRE_DEPLOY=1.")
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    done = subprocess.run([program, os.fspath(path)], capture_output=True, text=True, errors="replace", timeout=600)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    assert lines, "dciodvfy said nothing, not even the name of the IOD"
    return [line for line in lines if line.startswith("Error")]


def assert_valid_dicom(path):
    """Assert that ``dciodvfy`` finds no error in the file ``path``."""
    errors = dicom_errors(path)
    assert not errors, f"dciodvfy on {os.path.basename(path)}:\n" + "\n".join(errors)
