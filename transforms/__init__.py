"""MONAI transforms of the acquisition: to k-space, noise, masks, undersampling, zero filling; and raters' labels.

Every transform comes as an array class ``X`` and a dictionary class ``Xd`` (aliases ``XD`` and ``XDict``) and works
alone in any ``Compose``. Data is channel-first, (channel, *spatial), optionally with a last slice axis; k-space is
complex, centred and orthonormal; masks are (1, *spatial).
"""

from infomri_monai.transforms.crop import CropKSpace, CropKSpaceD, CropKSpaced, CropKSpaceDict
from infomri_monai.transforms.fourier import (
    ImageToKSpace,
    ImageToKSpaceD,
    ImageToKSpaced,
    ImageToKSpaceDict,
    KSpaceToImage,
    KSpaceToImageD,
    KSpaceToImaged,
    KSpaceToImageDict,
)
from infomri_monai.transforms.mask import RandSampleMask, RandSampleMaskD, RandSampleMaskd, RandSampleMaskDict
from infomri_monai.transforms.noise import RandKSpaceNoise, RandKSpaceNoiseD, RandKSpaceNoised, RandKSpaceNoiseDict
from infomri_monai.transforms.rand_rater import RandRater, RandRaterD, RandRaterd, RandRaterDict
from infomri_monai.transforms.raters import MISSING_RATER, check_label, present_raters
from infomri_monai.transforms.simulate import (
    SimulateAcquisition,
    SimulateAcquisitionD,
    SimulateAcquisitiond,
    SimulateAcquisitionDict,
    SimulatedAcquisition,
)
from infomri_monai.transforms.simulate_raters import (
    SimulateRaters,
    SimulateRatersD,
    SimulateRatersd,
    SimulateRatersDict,
)
from infomri_monai.transforms.smooth_field import smooth_field
from infomri_monai.transforms.stack_raters import StackRaters, StackRatersD, StackRatersd, StackRatersDict
from infomri_monai.transforms.undersample import (
    Undersample,
    UndersampleD,
    Undersampled,
    UndersampleDict,
    ZeroFilled,
    ZeroFilledD,
    ZeroFilledd,
    ZeroFilledDict,
)

__all__ = [
    "MISSING_RATER",
    "CropKSpace",
    "CropKSpaceD",
    "CropKSpaceDict",
    "CropKSpaced",
    "ImageToKSpace",
    "ImageToKSpaceD",
    "ImageToKSpaceDict",
    "ImageToKSpaced",
    "KSpaceToImage",
    "KSpaceToImageD",
    "KSpaceToImageDict",
    "KSpaceToImaged",
    "RandKSpaceNoise",
    "RandKSpaceNoiseD",
    "RandKSpaceNoiseDict",
    "RandKSpaceNoised",
    "RandRater",
    "RandRaterD",
    "RandRaterDict",
    "RandRaterd",
    "RandSampleMask",
    "RandSampleMaskD",
    "RandSampleMaskDict",
    "RandSampleMaskd",
    "SimulateAcquisition",
    "SimulateAcquisitionD",
    "SimulateAcquisitionDict",
    "SimulateAcquisitiond",
    "SimulateRaters",
    "SimulateRatersD",
    "SimulateRatersDict",
    "SimulateRatersd",
    "SimulatedAcquisition",
    "StackRaters",
    "StackRatersD",
    "StackRatersDict",
    "StackRatersd",
    "Undersample",
    "UndersampleD",
    "UndersampleDict",
    "Undersampled",
    "ZeroFilled",
    "ZeroFilledD",
    "ZeroFilledDict",
    "ZeroFilledd",
    "check_label",
    "present_raters",
    "smooth_field",
]
