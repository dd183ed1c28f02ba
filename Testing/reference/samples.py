"""Section 9: from samples and residue to voxels, one voxel after the other."""

import base64
import binascii
import struct
import sys
from bisect import bisect_right
from itertools import accumulate

import numpy as np

from .container import inflate
from .entropy import Bytes
from .refuse import RefusedError, require

MOST_INTERVALS = 2**18
MOST_CHARACTERS = 2**18


class SampleMap:
    """A sample map, read from its configuration."""

    def __init__(self, config: dict):
        known = {"dtype", "intervals", "zeros", "scale", "shift"}
        require({"dtype", "intervals"} <= set(config) <= known, "the keys of the sample map")
        self.dtype = np.dtype(config["dtype"])
        self.scale = config.get("scale")
        self.zeros = config.get("zeros", 0)
        self.shift = config.get("shift", 0)
        bits = 8 * self.dtype.itemsize
        require(type(self.zeros) is int and 0 <= self.zeros < bits, "zeros")
        require(type(self.shift) is int and 0 <= self.shift <= 63, "shift")
        if "scale" in config:
            require(self.dtype.kind == "f" and "zeros" not in config, "a scale is for floats, without zeros")
            require(type(self.scale) in (int, float) and 0 < self.scale <= sys.float_info.max, "the scale")
        self.bits = 64 if "scale" in config else bits - self.zeros
        self.starts, lengths = read_intervals(config["intervals"], self.bits)
        self.ranks = [0, *accumulate(length + 1 for length in lengths)]  # of the starts; the last is the count
        self.maximum = (self.ranks[-1] - 1) >> self.shift
        require(self.maximum < 2**24, "samples of more than 24 bits")

    def voxels(self, samples: np.ndarray, residue: bytes) -> np.ndarray:
        """Voxels of the shape of the samples."""
        residues = read_residue(residue, self.shift, samples.size)
        little = b"".join(self.voxel((sample << self.shift) + low)
                          for sample, low in zip(samples.ravel().tolist(), residues, strict=True))
        return np.frombuffer(little, self.dtype.newbyteorder("<")).reshape(samples.shape).astype(self.dtype)

    def voxel(self, rank: int) -> bytes:
        """The voxel of that rank, in little-endian bytes."""
        require(0 <= rank < self.ranks[-1], "a rank outside the intervals")
        interval = bisect_right(self.ranks, rank) - 1
        pattern = self.starts[interval] + rank - self.ranks[interval]
        width = self.dtype.itemsize
        if self.scale is not None:
            number = -0.0 if pattern == 2**63 else float(pattern - 2**63 - (pattern > 2**63))
            with np.errstate(over="ignore"):
                return np.float64(number * self.scale).astype(self.dtype.newbyteorder("<")).tobytes()
        middle = 2**(self.bits - 1)
        if self.dtype.kind == "u":
            value = pattern
        elif self.dtype.kind == "i":
            value = pattern ^ middle
        else:
            value = pattern - middle if pattern >= middle else 2 * middle - 1 - pattern
        return (value << self.zeros).to_bytes(width, "little")


def read_intervals(table: str, bits: int) -> tuple[list[int], list[int]]:
    """Starts of the intervals and their lengths, each one less than the integers they hold."""
    require(isinstance(table, str) and len(table) <= MOST_CHARACTERS, "the table of intervals")
    try:
        packed = base64.b64decode(table, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(f"no Base64: {error}") from error
    data = inflate(packed, 16 * MOST_INTERVALS)
    require(len(data) % 16 == 0 and data, "a table of intervals of another length")
    planes = np.frombuffer(data, np.uint8).reshape(8, -1)
    numbers = list(struct.unpack(f"<{len(data) // 8}Q", planes.T.tobytes()))
    gaps, lengths = numbers[:len(numbers) // 2], numbers[len(numbers) // 2:]
    starts, after = [], 0
    for gap, length in zip(gaps, lengths, strict=True):
        starts.append(after + gap)
        after = starts[-1] + length + 1
    require(after <= 2**bits, "a pattern of too many bits")
    return starts, lengths


def read_residue(residue: bytes, shift: int, voxels: int) -> list[int]:
    """The low bits of every rank."""
    stream = Bytes(residue)
    values = [0] * voxels
    for plane in range((shift + 7) // 8):
        how, length = struct.unpack("<BI", stream.take(5))
        data = stream.take(length)
        require(how in (0, 1), "a plane of residue stored in an unknown way")
        data = inflate(data, voxels) if how else data
        require(len(data) == voxels, "a plane of residue of another length")
        values = [value | byte << 8 * plane for value, byte in zip(values, data, strict=True)]
    stream.end()
    require(all(value < 2**shift for value in values), "residue of too many bits")
    return values
