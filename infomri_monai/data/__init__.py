"""Readers that give MONAI data lists with documented splits; the default data needs no download."""

from infomri_monai.data.cases import inference_cases
from infomri_monai.data.embedded import SPLITS, TISSUES, embedded_subjects
from infomri_monai.data.extract import ExtractSliceD, ExtractSliced, ExtractSliceDict, extract_slice
from infomri_monai.data.fastmri import fastmri_knee, read_split
from infomri_monai.data.fastmri_slice import ReadFastMRISliceD, ReadFastMRISliced, ReadFastMRISliceDict
from infomri_monai.data.folder import image_slices
from infomri_monai.data.npz import BRAIN_COMPLEX_SPLITS, brain_50, brain_complex_180, npz_slices
from infomri_monai.data.prepare import prepare_images
from infomri_monai.data.read_case import CaseDataset, ReadCaseD, ReadCased, ReadCaseDict
from infomri_monai.data.spectrum import mean_kspace_magnitude

__all__ = [
    "BRAIN_COMPLEX_SPLITS",
    "SPLITS",
    "TISSUES",
    "CaseDataset",
    "ExtractSliceD",
    "ExtractSliceDict",
    "ExtractSliced",
    "ReadCaseD",
    "ReadCaseDict",
    "ReadCased",
    "ReadFastMRISliceD",
    "ReadFastMRISliceDict",
    "ReadFastMRISliced",
    "brain_50",
    "brain_complex_180",
    "embedded_subjects",
    "extract_slice",
    "fastmri_knee",
    "image_slices",
    "inference_cases",
    "mean_kspace_magnitude",
    "npz_slices",
    "prepare_images",
    "read_split",
]
