"""What is known before a coefficient is coded: a prediction of its value and of how far off that will be.

Both are linear in what the decoder has already: the low part of the level, the bands and passes before, the band of
the same name one level coarser. The weights are integers, fitted by the encoder to each volume (`fitting`), so the
decoder only adds and multiplies integers. The prediction is rounded to quarters; what is coded is the difference to
its nearest integer, in the group given by the expected magnitude and the quarter.

The idea of estimating the spread from magnitudes of neighbours, other bands and the parent is that of ECECOW
(Wu 1997) and EZBC; predicting the mean as well follows the least-squares prediction coders.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .lattice import Component, Components, Lattice, Offset, Pass
from .lifting import BandName, band_names

WEIGHT_BITS = 10     # weights are integers in units of 2**-10
PHASE_BITS = 2       # predictions are kept to quarters
SPREAD_BITS = 4      # expected magnitudes are kept to sixteenths (times 2**unit)
N_CLASSES = 60
FINE_CLASSES = 28    # below: expected magnitudes under 8, where the quarter of the prediction matters
N_GROUPS = N_CLASSES << PHASE_BITS

_PLANE = [(0, j, i) for j in (-1, 0, 1) for i in (-1, 0, 1)]
_BOX = [(d, j, i) for d in (-1, 0, 1) for j in (-1, 0, 1) for i in (-1, 0, 1)]
LOW_TAPS: list[Offset] = [o for o in _PLANE if o != (0, 0, 0)] + [(0, 0, -2), (0, 0, 2), (0, -2, 0), (0, 2, 0)]
BAND_TAPS: list[Offset] = _PLANE
_CROSS_J: list[Offset] = [(0, -1, 0), (0, 1, 0)]
_CROSS_I: list[Offset] = [(0, 0, -1), (0, 0, 1)]
_DIAGONAL: list[Offset] = [(0, j, i) for j in (-1, 1) for i in (-1, 1)]
MAGNITUDE_TAPS: list[list[Offset]] = [[(0, 0, 0)], _CROSS_J, _CROSS_I, _DIAGONAL]
N_GRADIENTS = 4

_CHUNK = 1 << 15     # elements worked on at a time, so that they stay in the cache


def _class_of_spread() -> np.ndarray:
    """Class of each expected magnitude 0 .. 65535: a small float with two bits of mantissa."""
    spread = np.arange(1 << 16)
    exponent = np.maximum(np.frexp(spread)[1] - 3, 0)
    return (4 * exponent + (spread >> exponent)).astype(np.uint8)


_CLASS_OF_SPREAD = _class_of_spread()
_PHASE_MASK = np.where(np.arange(N_CLASSES) < FINE_CLASSES, (1 << PHASE_BITS) - 1, 0).astype(np.uint8)


@dataclass(frozen=True)
class Weights:
    """Weights of one pass of one band: `mean` for `mean_terms`, `spread` for `spread_terms` and a constant."""

    mean: np.ndarray
    spread: np.ndarray


@dataclass
class Known:
    """What both sides know of one level at some moment of coding it.

    Attributes
    ----------
    lattice : Lattice
    low : components of the low part
    gradients : for each component of the low part, `N_GRADIENTS` arrays of local differences, not negative
    parents : the band of the same name one level coarser, as magnitudes on this lattice (zero where there is none)
    bands, residuals : values and coding residuals (as magnitudes) of all bands so far, in coding order
    """

    lattice: Lattice
    low: Components
    parents: dict[BandName, Components]
    gradients: dict[Component, list[np.ndarray]] = field(init=False)
    bands: dict[BandName, Components] = field(default_factory=dict)
    residuals: dict[BandName, Components] = field(default_factory=dict)

    def __post_init__(self):
        self.gradients = {component: self._local_differences(component) for component in self.low}

    def _local_differences(self, component: Component) -> list[np.ndarray]:
        reach = self.lattice.reach
        centre = 2 * self.low[component]
        found = []
        for offsets in (_CROSS_J, _CROSS_I):
            (before, a), (after, b) = (self.lattice.tap(component, offset) for offset in offsets)
            left, right = self.low[before], self.low[after]
            left, right = (flat[reach + shift:len(flat) - reach + shift] for flat, shift in ((left, a), (right, b)))
            for difference in (right - left, left + right - centre[reach:-reach]):
                flat = np.zeros(self.lattice.size, np.int32)
                np.abs(difference, out=flat[reach:-reach])
                found.append(flat)
        return found


Term = list[tuple[np.ndarray, int]]
"""Flat arrays with their offsets, to be added up and given one weight."""


def mean_terms(known: Known, name: BandName, step: Pass, component: Component) -> list[Term]:
    """The terms of the prediction; the last, the low part's centre, has minus the sum of the low taps' weights."""
    tap = known.lattice.tap

    def at(components: Components, offset: Offset) -> Term:
        where, shift = tap(component, offset)
        return [(components[where], shift)]

    terms = [at(known.low, offset) for offset in LOW_TAPS]
    for other in known.bands:
        if other == name:
            terms += [at(known.bands[name], offset) for offset in own_taps(known.lattice.cut_depth, step)]
        else:
            terms += [at(known.bands[other], offset) for offset in BAND_TAPS]
    return [*terms, [(known.low[component], 0)]]


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


def spread_terms(known: Known, name: BandName, step: Pass, component: Component) -> list[Term]:
    """The terms of the expected magnitude; none is negative."""
    lattice = known.lattice

    def total(components: Components, offsets: list[Offset]) -> Term:
        found = (lattice.tap(component, offset) for offset in offsets)
        return [(components[where], shift) for where, shift in found]

    terms = [[(flat, 0)] for flat in known.gradients[component]]
    for other, residuals in known.residuals.items():
        if other != name:
            terms += [total(residuals, offsets) for offsets in MAGNITUDE_TAPS]
    terms.append([(known.parents[name][component], 0)])
    return terms + [total(known.residuals[name], ring) for ring in _own_rings(lattice.cut_depth, step)]


def weighted_sum(terms: list[Term], weights: np.ndarray, constant: int, lattice: Lattice, dtype: type) -> np.ndarray:
    """constant + sum of weight * term, over a whole component (zero in the outermost elements)."""
    reach, size = lattice.reach, lattice.size
    result = np.zeros(size, dtype)
    used = [(term, int(weight)) for term, weight in zip(terms, weights, strict=True) if weight]
    buffer = np.empty(_CHUNK, dtype)
    for begin in range(reach, size - reach, _CHUNK):
        end = min(begin + _CHUNK, size - reach)
        total, part = result[begin:end], buffer[:end - begin]
        total += constant
        for term, weight in used:
            (flat, shift), *others = term
            if others:
                (second, second_shift), *others = others
                np.add(flat[begin + shift:end + shift], second[begin + second_shift:end + second_shift], out=part)
                for flat, shift in others:
                    part += flat[begin + shift:end + shift]
                part *= weight
            else:
                np.multiply(flat[begin + shift:end + shift], weight, out=part, dtype=dtype)
            total += part
    return result


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
    taps = np.append(weights.mean, -weights.mean[:len(LOW_TAPS)].sum())
    mean = weighted_sum(mean_terms(known, name, step, component), taps, 1 << WEIGHT_BITS - PHASE_BITS - 1, lattice,
                        dtype)
    mean = lattice.inside(mean, component, shape) >> WEIGHT_BITS - PHASE_BITS
    mean += 1 << PHASE_BITS - 1
    phase = (mean & (1 << PHASE_BITS) - 1).astype(np.uint8)
    mean >>= PHASE_BITS

    spread = weighted_sum(spread_terms(known, name, step, component), weights.spread[:-1], int(weights.spread[-1]),
                          lattice, dtype)
    spread = lattice.inside(spread, component, shape) >> WEIGHT_BITS - SPREAD_BITS + unit
    np.clip(spread, 0, (1 << 16) - 1, out=spread)
    group = _CLASS_OF_SPREAD.take(spread)
    phase &= _PHASE_MASK.take(group)
    group <<= PHASE_BITS
    group |= phase
    return mean.astype(np.int32, copy=False), group
