"""Networks: reconstructors that return a mean and a variance per pixel, and task models that return segmentations."""

from infomri_monai.networks.certain_segmenters import DeterministicSegmenter, ReconstructThenSegment
from infomri_monai.networks.checkpoint import load_network
from infomri_monai.networks.classifier import ImageClassifier
from infomri_monai.networks.gaussian import channels_to_complex, complex_to_channels, magnitude_log_variance
from infomri_monai.networks.latent import latent_noise
from infomri_monai.networks.latent_segmenter import LatentSegmenter
from infomri_monai.networks.reconstructors import GaussianUNet, ThreeLayerReconstructor, UnrolledReconstructor
from infomri_monai.networks.task_model import TaskModel, TaskPass, TaskPosterior

__all__ = [
    "DeterministicSegmenter",
    "GaussianUNet",
    "ImageClassifier",
    "LatentSegmenter",
    "ReconstructThenSegment",
    "TaskModel",
    "TaskPass",
    "TaskPosterior",
    "ThreeLayerReconstructor",
    "UnrolledReconstructor",
    "channels_to_complex",
    "complex_to_channels",
    "latent_noise",
    "load_network",
    "magnitude_log_variance",
]
