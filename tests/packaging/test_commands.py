"""The console commands: what they say of themselves, and that they are the modules of the same name."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: as setup.py has them
COMMANDS = {
    "infomri-deploy": "infomri_monai.deploy.__main__:main",
    "infomri-export-masks": "infomri_monai.scanner.export:main",
}
APPLICATIONS = ("reconstruction", "segmentation", "privacy-classification")


def command(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A console command, as its script runs it (those of the wheel are in test_wheel.py)."""
    module, function = COMMANDS[name].split(":")
    program = f"import sys; from {module} import {function} as f; sys.argv[0] = {name!r}; sys.exit(f())"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=300, check=False
    )


def test_infomri_deploy_lists_its_applications():
    done = command("infomri-deploy", "--help")
    assert done.returncode == 0
    for name in APPLICATIONS:
        assert f"  {name} " in done.stdout
    assert "-i INPUT -o OUTPUT -m MODEL" in done.stdout


@pytest.mark.parametrize("arguments", [(), ("reconstruct",), ("segmentation", "--colour")])
def test_infomri_deploy_says_what_is_accepted(arguments):
    done = command("infomri-deploy", *arguments)
    assert done.returncode == 2
    assert "usage: infomri-deploy " in done.stderr
    assert "segmentation" in done.stderr
    assert "reconstruct " not in done.stderr  # what was given may be a path


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_is_the_module_of_its_name(name, tmp_path):
    arguments = ["-i", str(tmp_path / "none"), "-o", str(tmp_path / "out"), "-m", str(tmp_path)]
    module = ["-m", f"infomri_monai.deploy.{name.replace('-', '_')}", *arguments]
    other = subprocess.run([sys.executable, *module], capture_output=True, text=True, timeout=300, check=False)
    done = command("infomri-deploy", name, *arguments)
    assert done.returncode == other.returncode == 2
    assert done.stderr.split(" ", 2)[2] == other.stderr.split(" ", 2)[2] == "ERROR input: the path does not exist.\n"


def test_no_command_warns_of_the_stack():
    for name in ("infomri-export-masks", "infomri-deploy"):
        done = command(name, "--help")
        assert done.returncode == 0
        assert done.stderr == ""
