"""Every command of every page: it runs as it stands there, or it is listed with the reason why it cannot.

A page's rows run in their order in one folder, in which the page's words (IMAGES, RAW, IN, MODELS ...) are folders. A training that
takes long as it stands gets options behind it that make it small.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pytest
import torch
from bundle_table import BUNDLES, PRIVACY, Bundle
from image_files import write_dicom_series, write_png
from inferring import network, write_kspace
from running import TINY_TEST, overrides, tiny

from infomri_monai.sampling import VariableDensity, save_policy

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "docs/results/*.md", "bundles/*/docs/README.md", "examples/gallery/*.[mp][dy]")
    for page in ROOT.glob(pattern)
    if page.name != "CHANGELOG.md"
)
#: how a command in a line of text begins
_INLINE = re.compile(r"(?:\w+=\S+ )*(?:python3?|pip|make|torchrun|infomri-[\w-]+|cd|mlflow|monai-deploy|bash|\./\S+) ")
_BACKENDS = ("bash", "sh", "shell", "console")


class Row(NamedTuple):
    """Commands of a page.

    Attributes:
        pattern: of the commands, searched from their beginning.
        why: they do not run here because of this; empty where they run.
        more: options behind them, which make them small.
        before: called with the folder before them.
    """

    pattern: str
    why: str = ""
    more: Mapping[str, Any] = {}
    before: Callable[[Path], object] | None = None


def commands(page: str) -> list[str]:
    """What stands in the page's shell blocks and what looks like a command in its lines, joined where it is continued."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.endswith(".py"):
        text = re.sub(r"(?m)^# ?", "", text)
    found, blocks = [], re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
    for language, block in blocks.findall(text):
        lines = re.sub(r" *\\\n *", " ", block).splitlines()
        lines = [re.sub(r"\s+# .*", "", line).strip() for line in lines if not line.startswith("#")]
        if language in _BACKENDS:
            found += [line for line in lines if line]
        else:
            assert not [line for line in lines if _INLINE.match(line)], f"{page}: a shell's block is marked {_BACKENDS}"
    inline = re.findall(r"`([^`]+)`", blocks.sub("", text))
    return found + [line for line in (" ".join(code.split()) for code in inline) if _INLINE.match(line)]


def small(bundle: Bundle, epochs: int) -> dict[str, Any]:
    """A training on few small images, with a checkpoint at the epoch that the page resumes from."""
    return tiny(bundle, max_epochs=epochs + 1, checkpoint_interval=epochs, val_interval=epochs)


def evaluation(bundle: Bundle) -> dict[str, Any]:
    return {**TINY_TEST, **bundle.tiny_model, **bundle.tiny_evaluation}


def bundle_rows(bundle: Bundle, epochs: int) -> list[Row]:
    """What the bundles' pages share: inference, then training, evaluation, resume, two processes, exports."""
    run, training = r"python -m monai\.bundle run --config_file ", small(bundle, epochs)
    return [
        Row(run + r"configs/inference\.json( --dataset_dir (IMAGES --ratio 0\.125|RAW --kind kspace))?$"),
        Row(run + r"\"\['configs/train\.json'\]\" --tracking mlflow$", more=training),
        Row(
            run + r"\"\['configs/train\.json','configs/evaluate\.json'\]\" --tracking mlflow$", more=evaluation(bundle)
        ),
        Row(run + r"\"\['configs/train\.json'\]\" --resume_from ", more=training),
        Row("torchrun --standalone ", more={**tiny(bundle), "max_epochs": 1, "output_dir": "two"}),
        Row(r"python -m monai\.bundle (ckpt|onnx)_export "),
    ]


def trained_outside(folder: Path) -> None:
    """OUT with what the command of the privacy page has trained: three labels, images with phase."""
    (folder / "OUT").mkdir(exist_ok=True)
    made = network(PRIVACY.root, num_classes=3, labels=["a", "b", "c"], multi_label=True, real_valued=False)
    torch.save(made.state_dict(), folder / "OUT" / "model.pt")
    shutil.copy(folder / "models" / "policy.pt", folder / "OUT")


def policy_of_lines(folder: Path) -> None:
    save_policy(VariableDensity(power=3, readout_axis=0), folder / "policy.pt")


def without_out(folder: Path) -> None:
    shutil.rmtree(folder / "OUT", ignore_errors=True)


INSTALLS = "installs packages"
HOURS = "trains for hours on data outside the repository"
PACS = "needs a PACS; tests/deploy/test_pacs_programs.py runs them against Orthanc"
NAME = "a name in a sentence"
AUDIT = {"train_data#subjects": 12, "test_data#subjects": 6, "validation_data#subjects": 6, "attack_steps": 4}
AUDIT |= {"attack_mixed_precision": False, "attack_val_interval": 2, "attack_batch_size": 4}

ROWS: dict[str, list[Row]] = {
    "README.md": [
        Row("cd bundles/infomri_recon$"),
        Row(r".*'configs/train\.json'\]\"$", more=small(BUNDLES[0], 1)),
        Row(r".*'configs/evaluate\.json'\]\"$", more=evaluation(BUNDLES[0])),
        Row(r".*--dataset_dir FOLDER_OF_IMAGES"),
        Row("infomri-deploy reconstruction -i IN", before=without_out),
        Row("infomri-export-masks --checkpoint policy.pt"),
    ],
    "docs/conventions.md": [Row("python -c ")],
    "docs/deploy.md": [
        Row("python examples/hospital/(mr_series|raw_scan).py in_"),
        Row(
            r"python -m infomri_monai\.deploy\.(reconstruction|segmentation|privacy_classification) +-i IN",
            before=without_out,
        ),
        Row(r"python infomri_monai/deploy/segmentation$", "lacks the arguments of the line above it"),
        Row(r"python -m pynetdicom |dicomweb_client |find OUT |mkdir -p IN |socat |/usr/bin/|cat ours.pem", PACS),
        Row("monai-deploy ", "needs Docker and a GPU"),
        Row(r"infomri-deploy \w+$", NAME),
    ],
    "docs/index.md": [Row(r"\. \.venv/bin/activate", "changes the user's shell")],
    "docs/scanner.md": [
        Row(r"python -c \"from infomri_monai\.sampling"),
        Row("infomri-export-masks --checkpoint policy.pt"),
        Row('python -c "import pypulseq'),
        Row(r"make install && \. ", INSTALLS),
    ],
    "examples/gallery/README.md": [Row("cd examples/gallery && python 01_first_slice.py")],
    "examples/gallery/02_masks.py": [Row("infomri-export-masks --checkpoint policy.pt", before=policy_of_lines)],
    "examples/gallery/03_your_own_data.py": [Row(r".*--dataset_dir FOLDER --ratio 0\.125 --swap_axes")],
    "examples/gallery/05_segmentation.py": [Row(r".*--dataset_dir FOLDER --ratio 0\.125 --samples")],
    "examples/gallery/06_privacy.py": [Row(r".*--config_file configs/inference\.json$")],
    "docs/results/reconstruction.md": [Row(r"python -m monai\.bundle run ", "the command of the bundle's page")],
    "examples/gallery/04_train_on_your_folder.py": [
        Row("python -m monai.bundle run --config_file configs/train.json --grid")
    ],
    **{
        f"bundles/{bundle.name}/docs/README.md": bundle_rows(bundle, epochs)
        for bundle, epochs in zip(BUNDLES, (20, 30, 30), strict=True)
    },
}
ROWS["bundles/infomri_privacy_classification/docs/README.md"] += [
    Row(r".*'configs/audit\.json'\]\" --tracking mlflow$", more={**TINY_TEST, **PRIVACY.tiny_model, **AUDIT}),
    Row(r".*--model_path OUT/model\.pt", before=trained_outside),
]
ROWS["bundles/infomri_recon/docs/README.md"] += [
    Row(r".*--model_path models/model\.pt --policy_path models/policy\.pt$"),
    Row("python benchmarks/precision_and_waiting.py", "minutes of timing on a quiet machine"),
]
#: of any page
ANYWHERE = [
    Row("(OMP_WAIT_POLICY=ACTIVE )?make "),  # `make -n`: the chore exists
    Row("pip (install|wheel) ", INSTALLS),
    Row("python benchmarks/", HOURS),
    Row(r"(OMP_WAIT_POLICY=PASSIVE )?python -m (monai\.bundle run|infomri_monai\.deploy\.NAME)( …)?$", NAME),
]


def row_of(page: str, command: str) -> Row | None:
    """The row that says what to do with a command; the page's own before those of any page."""
    rows = [*ROWS.get(page, []), *ANYWHERE]
    return next((row for row in rows if re.match(row.pattern, command)), None)


def test_no_command_is_left_out_and_no_row_is_stale():
    assert len(PAGES) > 20
    found = {page: commands(page) for page in PAGES}
    unknown = [(page, command) for page in PAGES for command in found[page] if row_of(page, command) is None]
    assert not unknown
    used = {id(row_of(page, command)) for page in PAGES for command in found[page]}
    stale = [(page, row.pattern) for page, rows in ROWS.items() for row in rows if id(row) not in used]
    assert set(ROWS) <= set(PAGES)
    assert not stale
    assert sum(len(commands) for commands in found.values()) > 60


@pytest.mark.parametrize(
    "target",
    sorted({word for page in PAGES for c in commands(page) for word in re.findall(r"^(?:\w+=\S+ )?make ([\w-]+)", c)}),
)
def test_a_chore_exists(target):
    if not (ROOT / "Makefile").exists() or shutil.which("make") is None:
        pytest.skip("no make")
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def volumes(folder: Path, count: int = 2, size: int = 64) -> None:
    """Magnitude volumes of four slices, as people have them."""
    folder.mkdir(parents=True)
    x, y = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    for n in range(count):
        slices = [400 * (x**2 + y**2 < 0.5 + 0.05 * n) * (1 + 0.3 * np.cos((3 + n) * x + 2 * z)) for z in range(4)]
        image = nibabel.Nifti1Image(np.stack(slices, -1).astype(np.float32), np.diag([3, 3, 5, 1]))
        nibabel.save(image, folder / f"head{n}.nii.gz")


def copied(bundle: str, folder: Path) -> Path:
    shutil.copytree(ROOT / "bundles" / bundle, folder, ignore=shutil.ignore_patterns("output", "*.ts", "*.onnx"))
    return folder


def place(page: str, tmp_path: Path) -> Path:
    """The folder that a page's user is in, with what its words mean."""
    if page.startswith("bundles/"):
        here = copied(Path(page).parts[1], tmp_path / "bundle")
        volumes(here / "IMAGES")
        write_kspace(here / "RAW" / "scan.npz")
    elif page.startswith("examples/gallery/0"):
        bundle = {"05": "infomri_segmentation", "06": "infomri_privacy_classification"}.get(Path(page).name[:2])
        here = copied(bundle or "infomri_recon", tmp_path / "bundle")
        for name, count in (("FOLDER", 2), ("TRAIN", 4), ("VALIDATION", 1)):
            volumes(here / name, count)
        shutil.copy(here / "models" / "policy.pt", here)
    else:
        here = tmp_path
        for name in ("examples", "Makefile"):
            (here / name).symlink_to(ROOT / name)
        (here / "MODELS").symlink_to(ROOT / "bundles")
        (here / "IN").symlink_to(here / "in_dicom")
        if page == "README.md":
            volumes(copied("infomri_recon", here / "bundles" / "infomri_recon") / "FOLDER_OF_IMAGES")
            subprocess.run([sys.executable, ROOT / "examples/hospital/mr_series.py", here / "in_dicom"], check=True)
            shutil.copy(ROOT / "bundles/infomri_recon/models/policy.pt", here)
    return here


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command in a shell with this environment's programs."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | {"PATH": path}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "agg", "TMPDIR": str(folder)}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def assert_runs(command: str, more: Mapping[str, Any], folder: Path) -> None:
    words = " ".join(f"'{word}'" if not word.startswith("--") else word for word in overrides(more))
    done = shell(f"{command} {words}", folder)
    assert done.returncode == 0, f"{command} {words}\n{(done.stdout + done.stderr)[-3000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(not row.why for row in ROWS.get(page, []))])
def test_a_pages_commands_run(page, tmp_path):
    here = inner = place(page, tmp_path)
    for row in ROWS[page]:
        for command in [] if row.why else [c for c in commands(page) if row_of(page, c) is row]:
            if row.before is not None:
                row.before(here)
            if command.startswith("cd bundles"):
                inner = here / command.split()[1]
                continue
            assert_runs(command, row.more, inner if "monai.bundle" in command else here)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PNG", "DICOM"])
def test_the_command_for_own_images_takes_every_kind(kind, tmp_path):
    """The example's own images are NIfTI; PNG has no slices and no geometry, DICOM whole numbers."""
    page = "examples/gallery/04_train_on_your_folder.py"
    here = place(page, tmp_path)
    for split, count in (("TRAIN", 4), ("VALIDATION", 2)):
        shutil.rmtree(here / split)
        for n in range(count):
            if kind == "PNG":
                write_png(here / split / f"{n}.png", (64, 64), seed=n)
            else:
                write_dicom_series(here / split / str(n), (3, 64, 64), number=n + 1)
    (command,) = commands(page)
    assert_runs(command, {"max_epochs": 1}, here)
    assert (here / "OUT" / "model.pt").is_file()
