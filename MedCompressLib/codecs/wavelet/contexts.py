"""What is known before a coefficient is coded: a prediction of its value and of how far off that will be.

Both are linear in what the decoder has already: the low part of the level, the bands and passes before, the band of
the same name one level coarser. The weights are integers, fitted by the encoder to each volume (`fitting`), so the
decoder only adds and multiplies integers. The prediction is rounded to quarters; what is coded is the difference to
its nearest integer, in the group given by the expected magnitude and the quarter.

The idea of estimating the spread from magnitudes of neighbours, other bands and the parent is that of ECECOW
(Wu 1997) and EZBC; predicting the mean as well follows the least-squares prediction coders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from ...compiled import compiled, loaded
from .lattice import Component, Components, Lattice, Offset, Pass
from .lifting import BandName, band_names

WEIGHT_BITS = 10     # weights are integers in units of 2**-10
PHASE_BITS = 2       # predictions are kept to quarters
SPREAD_BITS = 4      # expected magnitudes are kept to sixteenths (times 2**unit)
N_CLASSES = 60
FINE_CLASSES = 28    # below: expected magnitudes under 8, where the quarter of the prediction matters
N_GROUPS = N_CLASSES << PHASE_BITS
LOW_GROUP = N_GROUPS  # the all-low part of the coarsest level has a group of its own

_PLANE = [(0, j, i) for j in (-1, 0, 1) for i in (-1, 0, 1)]
_BOX = [(d, j, i) for d in (-1, 0, 1) for j in (-1, 0, 1) for i in (-1, 0, 1)]
LOW_TAPS: list[Offset] = [o for o in _PLANE if o != (0, 0, 0)] + [(0, 0, -2), (0, 0, 2), (0, -2, 0), (0, 2, 0)]
BAND_TAPS: list[Offset] = _PLANE
_CROSS_J: list[Offset] = [(0, -1, 0), (0, 1, 0)]
_CROSS_I: list[Offset] = [(0, 0, -1), (0, 0, 1)]
_DIAGONAL: list[Offset] = [(0, j, i) for j in (-1, 1) for i in (-1, 1)]
MAGNITUDE_TAPS: list[list[Offset]] = [[(0, 0, 0)], _CROSS_J, _CROSS_I, _DIAGONAL]
N_GRADIENTS = 4

_HALF = 1 << WEIGHT_BITS - PHASE_BITS - 1
_CHUNK = 1 << 15     # elements that NumPy works on at a time, so that they stay in the cache
_BLOCK = 1 << 11     # the same for compiled loops, of whole rows


def _class_of_spread() -> np.ndarray:
    """Class of each expected magnitude 0 .. 65535: a small float with two bits of mantissa."""
    spread = np.arange(1 << 16)
    exponent = np.maximum(np.frexp(spread)[1] - 3, 0)
    return (4 * exponent + (spread >> exponent)).astype(np.uint8)


_CLASS_OF_SPREAD = _class_of_spread()


def _phase_mask(unit: int) -> np.ndarray:
    """What of the phase counts in each class, where expected magnitudes are in units of 2**(unit - SPREAD_BITS)."""
    fine = FINE_CLASSES - 4 * min(unit, 0)
    return np.where(np.arange(N_CLASSES) < fine, (1 << PHASE_BITS) - 1, 0).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of one pass of one band: `mean` for `mean_terms`, `spread` for `spread_terms` and a constant."""

    mean: np.ndarray
    spread: np.ndarray


class Known:
    """What both sides know of one level at some moment of coding it.

    All arrays lie in one, `values`: first the components of the low part, then `N_GRADIENTS` times as many of its
    local differences, then for each band in coding order those of its parents, its values and its residuals. Any
    neighbour in any of them is thus at a fixed offset from the element number of the one to be coded.

    Parameters
    ----------
    lattice : Lattice
    low : the low part of the level

    Attributes
    ----------
    values : flat int32 array
    bands : for each band its components, zero until they are filled in
    residuals : the same for the magnitudes of coding residuals
    parents : the same for the magnitudes of the band of that name one level coarser, on this lattice; zero where there
        is none. As (j, i) and its three neighbours have one parent, only the components (., 0, 0) are used.
    """

    def __init__(self, lattice: Lattice, low: np.ndarray):
        self.lattice = lattice
        components, names = lattice.components(), band_names(not lattice.cut_depth)
        self.values = np.zeros((1 + N_GRADIENTS + 3 * len(names)) * len(components) * lattice.size, np.int32)
        planes = self.values.reshape(-1, len(components), lattice.size)

        def plane(number: int) -> Components:
            return dict(zip(components, planes[number], strict=True))

        self.parents = {name: plane(parents_plane(number)) for number, name in enumerate(names)}
        self.bands = {name: plane(values_plane(number)) for number, name in enumerate(names)}
        self.residuals = {name: plane(residuals_plane(number)) for number, name in enumerate(names)}
        self._low, self._gradients = plane(LOW_PLANE), [plane(1 + number) for number in range(N_GRADIENTS)]
        self.take_low(low)

    def take_low(self, array: np.ndarray) -> None:
        """Take another low part."""
        self.lattice.cut(array, "edge", self._low)
        low, gradients, reach = self._low, self._gradients, self.lattice.reach
        for component in low:
            centre = low[component][reach:-reach]
            for number, offsets in enumerate((_CROSS_J, _CROSS_I)):
                (before, a), (after, b) = (self.lattice.tap(component, offset) for offset in offsets)
                left, right = (low[where][reach + shift:self.lattice.size - reach + shift]
                               for where, shift in ((before, a), (after, b)))
                slope, bend = (gradients[2 * number + more][component][reach:-reach] for more in (0, 1))
                np.abs(np.subtract(right, left, out=slope), out=slope)
                np.add(left, right, out=bend)
                bend -= centre
                bend -= centre
                np.abs(bend, out=bend)


LOW_PLANE = 0


def parents_plane(band_number: int) -> int:
    return 1 + N_GRADIENTS + 3 * band_number


def values_plane(band_number: int) -> int:
    return parents_plane(band_number) + 1


def residuals_plane(band_number: int) -> int:
    return parents_plane(band_number) + 2


@dataclass(frozen=True)
class Terms:
    """Values to be added up, each sum being given one weight.

    Attributes
    ----------
    offsets : int64 array
        From the number of an element in its component to its place in `Known.values`.
    counts : int64 array
        How many of the offsets make each term, in order.
    """

    offsets: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, terms: list[list[int]]) -> Terms:
        return cls(np.array([offset for term in terms for offset in term]), np.array([len(term) for term in terms]))

    def __iter__(self) -> Iterator[list[int]]:
        """The offsets of each term."""
        ends = np.cumsum(self.counts).tolist()
        offsets = self.offsets.tolist()
        return (offsets[end - count:end] for end, count in zip(ends, self.counts.tolist(), strict=True))


def places(lattice: Lattice, plane: int, component: Component, offsets: Sequence[Offset] = ((0, 0, 0),)) -> list[int]:
    """Where the neighbours of a component at offsets are in `Known.values`, in a plane of it."""
    start = plane * len(lattice.components()) * lattice.size
    around = _around(lattice, component)
    return [start + around[offset] for offset in offsets]


@lru_cache(maxsize=256)
def _around(lattice: Lattice, component: Component) -> dict[Offset, int]:
    """Where in a plane each neighbour of a component is."""
    taps = {offset: lattice.tap(component, offset) for offset in {*_BOX, *LOW_TAPS}}
    return {offset: lattice.components().index(where) * lattice.size + shift
            for offset, (where, shift) in taps.items()}


@lru_cache(maxsize=4096)
def mean_terms(lattice: Lattice, name: BandName, step: Pass, component: Component) -> Terms:
    """The terms of the prediction; the last, the low part's centre, has minus the sum of the low taps' weights."""
    own = band_names(not lattice.cut_depth).index(name)
    taps = places(lattice, LOW_PLANE, component, LOW_TAPS)
    for other in range(own):
        taps += places(lattice, values_plane(other), component, BAND_TAPS)
    taps += places(lattice, values_plane(own), component, own_taps(lattice.cut_depth, step))
    return Terms.of([[each] for each in taps + places(lattice, LOW_PLANE, component)])


@lru_cache(maxsize=4096)
def spread_terms(lattice: Lattice, name: BandName, step: Pass, component: Component) -> Terms:
    """The terms of the expected magnitude; none is negative."""
    own = band_names(not lattice.cut_depth).index(name)
    terms = [places(lattice, 1 + number, component) for number in range(N_GRADIENTS)]
    terms += [places(lattice, residuals_plane(other), component, ring) for other in range(own)
              for ring in MAGNITUDE_TAPS]
    terms.append(places(lattice, parents_plane(own), (component[0], 0, 0)))
    terms += [places(lattice, residuals_plane(own), component, ring) for ring in _own_rings(lattice.cut_depth, step)]
    return Terms.of(terms)


@cache
def own_taps(cut_depth: bool, step: Pass) -> list[Offset]:
    """Offsets in the 3x3x3 box at which a pass knows its own band."""
    return [offset for offset in _BOX if step.knows(offset, cut_depth)]


def _own_rings(cut_depth: bool, step: Pass) -> list[list[Offset]]:
    """`own_taps` in the slice, straight above and below, and around those; empty ones left out."""
    own = own_taps(cut_depth, step)
    rings = ([o for o in own if o[0] == 0], [o for o in own if o[0] and o[1:] == (0, 0)],
             [o for o in own if o[0] and o[1:] != (0, 0)])
    return [ring for ring in rings if ring]


def term_counts(name: BandName, step: Pass, depth_split: bool) -> tuple[int, int]:
    """How many weights a pass has for the mean (the centre not counted) and for the spread (with the constant)."""
    before = band_names(depth_split).index(name)
    return (len(LOW_TAPS) + before * len(BAND_TAPS) + len(own_taps(not depth_split, step)),
            N_GRADIENTS + before * len(MAGNITUDE_TAPS) + 1 + len(_own_rings(not depth_split, step)) + 1)


def predict(known: Known, name: BandName, step: Pass, component: Component, shape: tuple[int, ...], weights: Weights,
            unit: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """The integer nearest to the prediction, and the group, of every coefficient of one component.

    Parameters
    ----------
    shape : of the band
    unit : expected magnitudes are kept in units of 2**(unit - SPREAD_BITS)
    dtype : int32, or int64 where int32 could overflow

    Returns
    -------
    mean : int32 array
    group : uint8 array of the same shape, below N_GROUPS
    """
    lattice = known.lattice
    taps = np.append(weights.mean, -weights.mean[:len(LOW_TAPS)].sum()).astype(np.int32)
    means = mean_terms(lattice, name, step, component)
    spreads = spread_terms(lattice, name, step, component)
    spread_shift = WEIGHT_BITS - SPREAD_BITS + unit
    if loaded():
        mean = np.empty(lattice.inside(known.values[:lattice.size], component, shape).shape, np.int32)
        group = np.empty(mean.shape, np.uint8)
        _predict_compiled(known.values, lattice.padded, *used_terms(means, taps),
                          *used_terms(spreads, weights.spread[:-1]), int(weights.spread[-1]), spread_shift,
                          _CLASS_OF_SPREAD, _phase_mask(unit), np.empty(max(_BLOCK, lattice.padded[3]), dtype),
                          mean, group)
        return mean, group
    mean = weighted_sum(known.values, means, taps, _HALF, lattice, dtype)
    mean = lattice.inside(mean, component, shape) >> WEIGHT_BITS - PHASE_BITS
    mean += 1 << PHASE_BITS - 1
    phase = (mean & (1 << PHASE_BITS) - 1).astype(np.uint8)
    mean >>= PHASE_BITS

    spread = weighted_sum(known.values, spreads, weights.spread[:-1], int(weights.spread[-1]), lattice, dtype)
    spread = lattice.inside(spread, component, shape) >> spread_shift
    np.clip(spread, 0, (1 << 16) - 1, out=spread)
    group = _CLASS_OF_SPREAD.take(spread)
    phase &= _phase_mask(unit).take(group)
    group <<= PHASE_BITS
    group |= phase
    return mean.astype(np.int32, copy=False), group


def weighted_sum(values: np.ndarray, terms: Terms, weights: np.ndarray, constant: int, lattice: Lattice,
                 dtype: type) -> np.ndarray:
    """constant + sum of weight * term, over a whole component (zero in the outermost elements)."""
    reach, size = lattice.reach, lattice.size
    result = np.zeros(size, dtype)
    used = [(term, weight) for term, weight in zip(terms, weights.tolist(), strict=True) if weight]
    buffer = np.empty(_CHUNK, dtype)
    for begin in range(reach, size - reach, _CHUNK):
        end = min(begin + _CHUNK, size - reach)
        total, part = result[begin:end], buffer[:end - begin]
        total += constant
        for (first, *others), weight in used:
            if others:
                second, *others = others
                np.add(values[begin + first:end + first], values[begin + second:end + second], out=part,
                       dtype=dtype)
                for other in others:
                    part += values[begin + other:end + other]
                part *= weight
            else:
                np.multiply(values[begin + first:end + first], weight, out=part, dtype=dtype)
            total += part
    return result


def used_terms(terms: Terms, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and weight of each value that counts."""
    weights = np.repeat(weights, terms.counts).astype(np.int32, copy=False)
    used = weights != 0
    return terms.offsets[used], weights[used]


@compiled
def _predict_compiled(values, padded, mean_offsets, mean_weights, spread_offsets, spread_weights, constant,
                      spread_shift, class_of_spread, phase_mask, sums, mean, group):
    """`predict` in blocks of whole rows: all sums of a block, then its means and groups."""
    batch, depth, rows, columns = mean.shape
    _, padded_depth, padded_rows, padded_columns = padded
    per_block = len(sums) // padded_columns
    for b in range(batch):
        for d in range(depth):
            for top in range(0, rows, per_block):
                count = min(per_block, rows - top)
                begin = ((b * padded_depth + d + 1) * padded_rows + top + 1) * padded_columns + 1
                sums_here = sums[:(count - 1) * padded_columns + columns]
                length = len(sums_here)
                for is_spread in range(2):
                    if is_spread:
                        offsets, weights, start = spread_offsets, spread_weights, constant
                    else:
                        offsets, weights, start = mean_offsets, mean_weights, _HALF
                    for n in range(length):
                        sums_here[n] = start
                    t = 0
                    while t + 4 <= len(weights):
                        w0, w1, w2, w3 = weights[t], weights[t + 1], weights[t + 2], weights[t + 3]
                        x0 = values[begin + offsets[t]:begin + offsets[t] + length]
                        x1 = values[begin + offsets[t + 1]:begin + offsets[t + 1] + length]
                        x2 = values[begin + offsets[t + 2]:begin + offsets[t + 2] + length]
                        x3 = values[begin + offsets[t + 3]:begin + offsets[t + 3] + length]
                        for n in range(length):
                            sums_here[n] += w0 * x0[n] + w1 * x1[n] + w2 * x2[n] + w3 * x3[n]
                        t += 4
                    while t < len(weights):
                        w0 = weights[t]
                        x0 = values[begin + offsets[t]:begin + offsets[t] + length]
                        for n in range(length):
                            sums_here[n] += w0 * x0[n]
                        t += 1
                    for row in range(count):
                        sums_row = sums_here[row * padded_columns:row * padded_columns + columns]
                        mean_row, group_row = mean[b, d, top + row], group[b, d, top + row]
                        if is_spread:
                            for i in range(columns):
                                spread = min(max(sums_row[i] >> spread_shift, 0), 65535)
                                found = class_of_spread[spread]
                                group_row[i] = found << PHASE_BITS | group_row[i] & phase_mask[found]
                        else:
                            for i in range(columns):
                                quarters = (sums_row[i] >> WEIGHT_BITS - PHASE_BITS) + (1 << PHASE_BITS - 1)
                                group_row[i] = quarters & (1 << PHASE_BITS) - 1
                                mean_row[i] = quarters >> PHASE_BITS
