"""Readers that give MONAI data lists with documented splits; the default data needs no download."""

from infomri_monai.data.brain_tumour import brain_tumour_1380, brain_tumour_side
from infomri_monai.data.brisc import brisc
from infomri_monai.data.cases import CaseDataset, ReadCaseD, ReadCased, ReadCaseDict, inference_cases
from infomri_monai.data.decathlon import ReadLabelledSliceD, ReadLabelledSliced, ReadLabelledSliceDict, decathlon_slices
from infomri_monai.data.embedded import SPLITS, TISSUES, embedded_lesions, embedded_segmentation, embedded_subjects
from infomri_monai.data.fastmri import (
    ReadFastMRISliceD,
    ReadFastMRISliced,
    ReadFastMRISliceDict,
    fastmri_knee,
    read_split,
)
from infomri_monai.data.fastmri_plus import FASTMRI_PLUS_VOLUMES, KNEE_LABELS, fastmri_plus_knee, fastmri_plus_volumes
from infomri_monai.data.hippocampus import hippocampus_200
from infomri_monai.data.kspace_statistics import (
    kspace_statistics,
    load_kspace_statistics,
    marginal_entropy_of,
    mean_kspace_magnitude,
)
from infomri_monai.data.labels import check_classes, class_frequencies
from infomri_monai.data.mnist import MNIST_SPLITS, mnist
from infomri_monai.data.npz import BRAIN_COMPLEX_SPLITS, brain_50, brain_complex_180, npz_slices
from infomri_monai.data.prepare import prepare_images
from infomri_monai.data.qubiq import qubiq_prostate
from infomri_monai.data.skm_tea import (
    SKM_TEA_STRUCTURES,
    ReadSKMTEASliceD,
    ReadSKMTEASliced,
    ReadSKMTEASliceDict,
    skm_tea,
)
from infomri_monai.data.volumes import ExtractSliceD, ExtractSliced, ExtractSliceDict, extract_slice, image_slices

__all__ = [
    "BRAIN_COMPLEX_SPLITS",
    "FASTMRI_PLUS_VOLUMES",
    "KNEE_LABELS",
    "MNIST_SPLITS",
    "SKM_TEA_STRUCTURES",
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
    "ReadLabelledSliceD",
    "ReadLabelledSliceDict",
    "ReadLabelledSliced",
    "ReadSKMTEASliceD",
    "ReadSKMTEASliceDict",
    "ReadSKMTEASliced",
    "brain_50",
    "brain_complex_180",
    "brain_tumour_1380",
    "brain_tumour_side",
    "brisc",
    "check_classes",
    "class_frequencies",
    "decathlon_slices",
    "embedded_lesions",
    "embedded_segmentation",
    "embedded_subjects",
    "extract_slice",
    "fastmri_knee",
    "fastmri_plus_knee",
    "fastmri_plus_volumes",
    "hippocampus_200",
    "image_slices",
    "inference_cases",
    "kspace_statistics",
    "load_kspace_statistics",
    "marginal_entropy_of",
    "mean_kspace_magnitude",
    "mnist",
    "npz_slices",
    "prepare_images",
    "qubiq_prostate",
    "read_split",
    "skm_tea",
]
