"""Count tables of the bit planes. Planes that are alike share a set of tables; the encoder says which.

A set has a table for every group of what is coded for the first time, or for every group of what is refined.
"""

from __future__ import annotations

from functools import cached_property
from itertools import accumulate

import numpy as np

from ...compiled import compiled, loaded
from ...entropy import GroupDecoder, encode_groups
from ...entropy.rans import TableRows
from ...entropy.tables import COUNT_OF_CODE, MAX_CODE, code_of_count
from ...errors import FormatError
from .contexts import N_FIRST, N_REFINED, SIGNIFICANT
from .schedule import Layer, planes, turns

ESCAPE = 8
MAX_SETS = 255
_SCALE = 8               # a symbol that the sample did not show counts as an eighth of one
_ENTRY_BITS = 6.0        # about what a symbol that occurs costs in a set
_OCTAVE_BELOW = 40       # weight of a symbol whose count need be known to an octave only

_LOW = (np.full(N_FIRST, -ESCAPE, np.int32), np.where(np.arange(N_REFINED) < SIGNIFICANT, -1, 0).astype(np.int32))
_SIZE = (np.full(N_FIRST, 2 * ESCAPE + 1), np.where(np.arange(N_REFINED) < SIGNIFICANT, 3, 2))
_START = tuple(np.cumsum(size) - size for size in _SIZE)
"""By whether a plane is refined: the lowest symbol of each group, how many it has, and where its counts begin."""
_KIND = (np.zeros(_SIZE[0].sum(), np.uint8), np.repeat(np.where(_SIZE[1] == 3, 1, 2), _SIZE[1]).astype(np.uint8))
_SHARED = (False, True, False, True)
"""Version 1 of the format: sets of the finest level and of all others, and whether of what is refined."""


class PlaneTables:
    """A set of tables; symbols that never occurred count 1.

    Parameters
    ----------
    codes : array of count codes
        Group after group, each from its lowest symbol on.
    refined : bool
    """

    def __init__(self, codes: np.ndarray, refined: bool):
        self.codes, self.refined = codes, refined

    @cached_property
    def rows(self) -> TableRows:
        counts = np.maximum(COUNT_OF_CODE[self.codes], 1)
        return TableRows(_LOW[self.refined], np.split(counts, _START[self.refined][1:]))


class Tables:
    """The sets of a volume, and which of them each plane has.

    Parameters
    ----------
    layers : list of Layer
    numbers : list of int
        The set of each plane of each layer, in the order of coding.
    sets : list of PlaneTables
    """

    def __init__(self, layers: list[Layer], numbers: list[int], sets: list[PlaneTables]):
        self.numbers, self._sets = numbers, sets
        counts = planes(layers)
        self._of_layers = [[sets[number] for number in numbers[end - count:end]]
                           for count, end in zip(counts, accumulate(counts), strict=True)]

    @classmethod
    def fit(cls, layers: list[Layer], counters: list[Counter], share: float) -> Tables:
        """Tables for what was counted of each layer, which is such a share of the volume."""
        counts = [counts / share for counter in counters for counts in counter.counts]
        refined = _refined_planes(layers)
        together = _merged(counts, refined)
        numbers = [next(n for n, members in enumerate(together) if plane in members) for plane in range(len(counts))]
        sets = [PlaneTables(_short_codes(sum(counts[plane] for plane in members), refined[members[0]], share),
                            refined[members[0]]) for members in together]
        return cls(layers, numbers, sets)

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, layers: list[Layer], numbers: list[int] | None) -> Tables:
        """Without `numbers`, sets are shared as in version 1 of the format."""
        of_planes = _refined_planes(layers)
        if numbers is None:
            levels = [layer.level for layer, count in zip(layers, planes(layers), strict=True) for _ in range(count)]
            numbers = [2 * min(level, 1) + refined for level, refined in zip(levels, of_planes, strict=True)]
            of_sets = list(_SHARED)
        else:
            of_sets = [of_planes[numbers.index(number)] for number in range(max(numbers) + 1)]
        kinds = [_KIND[refined] for refined in of_sets]
        decoder = GroupDecoder(data, 3, sum(map(len, kinds)))
        codes = decoder.decode(np.concatenate(kinds))
        decoder.finish()
        if codes.min() < 0 or codes.max() >= MAX_CODE:
            raise FormatError("The model of the file has a count that does not exist.")
        parts = np.split(codes, np.cumsum([len(kind) for kind in kinds])[:-1])
        return cls(layers, numbers, [PlaneTables(*pair) for pair in zip(parts, of_sets, strict=True)])

    def to_bytes(self) -> bytes:
        return encode_groups(np.concatenate([each.codes for each in self._sets]),
                             np.concatenate([_KIND[each.refined] for each in self._sets]), 3)

    def of_layer(self, place: int) -> list[PlaneTables]:
        """The sets of each plane of the layer at a place."""
        return self._of_layers[place]


def check_numbers(numbers: object, layers: list[Layer]) -> list[int]:
    """`tables` of a configuration; FormatError unless every plane has a set, and every set planes of one kind."""
    damaged = FormatError("The sets of tables in the file's configuration do not belong to its layers.")
    refined = _refined_planes(layers)
    if not isinstance(numbers, list) or len(numbers) != len(refined):
        raise damaged
    of_sets: list[bool] = []
    for number, of_plane in zip(numbers, refined, strict=True):
        if type(number) is not int or not 0 <= number <= min(len(of_sets), MAX_SETS - 1):
            raise damaged
        if number == len(of_sets):
            of_sets.append(of_plane)
        if of_sets[number] != of_plane:
            raise damaged
    return numbers


class Counter:
    """Takes the symbols of a layer like an encoder and counts them.

    Attributes
    ----------
    counts : (planes, symbols of all groups) int64 array
    """

    def __init__(self, refined: bool, n_planes: int):
        self._refined = refined
        self.counts = np.zeros((n_planes, _SIZE[refined].sum()), np.int64)

    def code(self, groups: np.ndarray, symbols: np.ndarray, plane: int) -> np.ndarray:
        low, size, start = _LOW[self._refined], _SIZE[self._refined], _START[self._refined]
        if loaded():
            _count_compiled(groups.ravel(), symbols.ravel(), low, size, start, self.counts[plane])
        else:
            places = start[groups] + np.clip(symbols - low[groups], 0, size[groups] - 1)
            self.counts[plane] += np.bincount(places.ravel(), minlength=self.counts.shape[1])
        return symbols


@compiled
def _count_compiled(groups, symbols, low, size, start, counts):
    for n in range(len(groups)):
        group = groups[n]
        counts[start[group] + min(max(symbols[n] - low[group], 0), size[group] - 1)] += 1


def _refined_planes(layers: list[Layer]) -> list[bool]:
    """Of each plane of each layer whether something was known before."""
    return [turn > 0 for turn, count in zip(turns(layers), planes(layers), strict=True) for _ in range(count)]


def _merged(counts: list[np.ndarray], refined: list[bool]) -> list[list[int]]:
    """Planes that are to share a set: as long as it saves bits, the two sets by whose union it saves most."""
    def bits(total: np.ndarray, of_set: bool) -> float:
        sums = np.add.reduceat(total, _START[of_set])
        return _plogp(sums).sum() - _plogp(total).sum() + _ENTRY_BITS * np.count_nonzero(total)

    members, totals = [[plane] for plane in range(len(counts))], list(counts)
    costs = [bits(*pair) for pair in zip(counts, refined, strict=True)]

    def saved(a: int, b: int) -> float:
        return costs[a] + costs[b] - bits(totals[a] + totals[b], refined[a])

    pairs = {(a, b): saved(a, b) for b in range(len(counts)) for a in range(b) if refined[a] == refined[b]}
    while pairs:
        a, b = max(pairs, key=pairs.get)
        if pairs[a, b] < 0 and sum(map(bool, members)) <= MAX_SETS:
            break
        costs[a] += costs[b] - pairs[a, b]
        totals[a] = totals[a] + totals[b]
        members[a], members[b] = members[a] + members[b], []
        pairs = {pair: saved(*pair) if a in pair else gain for pair, gain in pairs.items() if b not in pair}
    return [each for each in members if each]


def _short_codes(counts: np.ndarray, refined: bool, share: float) -> np.ndarray:
    """Count codes that need few bits themselves.

    Only ratios of counts matter, so the most frequent symbol of a group gets a power of four. The others are as exact
    as is worth it: to an eighth of an octave, a fourth, a half or a whole one. Where a table saves less than it costs,
    all symbols count alike.
    """
    start, size = _START[refined], _SIZE[refined]
    sums = np.add.reduceat(counts, start)
    saved = sums * np.log2(size) - _plogp(sums) + np.add.reduceat(_plogp(counts), start)
    kept = np.repeat(saved > _ENTRY_BITS * np.add.reduceat(counts > 0, start), size) & (counts > 0)
    most = np.repeat(np.maximum.reduceat(counts, start), size).clip(1e-9)
    octaves = np.minimum(2 * np.ceil(np.log2(np.maximum(_SCALE * share * most, 8)) / 2), 26)
    highest, exact = code_of_count(2.0**octaves), code_of_count(np.rint(counts / most * 2.0**octaves))
    weight = counts * (1 - counts / np.repeat(sums, size).clip(1e-9))
    step = np.select([weight < factor * _OCTAVE_BELOW for factor in (1, 4, 16)], [8, 4, 2], 1)
    return np.where(kept, np.maximum(highest - step * np.rint((highest - exact) / step).astype(int), 1), 0)


def _plogp(counts: np.ndarray) -> np.ndarray:
    """n * log2(n)."""
    return counts * np.log2(np.where(counts > 0, counts, 1))
