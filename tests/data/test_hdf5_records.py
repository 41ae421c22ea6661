"""Parts of variable length out of HDF5's heaps, as h5py reads them; damaged ones are refused where h5py hangs or crashes."""

import struct

import h5py
import numpy as np
import pytest
from helper import refuses

from hospital.raw_scan import example_head, write_example_ismrmrd
from infomri_monai.data.hdf5_records import StoredRecords
from infomri_monai.data.ismrmrd import check_ismrmrd, read_ismrmrd
from infomri_monai.data.ismrmrd_header import RawDataError, RawFileError

LAYOUTS = {
    "contiguous": {},
    "chunked": {"chunks": (7,), "maxshape": (None,)},
    "compressed": {"chunks": (5,), "compression": "gzip"},
}


@pytest.fixture
def scan(tmp_path):
    write_example_ismrmrd(tmp_path / "scan.h5", example_head(2, (20, 16)), [3, 7, 8, 9], coils=2)
    return tmp_path / "scan.h5"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("userblock", [0, 1024])
def test_the_same_as_h5py(scan, tmp_path, layout, userblock):
    expected = read_ismrmrd(scan)
    path = tmp_path / "other.h5"
    with h5py.File(scan) as source, h5py.File(path, "w", userblock_size=userblock) as file:
        group = file.create_group("dataset")
        group["xml"] = np.bytes_(source["dataset/xml"][0])  # a text of fixed length
        table = group.create_dataset("data", data=source["dataset/data"][()], **LAYOUTS[layout])
        group["words"] = ["one", "", "dreißig" * 999]
        group["word"] = "one"
        file.flush()
        records = StoredRecords(table)
        assert str(records.records["head"].tolist()) == str(table.fields("head")[()].tolist())
        for name in ("data", "traj"):
            for row, values in enumerate(table.fields(name)[()]):
                np.testing.assert_array_equal(records.part(row, name), values)
        words = [StoredRecords(group["words"]).part(row).tobytes().decode() for row in range(3)]
        assert words == ["one", "", "dreißig" * 999]
        assert StoredRecords(group["word"]).part(0).tobytes() == b"one"
    read = read_ismrmrd(path)
    np.testing.assert_array_equal(read.kspace, expected.kspace)
    assert read.xml == expected.xml


def last(content, what):
    """Where the last heap, the free space at its end, or the reference of the last line begins."""
    heap = content.rfind(b"GCOL\1")
    if what == "heap":
        return heap
    at, number = heap + 16, 1
    while number:
        number, size = struct.unpack_from("<H6xQ", content, at)
        at += 16 + -(-size // 8) * 8 if number else 0
    return at if what == "free" else content.rfind(struct.pack("<Q", heap)) - 4


@pytest.mark.parametrize(
    ("what", "offset", "value", "kind"),
    [
        ("free", 8, 0, "Q"),  # HDF5 2.0 never ends: free space of no size
        ("free", 0, 9, "Q"),
        ("reference", 0, 0xFFFFFFFF, "I"),  # 16 GB for one line
        ("reference", 0, 162, "I"),
        ("reference", 4, 1 << 40, "Q"),
        ("reference", 4, 0xFFFFFFFFFFFFFFF0, "Q"),
        ("reference", 4, 2448 + 8, "Q"),
        ("reference", 12, 77, "I"),
        ("heap", 0, 0, "I"),
        ("heap", 4, 3, "B"),
        ("heap", 8, 0, "Q"),
        ("heap", 24, 0xFFFFFFFFFFFFFFFF, "Q"),  # size of the first object
    ],
)
def test_damage_is_refused_at_once(scan, what, offset, value, kind):
    content = bytearray(scan.read_bytes())
    struct.pack_into("<" + kind, content, last(content, what) + offset, value)
    scan.write_bytes(content)
    check_ismrmrd(scan)  # looks at no sample
    if what == "free":  # nothing that is read is damaged
        assert read_ismrmrd(scan).kspace.shape == (2, 20, 16)
    else:
        message = "damaged: a record refers|truncated or damaged: it refers|ISMRMRD file is truncated or damaged"
        refuses(RawFileError, message, read_ismrmrd, scan)


def test_an_array_that_announces_more_than_is_stored(scan):
    with h5py.File(scan, "a") as file:
        length = len(file["dataset/data"])
        del file["dataset/data"]
        kind = np.dtype([("head", "i4"), ("data", h5py.vlen_dtype(np.float32))])
        file.create_dataset("dataset/data", (length,), kind, chunks=(2,))  # not written
    refuses((RawFileError, RawDataError), "damaged", check_ismrmrd, scan)
