"""Images per second of SimulateAcquisitiond and of MONAI's own FFT + RandomKspaceMaskd, side by side in one run.

Both get a 256 x 256 MetaTensor, as LoadImaged leaves it, inside a Compose, at ratio 1/8. MONAI's chain knows 1D masks
only and adds no noise; so the rows of ours are 1D lines and 2D positions, each with and without noise, and MONAI's is
measured without noise and with its RandGaussianNoised on the two k-space channels. The rows take turns (interleaved),
the median time counts.

Usage: python benchmarks/transform_speed.py [--repeats 300]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import monai
import torch
from monai.apps.reconstruction.complex_utils import convert_to_tensor_complex
from monai.apps.reconstruction.transforms.dictionary import RandomKspaceMaskd
from monai.data import MetaTensor
from monai.data.fft_utils import fftn_centered
from monai.transforms import Compose, Lambdad, RandGaussianNoised

from infomri_monai.sampling import VariableDensity
from infomri_monai.transforms import SimulateAcquisitiond

RESULT = Path(__file__).parent / "results" / "transform_speed.json"
SIZE, RATIO, NOISE_STD = 256, 0.125, 0.01


def native_fft(image: torch.Tensor) -> torch.Tensor:
    """MONAI's centred FFT, native complex: the faster of its two ways."""
    return fftn_centered(image, spatial_dims=2, is_complex=False)


def channel_fft(image: torch.Tensor) -> torch.Tensor:
    """MONAI's centred FFT, two real channels last: what RandGaussianNoised can take."""
    return fftn_centered(convert_to_tensor_complex(image.to(torch.complex64)), spatial_dims=2)


def rows() -> dict[str, Compose]:
    """The pipelines to compare, by name."""
    mask = {"center_fractions": [0.04], "accelerations": [1 / RATIO]}
    lines, plane = VariableDensity(readout_axis=0), VariableDensity()
    return {
        "monai": Compose([Lambdad("image", native_fft, track_meta=False), RandomKspaceMaskd("image", **mask)]),
        "monai with noise": Compose(
            [
                Lambdad("image", channel_fft, track_meta=False),
                RandGaussianNoised("image", prob=1.0, std=NOISE_STD, sample_std=False),
                RandomKspaceMaskd("image", **mask),
            ]
        ),
        "lines": Compose([SimulateAcquisitiond("image", lines, RATIO, noise_std=0)]),
        "lines with noise": Compose([SimulateAcquisitiond("image", lines, RATIO, noise_std=NOISE_STD)]),
        "plane": Compose([SimulateAcquisitiond("image", plane, RATIO, noise_std=0)]),
        "plane with noise": Compose([SimulateAcquisitiond("image", plane, RATIO, noise_std=NOISE_STD)]),
    }


def seconds(pipeline: Callable[[Any], Any], data: dict[str, Any]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    pipeline(data)
    return time.perf_counter() - start


def measure(repeats: int) -> dict[str, Any]:
    """Median images per second of every row, and the ratios to MONAI's."""
    image = torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    data = {"image": MetaTensor(image, meta={"filename_or_obj": "image.nii.gz"})}
    pipelines = rows()
    times: dict[str, list[float]] = {name: [] for name in pipelines}
    for repeat in range(repeats + 10):
        for name, pipeline in pipelines.items():
            spent = seconds(pipeline, data)
            if repeat >= 10:  # the first calls warm up
                times[name].append(spent)
    rate = {name: 1 / median(values) for name, values in times.items()}
    ours = [name for name in rate if not name.startswith("monai")]
    return {
        "images_per_second": {name: round(value, 1) for name, value in rate.items()},
        "ratio_to_monai": {name: round(rate[name] / rate["monai"], 2) for name in ours},
        "ratio_to_monai_with_noise": {
            name: round(rate[name] / rate["monai with noise"], 2) for name in ours if name.endswith("with noise")
        },
    }


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=300)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "grid": [SIZE, SIZE],
        "ratio": RATIO,
        "repeats": arguments.repeats,
        **measure(arguments.repeats),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "monai": monai.__version__},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
