"""Damaged files through every door: right, or an error of ours; no hang, nothing written.

Real files of other projects (pydicom's, nibabel's) and files of our own in every format are changed byte by byte, cut, or edited in
their fields, by a seeded generator: ``SEED`` and the number of an input give it again.
"""

import gzip
import math
import random
import shutil
import warnings
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
import torch
from fuzzing import ODD, SEED, bytes_changed, judge
from image_files import write_dicom_series, write_nifti, write_png
from PIL import Image
from pydicom.data import get_testdata_file

from hospital.mr_series import write_example_series
from hospital.raw_scan import example_head, write_example_fastmri, write_example_ismrmrd
from infomri_monai.data import ReadCased, ReadFastMRISliced, fastmri_knee, image_slices, inference_cases, npz_slices
from infomri_monai.data.kspace_file import read_kspace_file
from infomri_monai.deploy.cases import find_cases

#: inputs of each kind
COUNTS = {
    "dicom": 450,
    "series": 150,
    "nifti": 450,
    "picture": 200,
    "npz": 300,
    "npy": 150,
    "fastmri": 250,
    "ismrmrd": 300,
}
DICOM = "MR_small MR_small_RLE MR_small_bigendian MR_small_jpeg_ls_lossless MR_small_padded MR_truncated emri_small"
DICOM += " CT_small rtplan reportsi DICOMDIR"


def training(folder):
    return [entry["image"] for entry in image_slices(folder)]


def inference(folder, kind="image"):
    return [t for case in inference_cases(folder, kind=kind, unreadable="raise") for t in [ReadCased()(case)[kind]]]


def hospital(folder):
    found = []
    for number, case in enumerate(find_cases(folder)[0], 1):
        loaded = case(number)
        found += [loaded.data, torch.as_tensor(loaded.affine)]
    return found


def raw(folder):
    return [part for path in folder.iterdir() for part in read_kspace_file(path)[:2] if part is not None]


def knee(folder):
    read = ReadFastMRISliced(crop=None, target_key=None)
    return [read(entry)["image"] for entry in fastmri_knee(folder, require=())[:2]]


def stacks(folder):
    return [entry["image"] for path in folder.iterdir() for entry in npz_slices(path, "kspace")]


IMAGES = (training, inference)
RAW = (lambda folder: inference(folder, "kspace"), raw, hospital)
DOORS = {
    "dicom": (*IMAGES, hospital), "series": (*IMAGES, hospital), "nifti": IMAGES, "picture": IMAGES,
    "npz": (*RAW, stacks), "npy": RAW, "fastmri": (*RAW, knee), "ismrmrd": RAW,
}  # fmt: skip


def originals(kind, folder):
    """Good files of a kind."""
    folder.mkdir()
    kspace = np.fft.fftshift(np.fft.fft2(example_head(2, (20, 16)))).astype(np.complex64)
    if kind == "dicom":
        for name in DICOM.split():
            path = get_testdata_file(name if name == "DICOMDIR" else f"{name}.dcm", download=False)
            if path is not None:
                shutil.copy(path, folder)
        mosaic = Path(nibabel.__file__).parent / "nicom/tests/data/siemens_dwi_1000.dcm.gz"
        (folder / "mosaic.dcm").write_bytes(gzip.decompress(mosaic.read_bytes()))
    elif kind == "series":
        write_dicom_series(folder)
        write_example_series(folder / "enhanced", "enhanced", slices=2, grid=(24, 16))[0].rename(
            folder / "enhanced.dcm"
        )
        (folder / "enhanced").rmdir()
    elif kind == "nifti":
        write_nifti(folder / "a.nii")
        write_nifti(folder / "b.nii.gz")
        nibabel.Nifti1Image((kspace * 9).astype(np.complex128), np.eye(4)).to_filename(folder / "c.nii")
        nibabel.Nifti2Image(kspace.real, np.eye(4)).to_filename(folder / "d.nii")
    elif kind == "picture":
        write_png(folder / "a.png", (30, 20))
        write_png(folder / "b.png", (30, 20), np.uint16)
        Image.fromarray(np.arange(600, dtype=np.uint8).reshape(30, 20)).save(folder / "c.jpg")
    elif kind == "npz":
        np.savez(folder / "a.npz", kspace=kspace, mask=np.arange(16) % 2)
        np.savez_compressed(folder / "b.npz", kspace=kspace[0])
    elif kind == "npy":
        np.save(folder / "a.npy", kspace.astype(">c16"))
    elif kind == "fastmri":
        write_example_fastmri(folder / "a.h5", example_head(2, (20, 16)), [3, 7, 8, 9], coils=3)
        write_example_fastmri(folder / "b.h5", example_head(2, (20, 16)))
    else:
        write_example_ismrmrd(folder / "a.h5", example_head(2, (20, 16)), [3, 7, 8, 9], coils=2)
    return sorted(folder.iterdir())


def dicom_edited(path, draw):
    dataset = pydicom.dcmread(path, force=True)
    places = [element for element in dataset.iterall() if element.VR != "SQ"]
    for _ in range(draw.choice([1, 1, 3])):
        element, value = draw.choice(places), draw.choice(ODD)
        if draw.random() < 0.3:
            dataset.pop(element.tag, None)
        else:
            element.value = str(value) if isinstance(value, float) and element.VR in ("DS", "IS") else value
    dataset.save_as(path)


def nifti_edited(path, draw):
    image = nibabel.load(path)
    header = image.header
    for _ in range(draw.choice([1, 1, 3])):
        name = draw.choice([n for n in header if n not in ("magic", "sizeof_hdr")])
        value = draw.choice([0, -1, 1, 3, 255, 32767, 1e30, math.nan, math.inf])
        shape = header[name].shape
        with np.errstate(all="ignore"):
            change = np.asarray(header[name]).copy()
            change[...] = np.asarray(value).astype(change.dtype) if change.dtype.kind in "iuf" else b"x"
        if shape and draw.random() < 0.7:
            keep = np.asarray(header[name]).copy()
            keep[draw.randrange(shape[0])] = change.ravel()[0]
            change = keep
        header[name] = change
    content = path.read_bytes() if path.suffix == ".nii" else gzip.decompress(path.read_bytes())
    content = header.binaryblock + content[len(header.binaryblock) :]
    path.write_bytes(content if path.suffix == ".nii" else gzip.compress(content))


def hdf5_edited(path, draw):
    with h5py.File(path, "a") as file:
        names = []
        file.visit(names.append)
        name = draw.choice([n for n in names if isinstance(file[n], h5py.Dataset)])
        value = file[name][()]
        if draw.random() < 0.2:
            del file[name]
        elif getattr(value, "dtype", None) is not None and value.dtype.names and "head" in value.dtype.names:
            field = draw.choice(value["head"].dtype.names)
            odd = draw.choice([0, 1, 3, 255, 65535, 1 << 19, 1 << 31])
            with np.errstate(all="ignore"):
                column = value["head"][field]
                rows = slice(None) if draw.random() < 0.5 else draw.randrange(len(column))
                if column.dtype.names:
                    column[draw.choice(column.dtype.names)][rows] = odd & 0xFFFF
                else:
                    column[rows] = np.asarray(odd).astype(column.dtype)
            file[name][()] = value
        elif name.endswith(("xml", "header")):
            text = np.ravel(value)[0]
            text = bytearray(text if isinstance(text, bytes) else text.encode())
            for _ in range(3):
                at = draw.randrange(len(text))
                text[at : at + draw.randrange(4)] = draw.choice([b"", b"0", b"-", b"99999", b"<", b"nan", b"\xff"])
            del file[name]
            file.create_dataset(name, data=[bytes(text)], dtype=h5py.special_dtype(vlen=bytes))
        else:
            del file[name]
            file[name] = draw.choice(
                [np.float32(1), np.zeros(0), value * np.float32(math.nan), np.ones((2, 3, 4, 5, 6)), "text"]
            )


EDITED = {
    "dicom": dicom_edited,
    "series": dicom_edited,
    "nifti": nifti_edited,
    "fastmri": hdf5_edited,
    "ismrmrd": hdf5_edited,
}


def damaged(kind, number, sources, folder):
    """Copy a file (of "series", all) to the folder and damage it by the seed and the number alone."""
    draw = random.Random(f"{SEED} {kind} {number}")
    source = draw.choice(sources)
    for path in sources if kind == "series" and "enhanced" not in source.name else [source]:
        if kind != "series" or path == source or "enhanced" not in path.name:
            shutil.copy(path, folder)
    target = folder / source.name
    edit = EDITED.get(kind)
    if edit is not None and draw.random() < 0.5:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                edit(target, draw)
            return
        except Exception:  # the library refuses to write it
            shutil.copy(source, folder)
    target.write_bytes(bytes_changed(source.read_bytes(), draw))


@pytest.mark.slow
@pytest.mark.parametrize("kind", DOORS)
def test_damaged_files_at_every_door(tmp_path, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sources, complaints, done = originals(kind, tmp_path / "good"), [], 0
        for number in range(COUNTS[kind]):
            folder = tmp_path / "case"
            folder.mkdir()
            damaged(kind, number, sources, folder)
            before = sorted(path.name for path in folder.iterdir())
            for door in DOORS[kind]:
                judge(door, (folder,), complaints, f"{kind} {number} {getattr(door, '__name__', 'door')}")
            if sorted(path.name for path in folder.iterdir()) != before:
                complaints.append(f"{kind} {number}: a file was left")
            shutil.rmtree(folder)
            done += 1
    assert done == COUNTS[kind]
    assert not complaints, f"{len(complaints)} of {done}: " + "\n".join(complaints[:40])


def test_the_run_is_large_enough():
    assert sum(COUNTS.values()) >= 2000
