"""The low bits that leave before the codec: byte planes, each stored as it is or by zlib."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from ..errors import FormatError
from .intervals import inflate

_PLANE = struct.Struct("<BI")  # 0 as it is or 1 zlib; length of what follows

_NOISE = 0.95
"""A plane that its byte counts alone do not shrink below this is not searched for repetitions, which takes long."""


def encode_residue(low: np.ndarray, bits: int) -> bytes:
    """Bytes of the low `bits` bits of a uint64 array, the least significant plane first.

    Each plane has one byte that tells how it is stored (0 as it is, 1 zlib), its length as an unsigned 32-bit
    little-endian integer, and so many bytes.
    """
    parts = []
    for plane in range((bits + 7) // 8):
        raw = (low >> np.uint64(8 * plane)).astype(np.uint8).tobytes()
        packed = _deflate(raw, zlib.Z_RLE)
        if len(packed) < _NOISE * len(raw):
            packed = min(packed, _deflate(raw, zlib.Z_DEFAULT_STRATEGY), key=len)
        stored, body = (1, packed) if len(packed) < len(raw) else (0, raw)
        parts += [_PLANE.pack(stored, len(body)), body]
    return b"".join(parts)


def decode_residue(residue: bytes, shape: tuple[int, ...], bits: int) -> np.ndarray:
    """Undo `encode_residue`: uint64 array of `shape`; FormatError when the bytes cannot be one."""
    damaged = FormatError("The residue of a slab is damaged.")
    low, size, at = np.zeros(shape, np.uint64), int(np.prod(shape, dtype=np.int64)), 0
    for plane in range((bits + 7) // 8):
        if at + _PLANE.size > len(residue):
            raise damaged
        stored, length = _PLANE.unpack_from(residue, at)
        at += _PLANE.size + length
        body = residue[at - length:at]
        if at > len(residue) or stored > 1:
            raise damaged
        raw = inflate(body, size) if stored else body
        if len(raw) != size:
            raise damaged
        low |= np.frombuffer(raw, np.uint8).reshape(shape).astype(np.uint64) << np.uint64(8 * plane)
    if at != len(residue) or (low.size and int(low.max()) >> bits):
        raise damaged
    return low


def _deflate(raw: bytes, strategy: int) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, 9, strategy)
    return stream.compress(raw) + stream.flush()
