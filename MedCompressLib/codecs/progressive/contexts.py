"""What is known of a coefficient before its next bits: a prediction of its value and of how far off that will be.

The first time a level is coded, the codec `wavelet`'s terms are used. When it is refined, every coefficient of the
level is known already up to an interval, so there are neighbours on all sides and the other bands, later ones too.

The groups are the same for every level and step: only ratios of expected error, distance and step matter. So one table
may serve many bit planes, of all slabs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...compiled import compiled, loaded, worth_compiling
from ..wavelet.contexts import (
    BAND_TAPS,
    LOW_PLANE,
    LOW_TAPS,
    MAGNITUDE_TAPS,
    N_GRADIENTS,
    WEIGHT_BITS,
    Known,
    Terms,
    Weights,
    mean_terms,
    parents_plane,
    places,
    residuals_plane,
    spread_terms,
    term_counts,
    used_terms,
    values_plane,
    weighted_sum,
)
from ..wavelet.lattice import Component, Lattice, Offset, Pass
from ..wavelet.lifting import BandName, band_names

POINT_BITS = 4           # predictions and expected errors are kept to sixteenths
_DOWN = WEIGHT_BITS - POINT_BITS
_BLOCK = 1 << 11         # elements that compiled loops work on at a time, in whole rows, so that they stay in the cache
SPREAD_LIMIT = 1 << 28
N_CLASSES = 20           # of the expected error in steps: two for each octave, up to eight steps
_CLASS_BITS = 6          # the classes begin at 1/64 of a step
SIXTEENTHS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)      # of an expected error: where classes of distance begin
N_DISTANCES = len(SIXTEENTHS) + 1

N_FIRST = 8 * N_CLASSES
"""Groups of what is coded for the first time."""
SIGNIFICANT = N_DISTANCES * N_CLASSES
"""The first group of what is refined and not zero; those below are of what is zero so far."""
N_REFINED = SIGNIFICANT + (2 * N_DISTANCES - 1) * N_CLASSES

_OWN_TAPS: list[Offset] = [(0, j, i) for j in (-1, 0, 1) for i in (-1, 0, 1) if j or i] + [(-1, 0, 0), (1, 0, 0)]
_OWN_RINGS: list[list[Offset]] = [
    [(0, -1, 0), (0, 0, -1), (0, 0, 1), (0, 1, 0)],
    [(0, -1, -1), (0, -1, 1), (0, 1, -1), (0, 1, 1)],
    [(-1, 0, 0), (1, 0, 0)],
    [(d, j, i) for d in (-1, 1) for j in (-1, 0, 1) for i in (-1, 0, 1) if j or i]]


@lru_cache(maxsize=4096)
def refined_mean_terms(lattice: Lattice, name: BandName, step: Pass, component: Component) -> Terms:
    """Like `mean_terms`, with all bands and all neighbours."""
    names = band_names(not lattice.cut_depth)
    own = names.index(name)
    taps = places(lattice, LOW_PLANE, component, LOW_TAPS)
    for other in range(len(names)):
        if other != own:
            taps += places(lattice, values_plane(other), component, BAND_TAPS)
    taps += places(lattice, values_plane(own), component, _OWN_TAPS)
    return Terms.of([[each] for each in taps + places(lattice, LOW_PLANE, component)])


@lru_cache(maxsize=4096)
def refined_spread_terms(lattice: Lattice, name: BandName, step: Pass, component: Component) -> Terms:
    """Like `spread_terms`, with all bands and all neighbours."""
    names = band_names(not lattice.cut_depth)
    own = names.index(name)
    rings = [(other, offsets) for other in range(len(names)) if other != own for offsets in MAGNITUDE_TAPS]
    own_rings = [(own, offsets) for offsets in _OWN_RINGS]

    def total(band: int, ring: list[Offset]) -> list[int]:
        return places(lattice, residuals_plane(band), component, ring)

    return Terms.of([*(places(lattice, 1 + number, component) for number in range(N_GRADIENTS)),
                     *(total(*ring) for ring in rings),
                     places(lattice, parents_plane(own), (component[0], 0, 0)),
                     *(total(*ring) for ring in own_rings)])


TERMS = ((mean_terms, spread_terms), (refined_mean_terms, refined_spread_terms))
"""By whether the level is refined."""


def weight_counts(name: BandName, step: Pass, depth_split: bool, refined: bool) -> tuple[int, int]:
    """How many weights a pass has for the mean (the centre not counted) and for the spread (with the constant)."""
    if not refined:
        return term_counts(name, step, depth_split)
    others = len(band_names(depth_split)) - 1
    return (len(LOW_TAPS) + others * len(BAND_TAPS) + len(_OWN_TAPS),
            N_GRADIENTS + others * len(MAGNITUDE_TAPS) + 1 + len(_OWN_RINGS) + 1)


def predict(known: Known, name: BandName, step: Pass, component: Component, shape: tuple[int, ...], weights: Weights,
            refined: bool, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and expected error, in sixteenths, of every coefficient of one component of a band of that shape."""
    lattice = known.lattice
    found = []
    for sums in _sums(lattice, name, step, component, weights, refined):
        if worth_compiling(known.values.size):
            inside = np.empty(lattice.inside(known.values[:lattice.size], component, shape).shape, dtype)
            _sums_compiled(known.values, lattice.padded, sums.offsets, sums.each, sums.constant,
                           np.empty(max(_BLOCK, lattice.padded[3]), dtype), inside)
        else:
            whole = weighted_sum(known.values, sums.terms, sums.weights, sums.constant, lattice, dtype)
            inside = lattice.inside(whole, component, shape) >> _DOWN
        found.append(inside)
    mean, spread = found
    return mean, np.clip(spread, 1, SPREAD_LIMIT, out=spread)


class _Sum(NamedTuple):
    """A weighted sum of terms; `offsets` and `each` are those of the values that count and their weights."""

    terms: Terms
    weights: np.ndarray
    constant: int
    offsets: np.ndarray
    each: np.ndarray


@lru_cache(maxsize=4096)
def _sums(lattice: Lattice, name: BandName, step: Pass, component: Component, weights: Weights,
          refined: bool) -> tuple[_Sum, _Sum]:
    """What a prediction and an expected error are made of."""
    of_mean, of_spread = (terms(lattice, name, step, component) for terms in TERMS[refined])
    taps = np.append(weights.mean, -weights.mean[:len(LOW_TAPS)].sum()).astype(np.int32)
    return (_Sum(of_mean, taps, 1 << _DOWN - 1, *used_terms(of_mean, taps)),
            _Sum(of_spread, weights.spread[:-1], int(weights.spread[-1]), *used_terms(of_spread, weights.spread[:-1])))


@compiled
def _sums_compiled(values, padded, offsets, weights, constant, sums, found):
    """`weighted_sum` inside the array, shifted down, in blocks of whole rows."""
    batch, depth, rows, columns = found.shape
    _, padded_depth, padded_rows, padded_columns = padded
    per_block = len(sums) // padded_columns
    for b in range(batch):
        for d in range(depth):
            for top in range(0, rows, per_block):
                count = min(per_block, rows - top)
                begin = ((b * padded_depth + d + 1) * padded_rows + top + 1) * padded_columns + 1
                length = (count - 1) * padded_columns + columns
                for n in range(length):
                    sums[n] = constant
                t = 0
                while t + 4 <= len(weights):
                    w0, w1, w2, w3 = weights[t], weights[t + 1], weights[t + 2], weights[t + 3]
                    x0 = values[begin + offsets[t]:begin + offsets[t] + length]
                    x1 = values[begin + offsets[t + 1]:begin + offsets[t + 1] + length]
                    x2 = values[begin + offsets[t + 2]:begin + offsets[t + 2] + length]
                    x3 = values[begin + offsets[t + 3]:begin + offsets[t + 3] + length]
                    for n in range(length):
                        sums[n] += w0 * x0[n] + w1 * x1[n] + w2 * x2[n] + w3 * x3[n]
                    t += 4
                while t < len(weights):
                    w0 = weights[t]
                    x0 = values[begin + offsets[t]:begin + offsets[t] + length]
                    for n in range(length):
                        sums[n] += w0 * x0[n]
                    t += 1
                for row in range(count):
                    from_row, to_row = sums[row * padded_columns:], found[b, d, top + row]
                    for n in range(columns):
                        to_row[n] = from_row[n] >> _DOWN


def first_groups(mean: np.ndarray, spread: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Groups for coding coefficients in whole steps of 2**shift, and the number of steps where they are expected."""
    if loaded():
        group, centre = np.empty(mean.shape, np.uint16), np.empty(mean.shape, np.int32)
        _first_groups_compiled(mean, spread, shift, group, centre)
        return group, centre
    steps = np.abs(mean) >> shift + POINT_BITS - 2
    centre = steps >> 2
    group = 8 * _classes(spread, shift) + 2 * (steps & 3) + (centre > 0)
    return group.astype(np.uint16), centre


def plane_groups(steps: np.ndarray, mean: np.ndarray, spread: np.ndarray, shift: int) -> np.ndarray:
    """Groups for the next bit of coefficients known in whole `steps` of 2**(shift + 1)."""
    if loaded():
        group = np.empty(mean.shape, np.uint16)
        _plane_groups_compiled(steps, mean, spread, shift, group)
        return group
    classes = _classes(spread, shift)
    zero = N_DISTANCES * classes + _distances(mean, spread)
    # The bit is 1 from the middle of the interval on: between two integers, so half of one below the larger of them.
    middle = ((2 * np.abs(steps).astype(np.int64) + 1) << shift + POINT_BITS) - (1 << POINT_BITS - 1)
    beyond = np.where(steps < 0, -mean, mean) - middle
    distances = np.where(beyond < 0, -1, 1) * _distances(beyond, spread)
    significant = SIGNIFICANT + (2 * N_DISTANCES - 1) * classes + N_DISTANCES - 1 + distances
    return np.where(steps == 0, zero, significant).astype(np.uint16)


def _classes(spread: np.ndarray, shift: int) -> np.ndarray:
    """Two classes for each octave of the expected error in steps of 2**shift."""
    down = shift + POINT_BITS - _CLASS_BITS
    ratio = spread >> down if down >= 0 else spread << -down
    octave = np.maximum(np.frexp(ratio.astype(np.float64))[1] - 1, 0)
    half = (ratio >> np.maximum(octave - 1, 0)) & 1
    return np.minimum(2 * octave + np.where(octave > 0, half, 0), N_CLASSES - 1)


def _distances(away: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """How many of `SIXTEENTHS` of expected errors a distance reaches."""
    away, spread = np.abs(away).astype(np.int64) << 4, spread.astype(np.int64)
    found = np.zeros(away.shape, np.intp)
    for threshold in SIXTEENTHS:
        found += away >= threshold * spread
    return found


@compiled
def _first_groups_compiled(mean, spread, shift, group, centre):
    """`first_groups`, one after the other."""
    means, spreads, groups, centres = mean.ravel(), spread.ravel(), group.ravel(), centre.ravel()
    down = shift + POINT_BITS - _CLASS_BITS
    for n in range(len(means)):
        quarters = abs(means[n]) >> shift + POINT_BITS - 2
        ratio = spreads[n] >> down if down >= 0 else spreads[n] << -down
        octave = 0
        while 2 * octave < N_CLASSES and ratio >> octave + 1:
            octave += 1
        half = ratio >> octave - 1 & 1 if octave else 0
        centres[n] = quarters >> 2
        groups[n] = 8 * min(2 * octave + half, N_CLASSES - 1) + 2 * (quarters & 3) + (quarters > 3)


@compiled
def _plane_groups_compiled(steps, mean, spread, shift, group):
    """`plane_groups`, one after the other."""
    all_steps, means, spreads, groups = steps.ravel(), mean.ravel(), spread.ravel(), group.ravel()
    down = shift + POINT_BITS - _CLASS_BITS
    for n in range(len(means)):
        expected_error = np.int64(spreads[n])
        ratio = expected_error >> down if down >= 0 else expected_error << -down
        octave = 0
        while 2 * octave < N_CLASSES and ratio >> octave + 1:
            octave += 1
        half = ratio >> octave - 1 & 1 if octave else 0
        spread_class = min(2 * octave + half, N_CLASSES - 1)
        known, away = all_steps[n], np.int64(means[n])
        if known:
            middle = ((2 * np.int64(abs(known)) + 1) << shift + POINT_BITS) - (1 << POINT_BITS - 1)
            away = (-away if known < 0 else away) - middle
        reach = abs(away) << 4
        distance = 0
        for threshold in SIXTEENTHS:
            distance += reach >= threshold * expected_error
        if not known:
            groups[n] = N_DISTANCES * spread_class + distance
        else:
            groups[n] = (SIGNIFICANT + (2 * N_DISTANCES - 1) * spread_class + N_DISTANCES - 1
                         + (-distance if away < 0 else distance))
