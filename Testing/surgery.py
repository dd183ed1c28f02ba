"""Taking an `.mcz` file apart and putting it together again with checksums that are right, as FORMAT.md has it.

Written from the specification and not with `MedCompressLib.container`, so that the tests hold one against the other.
"""

import hashlib
import json
import struct
import zlib
from dataclasses import dataclass, field

import numpy as np
from reference.container import chunk_order

FIXED = struct.Struct("<8sHHIIIIIIIQQ32s16d")
ENTRY = struct.Struct("<QIIII8s")
CHUNK = struct.Struct("<II")
_TABLE = []
for _byte in range(256):
    for _ in range(8):
        _byte = (_byte >> 1) ^ (0x82F63B78 if _byte & 1 else 0)
    _TABLE.append(_byte)


def crc32c(data: bytes) -> int:
    """CRC-32C, byte by byte."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def slice_digests(voxels: np.ndarray) -> list[list[bytes]]:
    """SHA-256 of each slice of (frames, k, j, i) voxels."""
    return [[hashlib.sha256(plane.astype(plane.dtype.newbyteorder("<")).tobytes()).digest() for plane in frame]
            for frame in voxels]


def digest(voxels: np.ndarray) -> bytes:
    """Digest of (frames, k, j, i) voxels."""
    return hashlib.sha256(b"".join(b"".join(row) for row in slice_digests(voxels))).digest()


def grid(fields: dict) -> list[tuple[slice, slice]]:
    """Frames and slices of each slab of a file with this header."""
    length = dict(zip(fields["axes"], fields["shape"], strict=True))
    frames, slices = length.get("t", 1) * length.get("c", 1), length["k"]
    high, deep = fields["slab"]["frames"], fields["slab"]["slices"]
    return [(slice(frame, min(frame + high, frames)), slice(k, min(k + deep, slices)))
            for frame in range(0, frames, high) for k in range(0, slices, deep)]


@dataclass
class Slab:
    """An index entry with what it points to; a field that is set replaces what would be right."""

    payload: bytes
    residue: bytes
    storage: int
    digest: bytes
    offset: int | None = None
    payload_length: int | None = None
    residue_length: int | None = None
    crc: int | None = None
    cuts: tuple[int, ...] = ()

    @property
    def chunks(self) -> list[bytes]:
        """The payload in its layers; what is more or less than their lengths belongs to the last."""
        ends = [sum(self.cuts[:layer + 1]) for layer in range(len(self.cuts))]
        return [self.payload[begin:end] for begin, end in zip([0, *ends], [*ends[:-1], None], strict=False)]


@dataclass
class File:
    """The parts of a file. `join` computes lengths, offsets and checksums, except for those in `forced`."""

    header: bytes
    metadata: bytes
    model: bytes
    slabs: list[Slab]
    voxel_digest: bytes
    matrix: tuple[float, ...]
    magic: bytes = b"\x89MCZ\r\n\x1a\n"
    version: int = 1
    reserved: int = 0
    tail: bytes = b""
    forced: dict = field(default_factory=dict)
    placed: list[int] = field(default_factory=list)

    @classmethod
    def split(cls, data: bytes) -> "File":
        (magic, version, reserved, header_length, header_crc, metadata_length, metadata_crc, slab_count, index_crc,
         model_crc, model_length, file_length, voxel_digest, *matrix) = FIXED.unpack_from(data)
        assert struct.unpack_from("<I", data, 216)[0] == crc32c(data[:216])
        assert file_length == len(data)
        place = 220
        parts = []
        fields = json.loads(data[place:place + header_length])
        layers = fields.get("layers", 1)
        per_slab = ENTRY.size + (CHUNK.size * layers if layers > 1 else 0)
        for length, crc in ((header_length, header_crc), (metadata_length, metadata_crc),
                            (slab_count * per_slab, index_crc), (model_length, model_crc)):
            parts.append(data[place:place + length])
            assert crc32c(parts[-1]) == crc
            place += length
        table = list(CHUNK.iter_unpack(parts[2][ENTRY.size * slab_count:]))
        placed = chunk_order(fields, layers, slab_count) if table else []
        chunks = [b""] * len(table)
        for number in placed:
            length, crc = table[number]
            chunks[number] = data[place:place + length]
            assert crc32c(chunks[number]) == crc
            place += length
        slabs = []
        entries = ENTRY.iter_unpack(parts[2][:ENTRY.size * slab_count])
        for number, (offset, payload_length, residue_length, crc, storage, slab_digest) in enumerate(entries):
            own = chunks[number::slab_count] or [data[place:place + payload_length]]
            residue_at = place + (0 if chunks else payload_length)
            residue = data[residue_at:residue_at + residue_length]
            payload = b"".join(own)
            assert len(payload) == payload_length and crc32c(payload + residue) == crc
            assert chunks or offset == place
            slabs.append(Slab(payload, residue, storage, slab_digest,
                              cuts=tuple(map(len, own)) if chunks else ()))
            place = residue_at + residue_length
        assert place == len(data)
        return cls(parts[0], parts[1], parts[3], slabs, voxel_digest, tuple(matrix), magic, version, reserved,
                   placed=placed)

    @property
    def fields(self) -> dict:
        """The header."""
        return json.loads(self.header)

    @fields.setter
    def fields(self, value: dict) -> None:
        self.header = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()

    def set_metadata(self, text: bytes) -> None:
        self.metadata = zlib.compress(text)

    def join(self) -> bytes:
        layers = len(self.slabs[0].cuts) if self.slabs else 0
        start = (220 + len(self.header) + len(self.metadata) + (ENTRY.size + CHUNK.size * layers) * len(self.slabs)
                 + len(self.model))
        index, body, offsets = b"", b"", []
        chunks = [slab.chunks[layer] for layer in range(layers) for slab in self.slabs]
        for number in self.placed if sorted(self.placed) == list(range(len(chunks))) else range(len(chunks)):
            if number < len(self.slabs):
                offsets.append(start + len(body))
            body += chunks[number]
        table = b"".join(CHUNK.pack(len(chunk), crc32c(chunk)) for chunk in chunks)
        for number, slab in enumerate(self.slabs):
            stored = slab.payload + slab.residue
            offset = offsets[number] if layers else start + len(body)
            right = (offset, len(slab.payload), len(slab.residue), crc32c(stored))
            given = (slab.offset, slab.payload_length, slab.residue_length, slab.crc)
            entry = (there if there is not None else here for here, there in zip(right, given, strict=True))
            index += ENTRY.pack(*entry, slab.storage, slab.digest)
            body += slab.residue if layers else stored
        index += table
        body += self.tail
        values = {"header_length": len(self.header), "header_crc": crc32c(self.header),
                  "metadata_length": len(self.metadata), "metadata_crc": crc32c(self.metadata),
                  "slab_count": len(self.slabs), "index_crc": crc32c(index), "model_crc": crc32c(self.model),
                  "model_length": len(self.model), "file_length": start + len(body), **self.forced}
        fixed = FIXED.pack(self.magic, self.version, self.reserved, *values.values(), self.voxel_digest, *self.matrix)
        return fixed + struct.pack("<I", crc32c(fixed)) + self.header + self.metadata + index + self.model + body
