"""The 9/7 wavelet (Cohen, Daubechies and Feauveau 1992, as lifting after Daubechies and Sweldens 1998), not reversible.

The encoder splits in floats; merging, the decoder's side, is exact in integers: samples in units of
2**-`FRACTION_BITS`, the four lifting factors in units of 2**-`FACTOR_BITS`, every product rounded to the nearest.
Halves are not rescaled: along one axis a constant 1 becomes a low half of 1.23, which `synthesis_norm` takes into
account.

Axes, levels, bands and mirrored ends are those of `lifting`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .lifting import BandName, Level, around_high, around_low, at, merge_level, split_levels

FRACTION_BITS = 8
FACTOR_BITS = 14
FACTORS = (-25987, -868, 14466, 7266)
"""Of the four lifting steps: -1.586134342, -0.052980118, 0.882911076, 0.443506852."""

_HALF = 1 << FACTOR_BITS - 1


def forward(volume: np.ndarray, levels: int, depth_levels: int) -> list[Level]:
    """Split `volume` (batch, depth, j, i), a float array; finest level first."""
    return split_levels(volume, levels, depth_levels, _split)


def merge(level: Level, depth_split: bool) -> np.ndarray:
    """Undo one level: int64 arrays in units of 2**-`FRACTION_BITS`."""
    return merge_level(level, depth_split, _merge)


@lru_cache(maxsize=256)
def synthesis_norm(level: int, name: BandName, depth_levels: int) -> float:
    """How much an error in one coefficient of a band far from all edges counts in the samples: an L2 norm."""
    norm = 1.0
    for axis, high in enumerate(name):
        splits = min(depth_levels, level + 1) if axis == 0 else level + 1
        if axis == 0 and level >= depth_levels:
            high = 0
        norm *= _line_norm(splits, high)
    return norm


@lru_cache(maxsize=64)
def _line_norm(splits: int, high: int) -> float:
    """The same along one axis, of the coarsest low half (or high half) of a line that was split so often."""
    splits = min(splits, 10)
    if splits == 0:
        return 1.0
    size = 32 << splits
    line = np.zeros(32)
    line[16] = 1
    for split in range(splits):
        low, other = (np.zeros_like(line), line) if high and split == 0 else (line, np.zeros_like(line))
        line = _merge_floats(low, other)
    assert len(line) == size
    return float(np.sqrt((line**2).sum()))


def _merge_floats(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    a, b, c, d = (factor / (1 << FACTOR_BITS) for factor in FACTORS)
    even = low - d * (high + np.roll(high, 1))
    odd = high - c * (even + np.roll(even, -1))
    even = even - b * (odd + np.roll(odd, 1))
    odd = odd - a * (even + np.roll(even, -1))
    return np.stack([even, odd], 1).ravel()


def _split(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = x[at(axis, slice(0, None, 2))].copy(), x[at(axis, slice(1, None, 2))].copy()
    if high.shape[axis]:
        for factor, odd in zip(FACTORS, (True, False, True, False), strict=True):
            factor = x.dtype.type(factor / (1 << FACTOR_BITS))
            if odd:
                high += factor * around_high(low, high.shape[axis], axis)
            else:
                low += factor * around_low(high, low.shape[axis], axis)
    return low, high


def _merge(low: np.ndarray, high: np.ndarray, axis: int) -> np.ndarray:
    n_low, n_high = low.shape[axis], high.shape[axis]
    if n_high == 0:
        return low
    low, high = low.copy(), high.copy()
    for factor, odd in zip(reversed(FACTORS), (False, True, False, True), strict=True):
        around = around_high(low, n_high, axis) if odd else around_low(high, n_low, axis)
        around *= factor
        around += _HALF
        around >>= FACTOR_BITS
        (high if odd else low).__isub__(around)
    shape = list(low.shape)
    shape[axis] = n_low + n_high
    x = np.empty(shape, low.dtype)
    x[at(axis, slice(0, None, 2))] = low
    x[at(axis, slice(1, None, 2))] = high
    return x
