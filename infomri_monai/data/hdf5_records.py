"""Records of an HDF5 array with parts of variable length, read without the HDF5 library's own reading of such parts."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.data.ismrmrd_header import RawFileError, check_stored

__all__ = ["StoredRecords"]

h5py, _ = optional_import("h5py")

#: where a part lies: its number of values, the address of a heap, its number there
_REFERENCE = np.dtype([("count", "<u4"), ("heap", "<u8"), ("number", "<u4")])
#: begin of a heap, and of an object in it, where addresses and sizes have 8 bytes
_HEAP = np.dtype([("signature", "S4"), ("version", "u1"), ("reserved", "V3"), ("size", "<u8")])
_OBJECT = np.dtype([("number", "<u2"), ("references", "<u2"), ("reserved", "V4"), ("size", "<u8")])


class _Place(NamedTuple):
    start: int
    size: int


class StoredRecords:
    """The records of an HDF5 array as its file stores them.

    A damaged reference to a part of variable length, or a damaged heap of such parts, makes the HDF5 library run for ever, ask
    for all memory, or end the process (seen with 2.0). So the records are read as plain bytes, and their parts out of the heaps
    with every number checked first. That also costs less: h5py reads all parts to give one field. Compressed records, and files
    whose addresses have other than 8 bytes, are left to h5py.

    Args:
        table: an ``h5py.Dataset`` of one axis or none, of a file on disk.

    Attributes:
        records: structured array; a part of variable length is a reference, or what h5py read.

    Raises:
        RawFileError: if the array announces more than the file holds.

    Example:
        >>> import tempfile
        >>> with h5py.File(tempfile.mkdtemp() + "/words.h5", "w") as file:
        ...     file["words"] = ["one", "three"]
        ...     file.flush()
        ...     StoredRecords(file["words"]).part(1).tobytes()
        b'three'

    References:
        The HDF Group, "HDF5 File Format Specification", version 3.0, III.E (global heap) and VIII (variable-length data).
    """

    def __init__(self, table: Any) -> None:
        check_stored(table)
        kind, sizes = table.id.get_type(), table.file.id.get_create_plist().get_sizes()
        self._path, self._size = table.file.filename, os.path.getsize(table.file.filename)
        self._base, self._heaps = int(table.file.userblock_size), dict[int, dict[int, _Place]]()
        self._values, stored = _described(kind)
        if sizes != (8, 8) or table.id.get_create_plist().get_nfilters():
            self.records = np.atleast_1d(table[()])
        else:
            self.records = self._stored(table, stored)

    def part(self, row: int, name: str = "") -> NDArray[Any]:
        """The values of one record's part of variable length.

        Args:
            row: number of the record.
            name: of the field; "" where the whole record is one part, or a text of fixed length.

        Raises:
            RawFileError: if it lies outside its heap, or the heap contradicts itself.
        """
        reference = self.records[row][name] if name else self.records[row]
        if isinstance(reference, (str, bytes)):
            return np.frombuffer(reference.encode() if isinstance(reference, str) else bytes(reference), np.uint8)
        if self.records.dtype.hasobject:
            return np.asarray(reference)
        count, values = int(reference["count"]), self._values[name]
        if not count:
            return np.zeros(0, values)
        heap = int(reference["heap"]) + self._base
        if heap not in self._heaps:
            self._heaps[heap] = self._objects(heap)
        place = self._heaps[heap].get(int(reference["number"]))
        if place is None or count * values.itemsize > place.size:
            raise RawFileError("the file is damaged: a record refers to more than is stored.")
        return self._read(place.start, values, count)

    def _stored(self, table: Any, stored: np.dtype) -> NDArray[Any]:
        count = int(table.size)
        if table.chunks is None:
            start = table.id.get_offset()
            if start is None or table.id.get_storage_size() != count * stored.itemsize:
                raise RawFileError("the file is damaged: an array has another size than its records.")
            return self._read(start, stored, count)
        records, length = np.zeros(count, stored), int(table.chunks[0])
        chunks: list[Any] = []
        table.id.chunk_iter(chunks.append)
        for chunk in chunks:
            if chunk.size != length * stored.itemsize:
                raise RawFileError("the file is damaged: an array has another size than its records.")
            first = int(chunk.chunk_offset[0])
            records[first : first + length] = self._read(chunk.byte_offset, stored, length)[: max(0, count - first)]
        return records

    def _objects(self, heap: int) -> dict[int, _Place]:
        """Where the objects of a heap lie, by their numbers."""
        head = self._read(heap, _HEAP, 1)[0]
        at, end, found = heap + _HEAP.itemsize, heap + int(head["size"]), dict[int, _Place]()
        if head["signature"] != b"GCOL" or head["version"] != 1:
            raise RawFileError("the file is damaged: a record refers to a place that holds no parts.")
        while at + _OBJECT.itemsize <= min(end, self._size):
            number, _, _, size = self._read(at, _OBJECT, 1)[0].tolist()
            if number == 0:  # free space, the rest of the heap
                break
            found.setdefault(number, _Place(at + _OBJECT.itemsize, size))
            at += _OBJECT.itemsize + -(-size // 8) * 8
        return found

    def _read(self, start: int, kind: np.dtype, count: int) -> NDArray[Any]:
        # no memory map: a file that is cut while it is mapped ends the process
        found = np.zeros(0, kind)
        if 0 <= start <= start + count * kind.itemsize <= self._size:
            found = np.fromfile(self._path, kind, count, offset=start)
        if len(found) < count:
            raise RawFileError("the file is truncated or damaged: it refers to places beyond its end.")
        return found


def _described(kind: Any) -> tuple[dict[str, np.dtype], np.dtype]:
    """Types of the parts of variable length by their field, and that of a record as the file stores it."""
    fields = {"": kind}
    if isinstance(kind, h5py.h5t.TypeCompoundID):
        fields = {kind.get_member_name(i).decode(): kind.get_member_type(i) for i in range(kind.get_nmembers())}
    values = {name: _part_of(field) for name, field in fields.items()}
    parts = {name: part for name, part in values.items() if part is not None}
    formats = [_REFERENCE if name in parts else field.dtype for name, field in fields.items()]
    if "" in fields:
        return parts, formats[0]
    offsets = [kind.get_member_offset(i) for i in range(kind.get_nmembers())]
    return parts, np.dtype({"names": list(fields), "formats": formats, "offsets": offsets, "itemsize": kind.get_size()})


def _part_of(kind: Any) -> np.dtype | None:
    if isinstance(kind, h5py.h5t.TypeVlenID):
        return kind.get_super().dtype
    text = isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()
    return np.dtype(np.uint8) if text else None
