"""Package infomri-monai. ``transforms/`` is mapped to ``infomri_monai.transforms``, so install before use."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "infomri_monai/__init__.py").read_text()).group(1)

EXTRAS = {
    "poisson": ["numba"],
    "embedded": ["nilearn"],
    "data": ["h5py", "nilearn", "pillow", "pydicom"],
    "figures": ["matplotlib"],
    "export": ["onnx", "onnxruntime", "onnxscript"],
    "bundle": ["fire", "jsonschema", "pandas"],
}
# the MONAI Deploy App SDK has wheels for Linux only; python-gdcm decodes compressed pixel data
DEPLOY = [
    "h5py",
    "highdicom",
    "ismrmrd",
    "monai-deploy-app-sdk>=4.0; platform_system == 'Linux'",
    "pydicom>=3",
    "pypulseq",
    "python-gdcm",
    "pyyaml",
]
# their programs find, fetch and store at a PACS; the applications need neither
PACS = ["dicomweb-client", "pynetdicom"]
TEST = [
    "build",
    "filelock",
    "hypothesis",
    "mypy",
    "pytest",
    "pytest-timeout",
    "pytest-xdist",
    "ruff",
    "scikit-image",
    "scikit-learn",
    "setuptools>=68",
    "sigpy",
    *PACS,
]
DOCS = ["mkdocs-gallery", "mkdocs-material", "mkdocstrings[python]"]
COMMANDS = {
    "infomri-deploy": "infomri_monai.deploy.__main__:main",
    "infomri-export-masks": "infomri_monai.scanner.export:main",
}

setup(
    name="infomri-monai",
    version=VERSION,
    description="Task-adapted, information-theoretic compressed-sensing MRI (InfoMRI) as MONAI transforms and bundles",
    long_description=(ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=["infomri_monai.transforms", *find_packages(include=["infomri_monai", "infomri_monai.*"])],
    package_dir={"infomri_monai.transforms": "transforms"},
    package_data={"infomri_monai": ["py.typed", "deploy/*/app.yaml", "deploy/*/requirements.txt"]},
    install_requires=[
        "monai>=1.6.1",
        "torch>=2.6",
        "numpy>=2",
        "nibabel",
        "pytorch-ignite",
        "itk",
        "mlflow",
        "einops",
        "tqdm",
    ],
    extras_require={
        **EXTRAS,
        "all": sorted({p for extra in EXTRAS.values() for p in extra}),
        "deploy": DEPLOY,
        "pacs": PACS,
        "test": TEST,
        "docs": DOCS,
    },
    entry_points={"console_scripts": [f"{name} = {function}" for name, function in COMMANDS.items()]},
)
