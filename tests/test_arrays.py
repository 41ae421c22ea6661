"""The doors of arrays and numbers: what is cast, what is refused by name, and what is not copied."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helper import refusals

from infomri_monai.arrays import as_label, as_mask, as_number, as_numbers, as_tensor, as_values, as_whole, takes


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (np.array([1, 2], np.ulonglong), torch.int64),
        (np.array([1, 2], ">u2")[::-1], torch.int32),
        (np.array([1, 2], np.longdouble), torch.float64),
        (np.array([1, 2], np.clongdouble), torch.complex128),
        (np.float16(2), torch.float16),
        (torch.ones(2).to(torch.float8_e5m2), torch.float32),
        (torch.ones(2, dtype=torch.complex64).conj(), torch.complex64),
    ],
)
def test_types_that_torch_hardly_knows_become_the_next_that_it_computes_with(data, dtype):
    tensor = as_tensor(data, "data")
    assert tensor.dtype == dtype
    assert tensor.numpy().tolist() == (data.tolist() if isinstance(data, np.generic | np.ndarray) else [1, 1])


def test_what_fits_is_not_copied():
    array, tensor = np.ones(3, np.float32), torch.ones(3, requires_grad=True)
    assert as_tensor(array, "a").data_ptr() == array.ctypes.data
    assert as_numbers(tensor, "a") is tensor is as_mask(tensor)


@pytest.mark.parametrize("data", [True, 3, torch.ones(2, dtype=torch.bfloat16), np.ones(2, bool)])
def test_numbers_become_single_precision_and_labels_keep_their_type(data):
    assert as_numbers(data, "data").dtype == torch.float32
    assert as_label(data, "label").dtype == torch.as_tensor(data).dtype


def test_arguments_by_place_and_by_name():
    @takes(first="real", count="whole", rest="label")
    def call(first, count=None, *rest):
        return first, count, rest

    first, count, rest = call(np.array([1], ">i2"), np.uint8(2), np.ones(1, bool))
    assert (first.dtype, count, rest[0].dtype) == (torch.float32, 2, torch.bool)
    assert call(first=1, count=None)[1] is None


test_refused_by_name = refusals(
    (lambda: as_tensor(np.ma.array([1.0], mask=True), "image"), "image has masked values"),
    (lambda: as_tensor(torch.eye(2).to_sparse(), "image"), "image must be a dense tensor"),
    (lambda: as_tensor(np.array([2**63], np.uint64), "image"), "image holds values above"),
    (lambda: as_tensor([1.0], "image"), "image must be a numpy array or a tensor, got list"),
    (lambda: as_numbers(np.ones((2, 8, 8)), "kspace", "complex"), "kspace must be complex.*two real channels"),
    (lambda: as_numbers(1j, "image", "real"), "image must be real"),
    (lambda: as_label(np.array([1j]), "label"), "label must be real"),
    (lambda: as_mask(np.array([0.5, 1])), "mask must hold 0 and 1 only, got 0.5, 1; threshold"),
    (lambda: as_mask(np.array([np.nan])), "mask must hold 0 and 1 only, got nan"),
    (lambda: as_number(True, "ratio"), "ratio must be a number"),
    (lambda: as_number("0.5", "ratio"), "ratio must be a number"),
    (lambda: as_number(np.ones(2), "ratio"), "ratio must be a number"),
    (lambda: as_whole(2.0, "seed"), "seed must be a whole number"),
    (lambda: as_whole(np.int8(-1), "seed", 0), "seed must be a whole number >= 0"),
    (lambda: as_values([0.5, "1"], "ratio"), "ratio must be a number"),
)
