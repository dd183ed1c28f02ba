"""The `.mcz` file: which bytes stand where. FORMAT.md is its specification.

    fixed part   magic, version, lengths and checksums of what follows, digest of the voxels, IJK-to-RAS matrix
    header       JSON: what the voxels are and how they are coded (`header.Header`)
    metadata     JSON of the user's, deflated; nothing when it is empty
    index        one entry per slab: offset, lengths, checksum, digest; with layers also one per chunk
    model        what the codec shares between slabs
    slabs        payload and residue of each, in the order of their numbers

With several layers, the payload of a slab is cut into *chunks*, one for each layer. The first layer of all slabs comes
first, then the second; after the last come the residues. So the beginning of a file tells something of every slab. The
header may name slabs whose later layers come before those of all others.

Knows sections and checksums and nothing of voxels or codecs. Guarantees: a `Reader` takes no memory for a length before
it has held it against the size of the file and a limit; every section has passed its CRC-32C when it is returned, a
slab when it has been checked; whatever is wrong with the bytes, it raises `FormatError`. It reads only what it is asked
for.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import numpy as np

from .checksum import crc32c
from .errors import FormatError, MedCompressError, UnsupportedError
from .header import HEADER_LIMIT, Header, dump_json, parse_json
from .slabs import SlabGrid
from .volume import Volume

# Like PNG's, the magic shows the usual ways to break a binary file: the first byte has its top bit set, then come a
# carriage return with a line feed, the end-of-file character of DOS, and a lone line feed.
MAGIC = b"\x89MCZ\r\n\x1a\n"
VERSION, ARCHIVE_VERSION = 2, 1
"""The latest of a volume and of an archive; a file has the earliest that has what is in it (FORMAT.md, section 14)."""
# What a file with this magic is: one volume, as this module has it, or an archive of files (`dicom_archive.file`).
VOLUME, ARCHIVE = 0, 1

METADATA_LIMIT = 16 << 20  # as objects in memory, some 25 times that
MODEL_LIMIT = 64 << 20
SLAB_COUNT_LIMIT = 1 << 20

# magic, version, kind, header length and CRC, metadata length and CRC, slab count, index CRC, model CRC and length,
# file length, voxel digest, matrix; then the CRC of all this.
_FIXED = struct.Struct("<8sHHIIIIIIIQQ32s16d")
_CRC = struct.Struct("<I")
FIXED_LENGTH = _FIXED.size + _CRC.size
_KIND_AT = len(MAGIC) + 2
# As much of a file as tells what it is.
START_LENGTH = _KIND_AT + 2

INDEX_ENTRY = np.dtype([("offset", "<u8"), ("payload_length", "<u4"), ("residue_length", "<u4"), ("crc32c", "<u4"),
                        ("storage", "<u4"), ("digest", "V8")])
CHUNK_ENTRY = np.dtype([("length", "<u4"), ("crc32c", "<u4")])
# How the samples of a slab are stored.
CODED, VERBATIM = 0, 1


@dataclass(frozen=True)
class StoredSlab:
    """A slab as the file has it.

    Attributes
    ----------
    payload, residue : bytes
        The samples, and what `SampleMap` split off.
    storage : int
        `CODED`: the payload is the codec's. `VERBATIM`: it is the voxels themselves, and there is no residue.
    digest : bytes
        The first 8 bytes of the digest of the slab's voxels.
    cuts : tuple of int
        Lengths of the chunks of the payload; without any it is a single one.
    """

    payload: bytes
    residue: bytes
    storage: int
    digest: bytes
    cuts: tuple[int, ...] = ()

    @property
    def chunks(self) -> list[bytes]:
        """The payload in its layers."""
        ends = np.cumsum(self.cuts or (len(self.payload),)).tolist()
        return [self.payload[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    @property
    def length(self) -> int:
        """Bytes it takes in the file."""
        return len(self.payload) + len(self.residue)


class Writer:
    """Writes a file section by section; the slabs are kept only where they have layers.

    Parameters
    ----------
    file : binary file
        Open for writing and seeking, empty.
    header : Header
    ijk_to_ras : (4, 4) float64 ndarray
    metadata : dict
        Plain JSON.
    model : bytes
    version : int
        Of the format: the `format_version` of the codec.
    """

    def __init__(self, file: BinaryIO, header: Header, ijk_to_ras: np.ndarray, metadata: dict, model: bytes,
                 version: int) -> None:
        self._file, self._version = file, version
        self._matrix = [float(number) for number in ijk_to_ras.ravel()]
        self._header = header.to_json()
        self._order = header.chunk_order()
        self._metadata = _deflate(metadata)
        self._model = model
        count = len(header.grid)
        for length, limit, what in ((len(model), MODEL_LIMIT, "bytes of model"), (count, SLAB_COUNT_LIMIT, "slabs")):
            if length > limit:
                raise UnsupportedError(f"The volume needs {length} {what}; the format allows {limit}.")
        self._index = np.zeros(count, dtype=INDEX_ENTRY)
        self._chunks = np.zeros((header.layers, count) if header.layers > 1 else 0, dtype=CHUNK_ENTRY)
        self._kept: list[StoredSlab] = []
        self._written = 0
        # Nothing but zeros stands where the magic belongs until the file is whole.
        self._write(bytes(FIXED_LENGTH), self._header, self._metadata, self._index.tobytes(),
                    self._chunks.tobytes(), model)
        self._offset = (FIXED_LENGTH + len(self._header) + len(self._metadata) + self._index.nbytes
                        + self._chunks.nbytes + len(model))

    def append(self, slab: StoredSlab) -> None:
        """Write the next slab."""
        crc = crc32c(slab.payload + slab.residue)
        self._index[self._written] = (self._offset, len(slab.payload), len(slab.residue), crc, slab.storage,
                                      np.void(slab.digest))
        self._written += 1
        if len(self._chunks):
            self._kept.append(slab)
            return
        self._write(slab.payload, slab.residue)
        self._offset += slab.length

    def write_all(self, slabs: Sequence[StoredSlab], digest: bytes) -> None:
        """Write all slabs, and finish."""
        for slab in slabs:
            self.append(slab)
        self.finish(digest)

    def finish(self, voxel_digest: bytes) -> None:
        """Write the index and the fixed part, which make the file valid."""
        if len(self._chunks):
            self._write_layers()
        index = self._index.tobytes() + self._chunks.tobytes()
        fixed = _FIXED.pack(MAGIC, self._version, VOLUME, len(self._header), crc32c(self._header), len(self._metadata),
                            crc32c(self._metadata), len(self._index), crc32c(index), crc32c(self._model),
                            len(self._model), self._offset, voxel_digest, *self._matrix)
        self._write(index, at=FIXED_LENGTH + len(self._header) + len(self._metadata))
        self._write(fixed, _CRC.pack(crc32c(fixed)), at=0)

    def _write_layers(self) -> None:
        layers = list(zip(*(slab.chunks for slab in self._kept), strict=True))
        self._chunks[:] = [[(len(chunk), crc32c(chunk)) for chunk in layer] for layer in layers]
        self._index["offset"] = self._offset + np.cumsum([0, *map(len, layers[0][:-1])])
        ordered = [layers[number // len(self._kept)][number % len(self._kept)] for number in self._order]
        self._write(*ordered)
        self._offset += sum(map(len, ordered))
        self._write(*(slab.residue for slab in self._kept))
        self._offset += sum(len(slab.residue) for slab in self._kept)

    def _write(self, *sections: bytes, at: int | None = None) -> None:
        try:
            if at is not None:
                self._file.seek(at)  # brings to the disk what is still in a buffer, so it may fail
            for section in sections:
                self._file.write(section)
        except OSError as error:
            raise MedCompressError(f"The file cannot be written: {error.strerror or error}.") from error


class Reader:
    """Reads a file; model and slabs only when they are asked for, from any thread.

    Parameters
    ----------
    file : binary file
        Open for reading and seeking.
    truncated : bool
        Also take a file whose end is missing.

    Attributes
    ----------
    version : int
        Of the format.
    header : Header
    ijk_to_ras : (4, 4) float64 ndarray
    metadata : dict
    grid : SlabGrid
    voxel_digest : bytes
        `checksum.combined_digest` of all slices.
    index : structured ndarray of INDEX_ENTRY
    file_length : int
        Of the whole file.
    available : int
        As many of its bytes are there; fewer only of a truncated file.
    slabs_start : int
        Where the sections end and the slabs begin.
    section_lengths : dict of str to int
        Bytes of fixed part, header, metadata, index, model and slabs.

    Raises
    ------
    FormatError
        The file is no `.mcz` file, or is truncated, damaged or beyond a limit.
    """

    def __init__(self, file: BinaryIO, truncated: bool = False) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.available = file.seek(0, io.SEEK_END)
        fixed = self._read(0, min(FIXED_LENGTH, self.available))
        check_magic(fixed)
        if len(fixed) < FIXED_LENGTH:
            raise FormatError(f"The file is truncated: it has only {self.available} bytes.")
        (_, self.version, kind, header_length, header_crc, metadata_length, metadata_crc, slab_count, index_crc,
         self._model_crc, model_length, self.file_length, self.voxel_digest,
         *matrix) = _FIXED.unpack(fixed[:_FIXED.size])
        if self.version > VERSION:
            raise FormatError(f"The file has version {self.version} of the format, this MedCompress reads up to "
                              f"{VERSION}; update it.")
        _check_crc(fixed[:_FIXED.size], _CRC.unpack(fixed[_FIXED.size:])[0], "fixed part")
        if self.version < 1 or kind not in (VOLUME, ARCHIVE):
            raise FormatError(f"The file has version {self.version}.{kind} of the format, which does not exist.")
        if kind != VOLUME:
            raise FormatError("The file is an archive of DICOM files, not a single volume.")
        if self.file_length != self.available and not (truncated and self.available < self.file_length):
            raise FormatError(f"The file should have {self.file_length} bytes and has {self.available}: it was "
                              "truncated or something was added to it.")
        lengths = {"fixed": FIXED_LENGTH, "header": header_length, "metadata": metadata_length,
                   "index": slab_count * INDEX_ENTRY.itemsize, "model": model_length}
        limits = {"header": HEADER_LIMIT, "metadata": METADATA_LIMIT, "model": MODEL_LIMIT,
                  "index": SLAB_COUNT_LIMIT * INDEX_ENTRY.itemsize}
        for name, limit in limits.items():
            if lengths[name] > limit:
                raise FormatError(f"The file declares {lengths[name]} bytes of {name}, the limit is {limit}.")
        self.section_lengths = lengths
        self._check_sections()
        text = self._read(FIXED_LENGTH, header_length + metadata_length + lengths["index"])
        metadata_start, index_start = header_length, header_length + metadata_length
        _check_crc(text[:metadata_start], header_crc, "header")
        _check_crc(text[metadata_start:index_start], metadata_crc, "metadata")
        self.header = Header.from_json(text[:metadata_start])
        self.grid: SlabGrid = self.header.grid
        index = text[index_start:]
        if self.header.layers > 1:
            at = FIXED_LENGTH + len(text)
            lengths["index"] += self.header.layers * slab_count * CHUNK_ENTRY.itemsize
            self._check_sections()
            index += self._read(at, FIXED_LENGTH + index_start + lengths["index"] - at)
        _check_crc(index, index_crc, "index")
        self.slabs_start = sum(lengths.values())
        self._model_start = self.slabs_start - model_length
        self.section_lengths = {**lengths, "slabs": self.file_length - self.slabs_start}
        self.index = np.frombuffer(index, dtype=INDEX_ENTRY, count=slab_count)
        self._check_index(np.frombuffer(index, dtype=CHUNK_ENTRY, offset=self.index.nbytes))
        self.metadata = _inflate(text[metadata_start:index_start])
        try:
            described = Volume(np.zeros((1, 1, 1), np.uint8), np.reshape(matrix, (4, 4)), metadata=self.metadata)
        except UnsupportedError as error:
            raise FormatError(f"The file describes no valid volume: {error}") from None
        self.ijk_to_ras = described.ijk_to_ras

    @cached_property
    def model(self) -> bytes:
        """The codec's model."""
        model = self._read(self._model_start, self.section_lengths["model"])
        _check_crc(model, self._model_crc, "model")
        return model

    def read_slab(self, number: int) -> StoredSlab:
        """The slab with that number, not yet held against its CRC: that is for the thread that decodes it."""
        entry = self.index[number]
        cuts = tuple(self._chunk_lengths[:, number].tolist())
        payload = b"".join(self._read(int(offset), length)
                           for offset, length in zip(self._chunk_offsets[:, number], cuts, strict=True))
        residue = self._read(int(self._residue_offsets[number]), int(entry["residue_length"]))
        return StoredSlab(payload, residue, int(entry["storage"]), entry["digest"].tobytes(), cuts)

    def chunk_length(self, layer: int, number: int) -> int:
        """Bytes of a layer of the slab with that number."""
        return int(self._chunk_lengths[layer, number])

    def has_chunk(self, layer: int, number: int) -> bool:
        """Whether a truncated file still holds it."""
        return int(self._chunk_offsets[layer, number] + self._chunk_lengths[layer, number]) <= self.available

    def read_chunk(self, layer: int, number: int) -> bytes:
        """A layer of the slab with that number, held against its CRC."""
        chunk = self._read(int(self._chunk_offsets[layer, number]), self.chunk_length(layer, number))
        if self.header.layers > 1:
            _check_crc(chunk, int(self._chunk_crcs[layer, number]), f"slab {number}, layer {layer},")
        return chunk

    def check_slab(self, number: int, slab: StoredSlab) -> None:
        """Raise FormatError unless the bytes of the slab with that number are those that were written."""
        slices = self.grid.ranges(number)[1]
        _check_crc(slab.payload + slab.residue, int(self.index["crc32c"][number]),
                   f"slab {number} (slices {slices.start} to {slices.stop - 1})")

    def _check_index(self, chunks: np.ndarray) -> None:
        if len(self.index) != len(self.grid):
            raise FormatError(f"The file has {len(self.index)} slabs; its header asks for {len(self.grid)}.")
        if np.any(self.index["storage"] > VERBATIM):
            raise FormatError("The file stores a slab in a way that this version does not know; update MedCompress.")
        # One after the other without gap or overlap, the last at the end of the file. The lengths have 32 bits and
        # there are at most 2**22 of each, so the sum cannot overflow.
        payloads, residues = (self.index[field].astype(np.uint64) for field in ("payload_length", "residue_length"))
        layered = self.header.layers > 1
        if layered:
            chunks = chunks.reshape(self.header.layers, len(self.grid))
            self._chunk_lengths, self._chunk_crcs = chunks["length"].astype(np.uint64), chunks["crc32c"]
            order = self.header.chunk_order()
            parts = np.concatenate([self._chunk_lengths.ravel()[order], residues])
        else:
            self._chunk_lengths = payloads[np.newaxis]
            parts = np.stack([payloads, residues], 1).ravel()
        ends = np.uint64(self.slabs_start) + np.cumsum(parts, dtype=np.uint64)
        starts = ends - parts
        if layered:
            self._chunk_offsets = np.empty(chunks.shape, np.uint64)
            self._chunk_offsets.ravel()[order] = starts[:chunks.size]
            self._residue_offsets = starts[chunks.size:]
        else:
            self._chunk_offsets, self._residue_offsets = starts[np.newaxis, ::2], starts[1::2]
        if (int(ends[-1]) != self.file_length or np.any(self.index["offset"] != self._chunk_offsets[0])
                or np.any(self._chunk_lengths.sum(0) != payloads)):
            raise FormatError("The slabs in the file's index do not follow each other up to the end of the file.")

    def _check_sections(self) -> None:
        """Before they are read: whether the sections fit into the file, and are there."""
        needed = sum(self.section_lengths.values())
        if needed > self.file_length:
            raise FormatError("The file declares sections that do not fit into it.")
        if needed > self.available:
            raise FormatError(f"The file is cut off before its first voxels: it has {self.available} bytes, which come "
                              f"after {needed}.")

    def _read(self, offset: int, length: int) -> bytes:
        try:
            with self._lock:
                self._file.seek(offset)
                data = self._file.read(length)
        except OSError as error:
            raise MedCompressError(f"The file cannot be read: {error.strerror or error}.") from error
        except ValueError:
            raise MedCompressError("The file was closed, so no more can be read from it.") from None
        if len(data) != length:
            raise FormatError("The file became shorter while it was read.")
        return data


def is_archive(start: bytes) -> bool:
    """Whether a file that begins so is an archive of files, not a volume."""
    return start.startswith(MAGIC) and start[_KIND_AT:START_LENGTH] == struct.pack("<H", ARCHIVE)


def check_magic(start: bytes) -> None:
    """Raise FormatError, with the likely reason, unless the first bytes of a file are those of an `.mcz` file."""
    if start[:len(MAGIC)] == MAGIC:
        return
    if not start:
        raise FormatError("The file is empty.")
    if start[1:4] == MAGIC[1:4]:
        raise FormatError("The file was damaged on its way by a transfer in text mode; copy it again in binary mode.")
    if not any(start):
        raise FormatError("The file starts with zeros: its writing was interrupted.")
    raise FormatError("This is not an .mcz file.")


def _check_crc(data: bytes, expected: int, what: str) -> None:
    if crc32c(data) != expected:
        raise FormatError(f"The file is damaged: the checksum of its {what} does not match.")


def _deflate(metadata: dict) -> bytes:
    if not metadata:
        return b""
    text = dump_json(metadata)
    if len(text) > METADATA_LIMIT:
        raise UnsupportedError(f"The metadata takes {len(text)} bytes as JSON; the format allows {METADATA_LIMIT}.")
    return zlib.compress(text, 9)


def _inflate(stored: bytes) -> dict:
    if not stored:
        return {}
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(stored, METADATA_LIMIT + 1)
    except zlib.error as error:
        raise FormatError(f"The metadata of the file cannot be inflated: {error}.") from None
    if len(text) > METADATA_LIMIT:
        raise FormatError(f"The metadata of the file is larger than the limit of {METADATA_LIMIT} bytes.")
    if not inflater.eof or inflater.unused_data:
        raise FormatError("The metadata of the file does not end where it should.")
    return parse_json(text, "metadata")
