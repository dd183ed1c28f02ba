"""The two checks of an `.mcz` file: CRC-32C of its bytes, SHA-256 of its voxels.

Leaf module: knows bytes and arrays and nothing about files or codecs.

Guarantees
----------
* `crc32c` is the CRC-32C of RFC 3720 (Castagnoli), at more than a gigabyte per second without compiled code.
* The digest of a volume depends on its voxels alone, not on how it was cut into slabs or in which order they came.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np

# x^6777 + x^484 + x^100 + 1 is a multiple of the CRC-32C polynomial P. Squaring is linear over GF(2), so with
# y = x^32 (five squarings) y^6777 + y^484 + y^100 + 1 is one too: a 32-bit word may be removed from the front of a
# message when it is added (XOR) to the three words that stand 6777 - 484, 6777 - 100 and 6777 places after it. The
# nearest of them is far away, so thousands of words are folded by one vector operation. No multiple of P with fewer
# terms exists at this length; of those with four terms this one has the widest gap for its degree.
_DEGREE, *_LOWER = 6777, 484, 100, 0
_GAP = _DEGREE - _LOWER[0]

_REFLECTED_POLYNOMIAL = 0x82F63B78
# The four bytes that take the register from zero to the initial value of all ones.
_PREFIX = (0x54, 0x64, 0x1F, 0x64)


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """CRC-32C of bytes: polynomial 0x1EDC6F41, reflected, initial value and final XOR 0xFFFFFFFF.

    The message is first folded to at most 6777 words with a sparse multiple of the polynomial, then pairs of words
    are joined until one is left.
    """
    data = np.frombuffer(data, dtype=np.uint8)
    count = (len(_PREFIX) + len(data) + 3) // 4
    message = np.zeros(4 * count, dtype=np.uint8)  # zeros in front change nothing
    message[4 * count - len(data):] = data
    start = 4 * count - len(data) - len(_PREFIX)
    message[start:start + len(_PREFIX)] = _PREFIX
    words = message.view("<u4")
    for start in range(0, count - _DEGREE, _GAP):
        stop = min(start + _GAP, count - _DEGREE)
        for lower in _LOWER:
            words[start + _DEGREE - lower:stop + _DEGREE - lower] ^= words[start:stop]
    words = words[-_DEGREE:]
    level = 0
    while len(words) > 1:
        if len(words) % 2:
            words = np.concatenate([np.zeros(1, dtype=words.dtype), words])
        words = _advance(words[0::2], level) ^ words[1::2]
        level += 1
    return int(_advance(words, 0)[0]) ^ 0xFFFFFFFF


def _advance(words: np.ndarray, level: int) -> np.ndarray:
    """Each word times x^(32 * 2^level) modulo P."""
    table = _advance_table(level)
    return (table[0][words & 255] ^ table[1][words >> 8 & 255] ^ table[2][words >> 16 & 255]
            ^ table[3][words >> 24])


@cache
def _advance_table(level: int) -> np.ndarray:
    """(4, 256) uint32: byte p of a word with value b, times x^(32 * 2^level) modulo P."""
    if level:
        return _advance(_advance_table(level - 1), level - 1)
    table = np.arange(256, dtype=np.uint32) << np.array([[0], [8], [16], [24]], dtype=np.uint32)
    for _ in range(32):
        table = (table >> 1) ^ np.where(table & 1, np.uint32(_REFLECTED_POLYNOMIAL), np.uint32(0))
    return table


def slice_digests(voxels: np.ndarray) -> np.ndarray:
    """SHA-256 of every slice of (frames, k, j, i) voxels, as (frames, k, 32) uint8.

    A slice is hashed as its j * i voxels in C order, each little-endian.
    """
    frames, slices = voxels.shape[:2]
    little_endian = np.ascontiguousarray(voxels, dtype=voxels.dtype.newbyteorder("<"))
    digests = np.empty((frames, slices, 32), dtype=np.uint8)
    for f in range(frames):
        for k in range(slices):
            digests[f, k] = np.frombuffer(hashlib.sha256(little_endian[f, k]).digest(), dtype=np.uint8)
    return digests


def combined_digest(digests: np.ndarray) -> bytes:
    """SHA-256 of slice digests in C order: the digest of the (frames, k, j, i) voxels that they are of."""
    return hashlib.sha256(np.ascontiguousarray(digests)).digest()
