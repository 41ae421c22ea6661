"""Readers that give MONAI data lists with documented splits; the default data needs no download."""

from infomri_monai.data.brain_tumour_side import brain_tumour_side
from infomri_monai.data.brisc import brisc
from infomri_monai.data.cases import inference_cases
from infomri_monai.data.check_classes import check_classes
from infomri_monai.data.class_frequency import class_frequencies
from infomri_monai.data.decathlon import decathlon_slices
from infomri_monai.data.embedded import SPLITS, TISSUES, embedded_subjects
from infomri_monai.data.embedded_lesions import embedded_lesions
from infomri_monai.data.embedded_segmentation import embedded_segmentation
from infomri_monai.data.extract import ExtractSliceD, ExtractSliced, ExtractSliceDict, extract_slice
from infomri_monai.data.fastmri import fastmri_knee, read_split
from infomri_monai.data.fastmri_labels import KNEE_LABELS
from infomri_monai.data.fastmri_plus import FASTMRI_PLUS_VOLUMES, fastmri_plus_knee, fastmri_plus_volumes
from infomri_monai.data.fastmri_slice import ReadFastMRISliceD, ReadFastMRISliced, ReadFastMRISliceDict
from infomri_monai.data.folder import image_slices
from infomri_monai.data.kspace_statistics import kspace_statistics, load_kspace_statistics, marginal_entropy_of
from infomri_monai.data.labelled_slice import ReadLabelledSliceD, ReadLabelledSliced, ReadLabelledSliceDict
from infomri_monai.data.mnist import MNIST_SPLITS, mnist
from infomri_monai.data.npz import BRAIN_COMPLEX_SPLITS, brain_50, brain_complex_180, npz_slices
from infomri_monai.data.prepare import prepare_images
from infomri_monai.data.qubiq import qubiq_prostate
from infomri_monai.data.read_case import CaseDataset, ReadCaseD, ReadCased, ReadCaseDict
from infomri_monai.data.segmentation_sets import brain_tumour_1380, hippocampus_200
from infomri_monai.data.skm_tea import SKM_TEA_STRUCTURES, skm_tea
from infomri_monai.data.skm_tea_slice import ReadSKMTEASliceD, ReadSKMTEASliced, ReadSKMTEASliceDict
from infomri_monai.data.spectrum import mean_kspace_magnitude

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
