"""What the tests of the transforms share: a small law, the array types, and every transform with data it takes."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor

from infomri_monai import transforms
from infomri_monai.sampling import SamplingPolicy
from infomri_monai.sampling.draw import exact_count_threshold

AFFINE = torch.tensor([[2.0, 0, 0, -5], [0, 3.0, 0, 7], [0, 0, 4.0, 1], [0, 0, 0, 1]], dtype=torch.float64)


class Flat(SamplingPolicy):
    """Uniform law with an exact count, for any grid; independent of the package's own laws."""

    def draw(self, ratio, positions, generator, acquired):
        p = ratio.reshape(-1, 1, *[1] * len(positions)).expand(-1, 1, *positions)
        u = torch.rand(p.shape, generator=generator)
        n = p[0].numel()
        flat = p.flatten(1)
        chosen = flat > exact_count_threshold(flat, u.flatten(1), torch.round(ratio * n).clamp(1, n).long())
        return chosen.float().reshape(p.shape), p


def as_numpy(tensor):
    return tensor.numpy()


def as_torch(tensor):
    return tensor.clone()


def as_meta(tensor):
    return MetaTensor(tensor, affine=AFFINE.clone(), meta={"filename_or_obj": "subject.nii"})


ARRAY_TYPES = [as_numpy, as_torch, as_meta]


def real_image(*shape, seed=0, dtype=torch.float32):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def complex_data(*shape, seed=0, dtype=torch.complex64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def expert_label(*shape, seed=0):
    return torch.randint(2, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def many_raters(*shape, seed=0):
    """Labels of 40 raters, whatever the first axis of ``shape``; floats, which can hold the NaN to refuse."""
    return expert_label(40, *shape[1:], seed=seed).float()


#: (array transform, data it takes)
DETERMINISTIC = [
    (transforms.ImageToKSpace(), real_image),
    (transforms.ImageToKSpace(), complex_data),
    (transforms.KSpaceToImage(), complex_data),
    (transforms.CropKSpace((4, 3)), complex_data),
    (transforms.CropKSpace((4, 3), domain="image"), real_image),
    (transforms.CropKSpace((4, 3), domain="image"), complex_data),
    (transforms.ZeroFilled(channels=False), complex_data),
]

#: (constructor of an array transform, of its dictionary version, data it takes)
RANDOM = [
    (transforms.RandKSpaceNoise, lambda keys: transforms.RandKSpaceNoised(keys), complex_data),
    (
        lambda: transforms.RandSampleMask(Flat(), (0.2, 0.6)),
        lambda keys: transforms.RandSampleMaskd(keys, Flat(), (0.2, 0.6)),
        real_image,
    ),
    (
        lambda: transforms.SimulateAcquisition(Flat(), (0.2, 0.6)),
        lambda keys: transforms.SimulateAcquisitiond(keys, Flat(), (0.2, 0.6)),
        real_image,
    ),
    (transforms.RandRater, lambda keys: transforms.RandRaterd(keys), many_raters),
]

EVERY = [*DETERMINISTIC, *((make(), data) for make, _, data in RANDOM)]

#: (dictionary transform of key "x", data it takes, keys it adds)
DICTIONARY = [
    (transforms.ImageToKSpaced("x"), real_image, set()),
    (transforms.KSpaceToImaged("x"), complex_data, set()),
    (transforms.CropKSpaced("x", 4), complex_data, set()),
    (transforms.RandKSpaceNoised("x"), complex_data, set()),
    (transforms.RandSampleMaskd("x", Flat(), 0.3), real_image, {"mask", "ratio"}),
    (transforms.Undersampled("x", mask_key="given"), complex_data, set()),
    (transforms.ZeroFilledd("x"), complex_data, {"zero_filled"}),
    (transforms.SimulateAcquisitiond("x", Flat(), 0.3), real_image, {"kspace", "mask", "ratio", "zero_filled"}),
    (transforms.RandRaterd("x"), expert_label, set()),
    (transforms.SimulateRatersd("x", "index"), expert_label, {"simulated_raters"}),
]


def numbers(result):
    """All numbers of a tensor, a named tuple or a dictionary as one float64 array, for exact comparison."""
    if isinstance(result, dict):
        result = [result[key] for key in sorted(result)]
    if isinstance(result, (tuple, list)):
        return np.concatenate([numbers(part) for part in result])
    tensor = torch.as_tensor(result)
    tensor = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
    tensor = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return tensor.detach().double().flatten().numpy()
