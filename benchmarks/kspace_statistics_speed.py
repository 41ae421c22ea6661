"""Streaming k-space statistics against reading the slices they are computed from, one core.

Slices of 256 x 256 are written as gzipped NIfTI (int16, as scanners' converters write), compressed ``.npz`` (float32) and HDF5 in
fastMRI's layout (complex64 k-space of 640 x 368 whose centre is kept, not compressed), and read by the package's own readers from
files that the operating system holds in memory already, which is reading at its fastest. The statistics, with the checksum of the
data, are then streamed over the very slices that were read. Both take turns; processor seconds count. A ratio of 1 or more says
that statistics never keep reading waiting.

Run ``python benchmarks/kspace_statistics_speed.py``; it prints the table and writes
``benchmarks/results/kspace_statistics_speed.json``.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import h5py
import nibabel
import numpy as np
import torch
from torch import Tensor

from infomri_monai.acquisition import kspace_to_image
from infomri_monai.data import ReadFastMRISliced, fastmri_knee, image_slices, kspace_statistics, npz_slices
from infomri_monai.sampling.draw import centre_distance

GRID, FASTMRI_GRID = (256, 256), (640, 368)
VOLUMES, SLICES = 2, 32
RUNS = 9
LIMIT = 1.0
RESULT = Path(__file__).parent / "results" / "kspace_statistics_speed.json"
Entries = list[dict[str, Any]]


def kspace(grid: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A volume whose spectrum falls like 1/k, (slice, *grid), complex."""
    fall_off = 1 / centre_distance(grid).clamp_min(2 / grid[0]).reshape(grid)
    return fall_off * torch.randn((SLICES, *grid), generator=generator, dtype=torch.complex64)


def write(folder: Path) -> None:
    """The same kind of volumes in every format."""
    generator = torch.Generator().manual_seed(0)
    stacks = []
    for number in range(VOLUMES):
        image = kspace_to_image(kspace(GRID, generator)).abs().numpy()
        integers = np.round(image * (2000 / image.max())).astype(np.int16)
        (folder / "nifti").mkdir(exist_ok=True)
        nibabel.Nifti1Image(integers.transpose(1, 2, 0), np.eye(4)).to_filename(folder / "nifti" / f"{number}.nii.gz")
        stacks.append(image)
        (folder / "fastmri").mkdir(exist_ok=True)
        with h5py.File(folder / "fastmri" / f"file{number}.h5", "w") as file:
            file["kspace"] = kspace(FASTMRI_GRID, generator).numpy()
    np.savez_compressed(folder / "stack.npz", images=np.concatenate(stacks))


def readers(folder: Path) -> dict[str, Callable[[], Entries]]:
    """One function a format; each reads all slices."""
    read = ReadFastMRISliced("kspace", crop=GRID, target_key=None)

    def fastmri() -> Entries:
        return [read(entry) for entry in fastmri_knee(folder / "fastmri", require=["kspace"])]

    return {
        "NIfTI .nii.gz": lambda: image_slices(folder / "nifti"),
        "compressed .npz": lambda: npz_slices(folder / "stack.npz", "images"),
        "HDF5, fastMRI's layout": fastmri,
    }


def seconds(call: Callable[[], object]) -> float:
    """Processor seconds of one call: both run on one thread, and other processes' turns do not count."""
    start = time.process_time()
    call()
    return time.process_time() - start


def compare(name: str, read: Callable[[], Entries]) -> dict[str, Any]:
    """Times of RUNS alternating runs, after one of each to warm up."""
    data = read()
    kspace_statistics(data)
    times = [(seconds(read), seconds(lambda: kspace_statistics(data))) for _ in range(RUNS)]
    reading, streaming = ([1e3 * t[i] / len(data) for t in times] for i in (0, 1))
    return {
        "format": name,
        "dtype": str(torch.as_tensor(data[0]["image"]).dtype).removeprefix("torch."),
        "reading_ms_per_slice": round(median(reading), 3),
        "reading_range": [round(min(reading), 3), round(max(reading), 3)],
        "streaming_ms_per_slice": round(median(streaming), 3),
        "streaming_range": [round(min(streaming), 3), round(max(streaming), 3)],
        "ratio": round(median(a / b for a, b in zip(reading, streaming, strict=True)), 2),
    }


def main() -> None:
    """Measure, print and write."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        rows = [compare(name, read) for name, read in readers(Path(folder)).items()]
    machine = {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads_used": 1,
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "monai", "nibabel", "h5py")},
    }
    task = {"grid": GRID, "slices": VOLUMES * SLICES, "runs": RUNS, "limit": {"ratio": LIMIT}}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({**task, "results": rows, "machine": machine}, indent=2) + "\n")
    for row in rows:
        print(
            f"{row['format']} ({row['dtype']}): reading {row['reading_ms_per_slice']:.2f} ms a slice, statistics "
            f"{row['streaming_ms_per_slice']:.2f} ms, ratio {row['ratio']:.2f} (>= {LIMIT})"
        )


if __name__ == "__main__":
    main()
