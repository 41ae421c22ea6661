"""InfoMRI on MONAI: which k-space samples to measure for a task, and how sure the answer is."""

__version__ = "0.1.0"
