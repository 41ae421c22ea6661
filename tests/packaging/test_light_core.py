"""What the light core loads: a user of the transforms pays for nothing else."""

from __future__ import annotations

import subprocess
import sys

CORE = "import infomri_monai.transforms, infomri_monai.sampling, infomri_monai.acquisition"
#: requirements of other rooms
HEAVY = ("mlflow", "itk", "matplotlib", "pandas", "ignite")


def python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def loaded(statement: str) -> set[str]:
    """Names of all modules after a statement in a fresh Python."""
    return set(python(f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))").split())


def test_the_core_loads_no_heavy_module_and_no_other_room():
    more = loaded(CORE) - loaded("import monai.transforms")  # MONAI itself loads some, where they are installed
    rooms = {name.split(".")[1] for name in more if name.startswith("infomri_monai.")}
    assert rooms == {"transforms", "sampling", "acquisition", "arrays", "files"}
    others = {name.split(".")[0] for name in more} - {"infomri_monai"}
    assert others <= set(sys.stdlib_module_names), f"the core loads {sorted(others)}, which MONAI's transforms do not"


def test_the_core_works_where_no_heavy_module_can_be_imported():
    program = f"""
import sys
sys.modules |= dict.fromkeys({HEAVY!r})
{CORE}
import torch
from infomri_monai.sampling import VariableDensity
from infomri_monai.transforms import SimulateAcquisitiond
simulate = SimulateAcquisitiond("image", VariableDensity(), ratio=0.25)
print(simulate({{"image": torch.rand(1, 16, 16)}})["image"].shape)
"""
    assert "torch.Size([1, 16, 16])" in python(program)
