"""The reversible 5/3 wavelet (Le Gall and Tabatabai 1988, as integer lifting in JPEG 2000) over volumes.

Along one axis of n samples x[0..n-1], mirrored at both ends:

    high[m] = x[2m+1] - floor((x[2m] + x[2m+2]) / 2)
    low[m]  = x[2m]   + floor((high[m-1] + high[m] + 2) / 4)

`low` has ceil(n/2) samples and `high` floor(n/2). An axis of one sample is left as it is.

Arrays have the axes (batch, depth, j, i). One level splits i, then j, then, on the first `depth_levels` levels, depth;
the all-low part is split again. Exact in integers, so the inverse restores every bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...compiled import compiled, loaded

DEPTH, ROW, COLUMN = 1, 2, 3
_SMALL = 12

BandName = tuple[int, int, int]
"""(depth, j, i), each 1 where the band is the high half along that axis."""


Split = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""The low and the high half of an array along an axis."""

Merge = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""The array that `Split` makes these halves of along an axis."""


class Level(NamedTuple):
    """What one level of the transform leaves behind.

    Attributes
    ----------
    low : array
        The all-low part, which the next coarser level (if any) splits further.
    bands : dict
        The other parts by name, in the order in which they are coded: fewest high axes first.
    """

    low: np.ndarray
    bands: dict[BandName, np.ndarray]


def band_names(depth_split: bool) -> list[BandName]:
    """Names of the bands of one level in coding order."""
    names = [(d, j, i) for d in range(2 if depth_split else 1) for j in (0, 1) for i in (0, 1)]
    return sorted(names[1:], key=lambda name: (sum(name), name[::-1]))


def useful_levels(rows: int, columns: int) -> int:
    """How often to split slices of that size: lines of up to twelve samples are left as they are."""
    levels = 0
    while max(rows, columns) >> levels > _SMALL:
        levels += 1
    return levels


def useful_depth_axes(shape: tuple[int, int, int, int]) -> dict[str, int]:
    """Which axes of (frames, k, j, i) can be the depth, and their lengths; "k" where there is but one slice."""
    lengths = {"k": shape[1], "frames": shape[0]}
    return {axis: length for axis, length in lengths.items() if length > 1} or {"k": shape[1]}


def forward(volume: np.ndarray, levels: int, depth_levels: int) -> list[Level]:
    """Split `volume` (batch, depth, j, i), an integer array; finest level first."""
    return split_levels(volume, levels, depth_levels, _split)


def merge(level: Level, depth_split: bool) -> np.ndarray:
    """Undo one level: the volume whose `_split` halves these are."""
    return merge_level(level, depth_split, _merge)


def split_levels(volume: np.ndarray, levels: int, depth_levels: int, split: Split) -> list[Level]:
    """Split `volume` (batch, depth, j, i), each axis by `split`; finest level first."""
    done = []
    for level in range(levels):
        parts = {(): volume}
        for axis in (COLUMN, ROW, DEPTH):
            if axis == DEPTH and level >= depth_levels:
                parts = {(0, *name): part for name, part in parts.items()}
            else:
                parts = {(bit, *name): half for name, part in parts.items()
                         for bit, half in enumerate(split(part, axis))}
        volume = parts[0, 0, 0]
        done.append(Level(volume, {name: parts[name] for name in band_names(level < depth_levels)}))
    return done


def merge_level(level: Level, depth_split: bool, merge: Merge) -> np.ndarray:
    """Undo one level, each axis by `merge`."""
    parts = {(0, 0, 0): level.low, **level.bands}
    for axis in (DEPTH, ROW, COLUMN):
        if axis == DEPTH and not depth_split:
            parts = {name[1:]: part for name, part in parts.items()}
        else:
            parts = {name[1:]: merge(part, parts[1, *name[1:]], axis) for name, part in parts.items() if name[0] == 0}
    return parts[()]


def level_shapes(shape: tuple[int, ...], levels: int, depth_levels: int) -> list[tuple[int, ...]]:
    """Shape of the volume before each level, then of the last low part: levels + 1 shapes."""
    shapes = [tuple(shape)]
    for level in range(levels):
        batch, depth, rows, columns = shapes[-1]
        shapes.append((batch, depth + 1 >> 1 if level < depth_levels else depth, rows + 1 >> 1, columns + 1 >> 1))
    return shapes


def band_shape(parent: tuple[int, ...], name: BandName, depth_split: bool) -> tuple[int, ...]:
    """Shape of a band of the level that splits a volume of shape `parent`."""
    batch, depth, rows, columns = parent
    halves = [(size + 1 >> 1, size >> 1) for size in (depth, rows, columns)]
    return (batch, halves[0][name[0]] if depth_split else depth, halves[1][name[1]], halves[2][name[2]])


def differences(low: np.ndarray) -> np.ndarray:
    """Differences along depth, then j, then i; the first of each line is kept."""
    for axis in (DEPTH, ROW, COLUMN):
        low = np.diff(low, axis=axis, prepend=low.dtype.type(0))
    return low


def sums(differences: np.ndarray) -> np.ndarray:
    """Undo `differences`, in 32 bits."""
    for axis in (COLUMN, ROW, DEPTH):
        differences = np.cumsum(differences, axis=axis, dtype=np.int32)
    return differences


def at(axis: int, index: slice) -> tuple:
    """The index that takes a slice along an axis."""
    return (*(slice(None),) * axis, index)


def _split(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    even, odd = x[at(axis, slice(0, None, 2))], x[at(axis, slice(1, None, 2))]
    n_low, n_high = even.shape[axis], odd.shape[axis]
    if n_high == 0:
        return even.copy(), odd.copy()
    if loaded() and x.dtype == np.int32:
        low, high = np.empty(even.shape, np.int32), np.empty(odd.shape, np.int32)
        _split_lines(_lines(x, axis), _lines(low, axis), _lines(high, axis))
        return low, high
    high = around_high(even, n_high, axis)
    high >>= 1
    np.subtract(odd, high, out=high)
    low = even + _update(high, n_low, axis)
    return low, high


def _merge(low: np.ndarray, high: np.ndarray, axis: int) -> np.ndarray:
    n_low, n_high = low.shape[axis], high.shape[axis]
    if n_high == 0:
        return low
    shape = list(low.shape)
    shape[axis] = n_low + n_high
    x = np.empty(shape, low.dtype)
    if loaded() and low.dtype == high.dtype == np.int32:
        _merge_lines(_lines(low, axis), _lines(high, axis), _lines(x, axis))
        return x
    even = low - _update(high, n_low, axis)
    x[at(axis, slice(0, None, 2))] = even
    predicted = around_high(even, n_high, axis)
    predicted >>= 1
    np.add(predicted, high, out=x[at(axis, slice(1, None, 2))])
    return x


def _update(high: np.ndarray, n_low: int, axis: int) -> np.ndarray:
    """floor((high[m-1] + high[m] + 2) / 4) for m = 0 .. n_low - 1."""
    update = around_low(high, n_low, axis)
    update += 2
    update >>= 2
    return update


def around_high(low: np.ndarray, n_high: int, axis: int) -> np.ndarray:
    """low[m] + low[m+1] for every m of the high half, mirrored at the end."""
    n_low = low.shape[axis]
    around = low[at(axis, slice(0, n_high))].copy()
    around[at(axis, slice(0, n_low - 1))] += low[at(axis, slice(1, n_low))]
    if n_high == n_low:                                  # the last odd sample mirrors its left neighbour
        around[at(axis, slice(n_low - 1, None))] *= 2
    return around


def around_low(high: np.ndarray, n_low: int, axis: int) -> np.ndarray:
    """high[m-1] + high[m] for every m of the low half, mirrored at both ends."""
    n_high = high.shape[axis]
    shape = list(high.shape)
    shape[axis] = n_low
    around = np.empty(shape, high.dtype)
    around[at(axis, slice(0, n_high))] = high
    if n_low > n_high:
        around[at(axis, slice(n_high, None))] = high[at(axis, slice(n_high - 1, None))]
    around[at(axis, slice(1, None))] += high[at(axis, slice(0, n_low - 1))]
    around[at(axis, slice(0, 1))] += high[at(axis, slice(0, 1))]
    return around


def _lines(array: np.ndarray, axis: int) -> np.ndarray:
    """(.., n, ..) with the axes before and those after in one each; a view where the array is contiguous."""
    return np.ascontiguousarray(array).reshape(int(np.prod(array.shape[:axis])), array.shape[axis], -1)


@compiled
def _split_lines(x, low, high):
    n_low, n_high = low.shape[1], high.shape[1]
    if x.shape[2] == 1:
        for outer in range(len(x)):
            line, lows, highs = x[outer, :, 0], low[outer, :, 0], high[outer, :, 0]
            for m in range(n_low - 1):
                highs[m] = line[2 * m + 1] - (np.int32(line[2 * m] + line[2 * m + 2]) >> 1)
            if n_high == n_low:
                highs[-1] = line[-1] - (np.int32(2 * line[-2]) >> 1)
            lows[0] = line[0] + (np.int32(2 * highs[0] + 2) >> 2)
            for m in range(1, n_high):
                lows[m] = line[2 * m] + (np.int32(highs[m - 1] + highs[m] + 2) >> 2)
            if n_low > n_high:
                lows[-1] = line[-1] + (np.int32(2 * highs[-1] + 2) >> 2)
        return
    for outer in range(len(x)):
        for m in range(n_high):
            before, odd, after = x[outer, 2 * m], x[outer, 2 * m + 1], x[outer, 2 * min(m + 1, n_low - 1)]
            result = high[outer, m]
            for n in range(len(result)):
                result[n] = odd[n] - (np.int32(before[n] + after[n]) >> 1)
        for m in range(n_low):
            before, even, after = high[outer, max(m - 1, 0)], x[outer, 2 * m], high[outer, min(m, n_high - 1)]
            result = low[outer, m]
            for n in range(len(result)):
                result[n] = even[n] + (np.int32(before[n] + after[n] + 2) >> 2)


@compiled
def _merge_lines(low, high, x):
    n_low, n_high = low.shape[1], high.shape[1]
    if x.shape[2] == 1:
        for outer in range(len(x)):
            line, lows, highs = x[outer, :, 0], low[outer, :, 0], high[outer, :, 0]
            even = np.int32(lows[0] - (np.int32(2 * highs[0] + 2) >> 2))
            line[0] = even
            for m in range(1, n_low):
                after = np.int32(lows[m] - (np.int32(highs[m - 1] + highs[min(m, n_high - 1)] + 2) >> 2))
                line[2 * m] = after
                line[2 * m - 1] = highs[m - 1] + (np.int32(even + after) >> 1)
                even = after
            if n_high == n_low:
                line[-1] = highs[-1] + (np.int32(2 * even) >> 1)
        return
    for outer in range(len(x)):
        for m in range(n_low):
            before, even, after = high[outer, max(m - 1, 0)], low[outer, m], high[outer, min(m, n_high - 1)]
            result = x[outer, 2 * m]
            for n in range(len(result)):
                result[n] = even[n] - (np.int32(before[n] + after[n] + 2) >> 2)
        for m in range(n_high):
            before, odd, after = x[outer, 2 * m], high[outer, m], x[outer, 2 * min(m + 1, n_low - 1)]
            result = x[outer, 2 * m + 1]
            for n in range(len(result)):
                result[n] = odd[n] + (np.int32(before[n] + after[n]) >> 1)
