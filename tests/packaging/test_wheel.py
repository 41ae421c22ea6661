"""The wheel, installed in a fresh environment outside the checkout: what is in it, and that it works there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "infomri_recon"
SIMULATE = """
import infomri_monai, torch
from infomri_monai.sampling import VariableDensity
from infomri_monai.transforms import SimulateAcquisitiond
print(infomri_monai.__file__)
print(SimulateAcquisitiond("image", VariableDensity(), ratio=0.25)({"image": torch.rand(1, 16, 16)})["image"].shape)
"""
TINY = {
    "grid": "[32,32]",
    "train_data#subjects": "2",
    "validation_data#subjects": "1",
    "max_epochs": "6",
    "val_interval": "3",
    "network_def#phases": "1",
    "network_def#channels": "4",
}


def run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """A command outside the checkout, with nothing of it on the path."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    words = done.stdout + done.stderr
    assert done.returncode == code, f"{' '.join(map(str, command))}\n{words[-3000:]}"
    return words


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of what git tracks: what lies about in a checkout must not be needed, nor get in."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if name.startswith(
            ("infomri_monai/", "transforms/", "setup.py", "pyproject.toml", "README.md", "LICENSE", "tests/packaging")
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def place(wheel, tmp_path_factory) -> Path:
    """A folder with an environment ``venv`` that holds the wheel; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("outside")
    run(sys.executable, "-m", "venv", "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", wheel, cwd=folder)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    others = [path for path in sys.path if path.endswith("site-packages") and Path(path) != Path(site)]
    assert sysconfig.get_path("purelib") in others
    # as paths alone, so that no .pth of theirs (that of an editable install) is read
    Path(site, "zz_dependencies.pth").write_text("\n".join(others) + "\n")
    shutil.copytree(BUNDLE, folder / "infomri_recon", ignore=shutil.ignore_patterns("output", "eval"))
    return folder


def test_what_is_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"infomri_monai"}
    assert "infomri_monai/py.typed" in names
    for name in ("reconstruction", "segmentation", "privacy_classification"):
        assert f"infomri_monai/deploy/{name}/app.yaml" in names
    modules = {p.relative_to(ROOT / "transforms").as_posix() for p in (ROOT / "transforms").rglob("*.py")}
    assert {f"infomri_monai/transforms/{name}" for name in modules} <= names
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "infomri_monai").rglob("*.py")}
    assert modules <= names


def test_transforms_and_policies(place):
    words = run(place / "venv" / "bin" / "python", "-c", SIMULATE, cwd=place)
    assert str(place) in words.splitlines()[0]
    assert "torch.Size([1, 16, 16])" in words


def test_a_bundle_trains_evaluates_and_infers(place):
    bundle, python = place / "infomri_recon", place / "venv" / "bin" / "python"
    values = [word for name, value in TINY.items() for word in (f"--{name}", value)]
    train = ["-m", "monai.bundle", "run", "--config_file", "['configs/train.json']", "--output_dir", place / "out"]
    run(python, *train, *values, cwd=bundle)
    assert {"model.pt", "policy.pt", "training.csv"} <= {path.name for path in (place / "out").iterdir()}
    assert (place / "out" / "checkpoints" / "best.pt").exists()
    infer = ["-m", "monai.bundle", "run", "--config_file", "configs/inference.json", "--output_dir", place / "inferred"]
    run(python, *infer, cwd=bundle)
    assert list((place / "inferred").rglob("*.nii.gz"))


def test_masks_are_exported(place):
    policy = place / "infomri_recon" / "models" / "policy.pt"
    words = ["--checkpoint", policy, "--ratios", "0.25", "--out", "masks"]
    assert "mask_ratio0.25_seed0.npz" in run(place / "venv" / "bin" / "infomri-export-masks", *words, cwd=place)
    assert (place / "masks" / "mask_ratio0.25_seed0.npz").exists()


def test_the_applications_say_how_they_are_used(place):
    command = place / "venv" / "bin" / "infomri-deploy"
    assert "privacy-classification" in run(command, "--help", cwd=place)
    assert "infomri-deploy segmentation" in run(command, "segmentation", "--help", cwd=place)
    words = run(command, "segmentation", "-i", "none", "-o", "out", "-m", place / "infomri_recon", cwd=place, code=2)
    assert "input: the path does not exist" in words
