"""InfoMRI on MONAI: which k-space samples to measure for a task, and how sure the answer is."""

import warnings

__version__ = "0.1.0"

# where the extra deploy is installed, importing MONAI imports Holoscan, which warns of a small stack; its applications raise the
# limit themselves (deploy/launch.py), nothing else here needs it
warnings.filterwarnings("ignore", message="Current stack size", category=RuntimeWarning)
