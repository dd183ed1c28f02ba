"""Section 8: CRC-32C and digests of voxels."""

import hashlib

import numpy as np


def crc32c(data: bytes) -> int:
    """8.1, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)  # 0x1EDC6F41, its bits turned round
    return crc ^ 0xFFFFFFFF


def voxel_digest(voxels: np.ndarray) -> bytes:
    """8.2, of an array (frames, k, j, i)."""
    little = voxels.astype(voxels.dtype.newbyteorder("<"))
    slices = (hashlib.sha256(plane.tobytes()).digest() for frame in little for plane in frame)
    return hashlib.sha256(b"".join(slices)).digest()
