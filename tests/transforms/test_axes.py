"""Which axis is which, at every door: what is certainly wrong is refused, what is likely wrong is said, what is right passes."""

import warnings

import numpy as np
import pytest
import torch
from helper import refuses
from kspace_transforms import EVERY, Flat, many_raters, real_image
from monai.data import MetaTensor, list_data_collate
from monai.transforms import EnsureChannelFirst, LoadImage
from PIL import Image

from infomri_monai import transforms as t
from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.data import extract_slice, image_slices
from infomri_monai.engines import VolumeInferer
from infomri_monai.networks import UnrolledReconstructor
from infomri_monai.sampling import UniformRandom
from infomri_monai.systems import ReconstructionSystem
from infomri_monai.transforms.axes import likely_slice_axis

DOORS = [
    *[
        (transform, data)
        for transform, data in EVERY
        if data is not many_raters and "CropKSpace" not in type(transform).__name__
    ],
    (t.CropKSpace(1, domain="image"), real_image),
    (lambda x: t.SimulateAcquisitiond("x", Flat(), 0.5)({"x": x}), real_image),
]


def inferred(image, **options):
    inferer = VolumeInferer(UniformRandom(), FourierMeasurement(), 0.5, progress=False)
    return inferer(image[None], UnrolledReconstructor(phases=1, channels=2), **options)


@pytest.mark.parametrize(("call", "data"), DOORS)
@pytest.mark.parametrize(
    "shape", [(8, 1, 96, 80), (2, 1, 5, 7), (1, 1, 64, 20), (1, 64, 1, 20), (96, 80, 1), (40, 64, 1)]
)
def test_a_batch_and_a_channel_at_the_end_are_refused(call, data, shape):
    told = "channel comes first and slices come last, and there is no batch axis"
    refuses(ValueError, told, call, data(*shape))
    refuses(ValueError, "is read as", call, MetaTensor(data(*shape)))


@pytest.mark.parametrize(("call", "data"), DOORS)
@pytest.mark.parametrize("shape", [(1, 20, 128, 112), (1, 128, 20, 112), (1, 3, 96, 80), (96, 80, 3)])
def test_slices_or_channels_elsewhere_are_said(call, data, shape):
    with pytest.warns(UserWarning, match=r"is read as .* channels of .*comes first"):
        call(data(*shape))


LEGITIMATE = [
    *[(1, 96, 80), (1, 1, 64), (1, 64, 1), (8, 64, 1), (1, 7, 200), (32, 64, 64), (4, 64, 64), (64, 64, 64)],
    *[(1, 64, 64, 400), (1, 256, 64, 20), (1, 64, 256, 100), (1, 240, 240, 155), (1, 176, 256, 256), (1, 256, 256, 20)],
    *[(32, 64, 64, 1), (1, 96, 80, 1), (1, 1, 64, 1), (2, 6, 5, 3), (1, 5, 6, 40)],
]


@pytest.mark.parametrize("shape", LEGITIMATE)
def test_no_false_alarm(shape):
    """EPI, anisotropic and thin grids, single lines, many coils, one slice, and thick or isotropic volumes."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert t.RandSampleMask(Flat(), 0.5)(torch.ones(shape)).mask.ndim == len(shape)


def spaced(shape, *steps):
    return MetaTensor(torch.ones(1, *shape), affine=torch.diag(torch.tensor([*steps, 1.0])))


def test_steps_tell_where_the_slices_lie():
    """A sagittal examination after Orientationd(axcodes="RAS") has its slices first; thick ones at the end are right."""
    sample = t.RandSampleMask(Flat(), 0.5)
    with pytest.warns(UserWarning, match=r"slices lie along axis 1\? movedim\(1, -1\)"):
        sample(spaced((60, 128, 112), 3, 1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample(spaced((60, 128, 112), 3, 3, 3))
        sample(spaced((32, 128, 112), 1, 1, 4))
        sample(spaced((128, 112, 60), 1, 1, 3))
    assert likely_slice_axis((128, 112, 60), (1, 1, 3)) == likely_slice_axis((128, 112, 20)) == 2


def test_metadata_tell_of_batches_and_missing_channels(tmp_path):
    batch = list_data_collate([MetaTensor(torch.ones(1, 8, 6)) for _ in range(2)])
    refuses(ValueError, "batch of a data loader", t.ImageToKSpace(3), batch)
    t.ImageToKSpace()(batch[0])
    np.save(tmp_path / "volume.npy", np.ones((12, 10, 4), np.float32))
    volume = LoadImage()(tmp_path / "volume.npy")
    refuses(ValueError, "no channel axis was put first", t.ImageToKSpace(), volume)
    refuses(ValueError, "no channel axis was put first", extract_slice, volume, 0)
    refuses(
        ValueError, "image 'y'.*is read as", t.RandSampleMaskd(("x", "y"), Flat(), 0.5), {"x": batch[0], "y": volume}
    )
    assert t.ImageToKSpace()(EnsureChannelFirst()(volume)).shape == (1, 12, 10, 4)
    assert t.ImageToKSpace()(EnsureChannelFirst()(volume)[..., 0]).shape == (1, 12, 10)
    Image.fromarray(np.ones((9, 7, 3), np.uint8)).save(tmp_path / "colours.png")
    colours = LoadImage()(tmp_path / "colours.png")
    refuses(ValueError, "no channel axis was put first", t.ImageToKSpace(), colours)
    assert t.ImageToKSpace()(EnsureChannelFirst()(colours)).shape == (3, 7, 9)


def test_labels_have_raters_first_and_structures_second():
    assert t.RandRater()(torch.zeros(6, 1, 96, 80, dtype=torch.uint8)).shape == (1, 1, 96, 80)
    assert t.RandRater()(torch.zeros(2, 3, 128, 112, dtype=torch.uint8)).shape == (1, 3, 128, 112)


def test_inferers_systems_and_policies():
    refuses(ValueError, "one pixel wide", inferred, torch.ones(1, 1, 16, 12))
    with pytest.warns(UserWarning, match="do slices lie along axis 1"):
        inferred(torch.ones(1, 3, 40, 33))
    system = ReconstructionSystem(UniformRandom(), FourierMeasurement(), UnrolledReconstructor(phases=1, channels=2))
    for shape in ((96, 80), (8, 96, 80), (1, 96, 80, 1), (1, 1, 96, 80, 3)):
        refuses(ValueError, r"image must have shape \(batch, 1, \*spatial\)", system, torch.ones(shape), 0.5)
    refuses(ValueError, "without batch and channel", UniformRandom(), 0.5, (8, 1, 96, 80))
    assert UniformRandom()(0.5, (4, 5, 6)).mask.shape == (1, 1, 4, 5, 6)


def test_slices_of_a_folder_are_cut_where_they_lie(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(np.ones((12, 40, 44), np.float32), np.diag([5.0, 1, 1, 1]))
    image.to_filename(tmp_path / "sagittal.nii")
    for eager in (True, False):
        with pytest.warns(UserWarning, match="slices of an image seem to lie along axis 0"):
            image_slices(tmp_path, eager=eager)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(image_slices(tmp_path, axis=0)) == 12
        assert len(image_slices(tmp_path, axis=1)) == 40  # whoever names another axis wants it
