"""Integers of given widths, one after the other, the lowest bit first, padded to whole bytes."""

from __future__ import annotations

import numpy as np

from ..compiled import compiled, loaded


def pack_bits(values: np.ndarray, widths: np.ndarray) -> bytes:
    """The `widths` low bits of each value."""
    owner, place = _bit_places(widths)
    return np.packbits((values[owner] >> place & 1).astype(np.uint8), bitorder="little").tobytes()


def unpack_bits(packed: bytes | memoryview, widths: np.ndarray) -> np.ndarray:
    """Undo `pack_bits`; int64."""
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=int(widths.sum()), bitorder="little")
    owner, place = _bit_places(widths)
    values = np.zeros(len(widths), np.int64)
    np.add.at(values, owner, bits.astype(np.int64) << place)
    return values


def pack_low_bits(values: np.ndarray, width: int) -> bytes:
    """The same for int32 values of one width."""
    if loaded():
        packed = np.empty(packed_size(len(values), width), np.uint8)
        _pack(values, width, packed)
        return packed.tobytes()
    bits = np.empty((len(values), width), np.uint8)
    for place in range(width):
        bits[:, place] = values >> place & 1
    return np.packbits(bits, bitorder="little").tobytes()


def append_low_bits(values: np.ndarray, packed: bytes | memoryview, width: int) -> None:
    """Undo `pack_low_bits`: each of the int32 `values` is shifted up, and its bits take the place below."""
    if loaded():
        _append(values, np.frombuffer(packed, np.uint8), width)
        return
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=len(values) * width, bitorder="little")
    bits = bits.reshape(len(values), width)
    for place in reversed(range(width)):
        values <<= 1
        values |= bits[:, place]


def packed_size(count: int, width: int) -> int:
    """Bytes of `count` integers of one width."""
    return count * width + 7 >> 3


def _bit_places(widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every bit, the value it belongs to and its place in it."""
    owner = np.repeat(np.arange(len(widths)), widths)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(widths) - widths, widths)


@compiled
def _pack(values, width, packed):
    mask, held, n_held, at = (1 << width) - 1, 0, 0, 0
    for n in range(len(values)):
        held |= (values[n] & mask) << n_held
        n_held += width
        while n_held >= 8:
            packed[at] = held & 255
            at += 1
            held >>= 8
            n_held -= 8
    if n_held:
        packed[at] = held


@compiled
def _append(values, packed, width):
    mask, held, n_held, at = (1 << width) - 1, 0, 0, 0
    for n in range(len(values)):
        while n_held < width:
            held |= packed[at] << n_held
            at += 1
            n_held += 8
        values[n] = values[n] << width | held & mask
        held >>= width
        n_held -= width
