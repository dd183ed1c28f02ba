"""Codec `raw`: every sample in the fewest whole bytes, little-endian.

It compresses nothing. It is what a volume falls back to when the chosen codec would make it larger, and the plainest
example of what a codec is.

    samples in C order, each   | byte 0 (lowest) | byte 1, if any | byte 2, if any |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ..errors import FormatError
from . import Codec, Progress


class RawCodec(Codec):
    """Packed samples.

    Guarantees those of `Codec`; the payload has exactly `width` bytes per voxel, whatever the voxels are.

    Parameters
    ----------
    width : int
        Bytes per sample, 1 to 3.
    """

    codec_id = "raw"
    presets: ClassVar = {"plain": "Stores the samples as they are, in as few bytes as their range needs."}

    def __init__(self, width: int) -> None:
        self._width = width

    @classmethod
    def for_maximum(cls, maximum: int) -> RawCodec:
        """The codec for samples up to `maximum`."""
        return cls(max(1, (maximum.bit_length() + 7) // 8))

    def size(self, voxels: int) -> int:
        """Bytes of the payload of that many voxels."""
        return voxels * self._width

    @classmethod
    def fit(cls, slabs: Sequence[np.ndarray], maximum: int, preset: str, spacing: tuple[float, float, float],
            progress: Progress | None = None) -> RawCodec:
        """Needs the maximum only and looks at no slab."""
        cls.check_preset(preset)
        return cls.for_maximum(maximum)

    def get_config(self) -> dict:
        return {"width": self._width}

    @classmethod
    def from_config(cls, config: dict, model: bytes) -> RawCodec:
        if set(config) != {"width"} or type(config["width"]) is not int or not 1 <= config["width"] <= 3 or model:
            raise FormatError("The configuration of the codec 'raw' is a width of 1 to 3 bytes and nothing else.")
        return cls(config["width"])

    def __repr__(self) -> str:
        return f"RawCodec(width={self._width})"

    def encode(self, slab: np.ndarray) -> bytes:
        quads = np.ascontiguousarray(slab, dtype="<i4").view(np.uint8).reshape(-1, 4)
        return quads[:, :self._width].tobytes()

    def decode(self, payload: bytes, shape: tuple[int, int, int, int]) -> np.ndarray:
        count = int(np.prod(shape, dtype=np.int64))
        if len(payload) != self.size(count):
            raise FormatError(f"A raw slab of {count} voxels has {len(payload)} bytes; it should have "
                              f"{self.size(count)}.")
        quads = np.zeros((count, 4), dtype=np.uint8)
        quads[:, :self._width] = np.frombuffer(payload, dtype=np.uint8).reshape(count, self._width)
        return quads.view("<i4").astype(np.int32, copy=False).reshape(shape)


CODEC = RawCodec
