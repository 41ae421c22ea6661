"""Reading a file of ``torch.save`` that holds nothing but tensors and plain types."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from infomri_monai.intact import check_intact, is_of_disk

__all__ = ["read_plain"]


def read_plain(path: str | os.PathLike[str], map_location: str | torch.device = "cpu") -> Any:
    """Read tensors and plain types; nothing in the file is executed, and every complaint about its content names the file.

    Args:
        path: file of ``torch.save``.
        map_location: device of the tensors.

    Returns:
        The content.

    Raises:
        OSError: if the file cannot be read: there is none, a right is missing, or the disk fails.
        ValueError: if the file is damaged (also where only a checksum tells) or holds anything else (a pickle that would execute
            code).

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "model.pt"
        >>> torch.save({"power": 4.0}, path)
        >>> read_plain(path)
        {'power': 4.0}
        >>> _ = path.write_text("rubbish")
        >>> read_plain(path)
        Traceback (most recent call last):
        ValueError: ...model.pt is ...
    """
    path = Path(path)
    check_intact(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.load warns about archives that it then refuses
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is not a plain checkpoint: it is damaged or holds objects that would execute code; it is refused."
        ) from error
    except Exception as error:  # torch.load passes on what its zip and pickle readers raise
        if is_of_disk(error):
            raise
        raise ValueError(f"{path} is damaged or not a PyTorch checkpoint ({type(error).__name__}).") from error
