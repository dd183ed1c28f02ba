"""Codec `runs`: label maps, by where they change.

A label map is large regions with smooth borders. Every slice is filled in on finer and finer lattices, so that most
voxels lie *between* known ones, and the slice below is known as a whole:

    step 2h                   A: centres              B: between, in rows     C: between, in columns
    o . . . o                 o . . . o               o . B . o               o . B . o
    . . . . .                 . . . . .               . . . . .               . . . . .
    . . . . .       ->        . . A . .      ->       . . A . .      ->       C . A . C        -> h = h / 2
    . . . . .                 . . . . .               . . . . .               . . . . .
    o . . . o                 o . . . o               o . B . o               o . B . o

* Where the nearest known neighbours, in the slice and below, agree, so does the voxel, nearly always. The exceptions
  are given by their labels and by the lengths of the *runs* of voxels between them.
* Elsewhere each neighbour votes for its label with a fixed integer weight, fitted by logistic regression, so that the
  difference of two labels' votes tells the odds. The symbol says which of the two labels met first it is, the one
  with more votes or the other, a third one met, or one not met at all; its context is the difference of the votes.

All voxels of a lattice, in all frames, are worked on at once: decoding is some hundred array operations per slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from ..entropy import GroupDecoder, encode_groups
from ..entropy.varint import ByteReader, write_varint
from ..errors import FormatError, UnsupportedError
from . import Codec, Progress

COARSEST = 16
"""Largest half step h; the first lattice of a slice has twice this step, or less in small slices."""

VOTE_BINS, VOTE_STEP = 12, 10
"""The context of a symbol is the difference of the votes in steps of 10, up to the last of 12 bins."""

MORE_VOTES, FEWER_VOTES, THIRD, OTHER = range(4)
"""The symbols."""

NEIGHBOURS = {
    # Slices below, unit, (j, i) in that unit with either sign, votes for h = 1, for h = 2, and for h >= 4.
    # The unit r is h, but 2 for h = 1. The first rows are the near neighbours: where they agree, the voxel belongs to
    # a run, and otherwise the labels to choose from are met there.
    "A": (4, (
        (1, "1", [(0, 0)], (19, 23, 24)),
        (0, "h", [(1, 1)], (23, 16, 11)),
        (1, "1", [(0, 1), (1, 0)], (10, 13, 14)),
        (1, "1", [(1, 1)], (1, 6, 8)),
        (1, "r", [(0, 1), (1, 0)], (0, 3, 6)),
        (1, "r", [(1, 1)], (-7, -10, -9)),
        (2, "1", [(0, 1), (1, 0)], (-5, -7, -12)),
        (2, "r", [(0, 1), (1, 0)], (-4, -8, -7)),
        (2, "1", [(0, 0)], (-5, -4, -4)),
    )),
    "B": (6, (
        (1, "1", [(0, 0)], (17, 24, 28)),
        (0, "h", [(0, 1)], (31, 21, 15)),
        (0, "h", [(1, 0)], (32, 20, 14)),
        (0, "h", [(1, 2)], (5, 0, 0)),
        (1, "1", [(0, 1), (1, 0)], (6, 12, 14)),
        (1, "1", [(1, 1)], (2, 5, 8)),
        (0, "h", [(2, 1)], (5, 0, 0)),
        (0, "h", [(0, 3)], (-6, -2, 0)),
        (0, "h", [(3, 0)], (-7, -2, 0)),
        (1, "r", [(0, 1), (1, 0)], (-3, -5, -4)),
        (1, "r", [(1, 1)], (-3, -4, -1)),
        (2, "1", [(0, 1), (1, 0)], (-4, -6, -12)),
        (2, "r", [(0, 1), (1, 0)], (-2, -5, -6)),
        (2, "1", [(0, 0)], (-6, -7, -6)),
    )),
    "C": (6, (
        (1, "1", [(0, 0)], (15, 23, 27)),
        (0, "h", [(1, 0)], (35, 19, 12)),
        (0, "h", [(0, 1)], (27, 18, 13)),
        (0, "h", [(1, 1)], (15, 8, 5)),
        (1, "1", [(0, 1), (1, 0)], (6, 12, 14)),
        (1, "1", [(1, 1)], (2, 6, 8)),
        (0, "h", [(0, 3)], (-3, 0, 0)),
        (0, "h", [(3, 0)], (-7, 0, 0)),
        (1, "r", [(0, 1), (1, 0)], (-3, -4, -4)),
        (1, "r", [(1, 1)], (-4, -6, -5)),
        (2, "1", [(0, 1), (1, 0)], (-3, -6, -12)),
        (2, "r", [(0, 1), (1, 0)], (-2, -5, -5)),
        (2, "1", [(0, 0)], (-6, -7, -5)),
    )),
}

_LITERALS, _RUNS, _LABELS = VOTE_BINS, VOTE_BINS + 1, VOTE_BINS + 2
_GROUPS = VOTE_BINS + 3
_SAMPLE_LIMIT = 2**24
_DAMAGED = "The labels of a slab are damaged."


class RunsCodec(Codec):
    """Lattices, votes and runs; nothing to fit.

    Guarantees those of `Codec`; exact for any samples, small for label maps.
    """

    codec_id = "runs"
    presets: ClassVar = {"default": "For label maps: codes only where labels change."}
    slab_slices = 32

    @classmethod
    def fit(cls, slabs: Sequence[np.ndarray], maximum: int, preset: str, spacing: tuple[float, float, float],
            progress: Progress | None = None) -> RunsCodec:
        """Has nothing to choose and looks at no slab."""
        if preset not in cls.presets:
            raise UnsupportedError(f"The codec 'runs' has no preset {preset!r}; it has only 'default'.")
        return cls()

    def get_config(self) -> dict:
        return {}

    @classmethod
    def from_config(cls, config: dict, model: bytes) -> RunsCodec:
        if config or model:
            raise FormatError("The codec 'runs' has no configuration, but this file declares one.")
        return cls()

    def __repr__(self) -> str:
        return "RunsCodec()"

    def encode(self, slab: np.ndarray) -> bytes:
        labels, numbers = _most_frequent_first(np.ascontiguousarray(slab))
        symbols, groups, literals, exceptions, run_voxels = [], [], [], [], 0
        walk = _Walk(slab.shape, len(labels))
        for place in walk:
            true = numbers[place.where]
            place.target[...] = true
            flat = true.ravel()
            wrong = flat != place.predicted.ravel()
            wrong[place.mixed] = False
            if wrong.any():
                exceptions.append(run_voxels + np.flatnonzero(wrong[place.in_run]))
                literals.append(flat[wrong])
            run_voxels += len(flat) - len(place.mixed)
            if len(place.mixed):
                label = flat[place.mixed]
                symbol = np.full(len(label), OTHER, np.int32)
                for number, met in ((THIRD, place.third), (FEWER_VOTES, place.second), (MORE_VOTES, place.first)):
                    symbol[label == met] = number
                symbols.append(symbol)
                groups.append(place.context)
                literals.append(label[symbol == OTHER])
        literals = np.concatenate([np.zeros(0, np.int32), *literals])
        runs = np.diff(np.concatenate([np.zeros(0, np.int64), *exceptions]), prepend=-1) - 1
        header = bytearray()
        for part, group in ((labels, _LABELS), (literals, _LITERALS), (runs, _RUNS)):
            write_varint(header, len(part))
            symbols.append(part)
            groups.append(np.full(len(part), group, np.uint8))
        return bytes(header) + encode_groups(np.concatenate(symbols), np.concatenate(groups), _GROUPS)

    def decode(self, payload: bytes, shape: tuple[int, int, int, int]) -> np.ndarray:
        size = int(np.prod(shape, dtype=np.int64))
        reader = ByteReader(payload)
        counts = [reader.varint(size) for _ in range(3)]
        decoder = GroupDecoder(reader.take(reader.remaining), _GROUPS, 4 * size)
        labels, literals, runs = (decoder.decode(np.full(count, group, np.uint8)) for count, group in
                                  zip(counts, (_LABELS, _LITERALS, _RUNS), strict=True))
        if len(labels) == 0 or labels.min() < 0 or labels.max() >= _SAMPLE_LIMIT or np.any(runs < 0):
            raise FormatError(_DAMAGED)
        if len(literals) and not 1 <= literals.min() <= literals.max() <= len(labels):
            raise FormatError(_DAMAGED)
        literals = _Queue(literals)
        exceptions = np.cumsum(runs.astype(np.int64) + 1) - 1
        run_voxels = 0
        walk = _Walk(shape, len(labels))
        for place in walk:
            place.target[...] = place.predicted
            in_runs = place.target.size - len(place.mixed)
            here = slice(*np.searchsorted(exceptions, (run_voxels, run_voxels + in_runs)))
            if here.start < here.stop:
                place.assign(place.in_run[exceptions[here] - run_voxels], literals.take(here.stop - here.start))
            run_voxels += in_runs
            if len(place.mixed):
                symbol = decoder.decode(place.context)
                if symbol.min() < 0 or symbol.max() > OTHER:
                    raise FormatError(_DAMAGED)
                label = np.choose(symbol, (place.first, place.second, place.third, place.third))
                other = symbol == OTHER
                label[other] = literals.take(np.count_nonzero(other))
                if label.min() == 0:
                    raise FormatError(_DAMAGED)
                place.assign(place.mixed, label)
        decoder.finish()
        if literals.left or (len(exceptions) and exceptions[-1] >= run_voxels):
            raise FormatError(_DAMAGED)
        return np.concatenate([labels[:1], labels])[walk.slab]


class _Queue:
    """Literals, handed out in order."""

    def __init__(self, values: np.ndarray) -> None:
        self._values, self._at = values, 0

    @property
    def left(self) -> int:
        return len(self._values) - self._at

    def take(self, count: int) -> np.ndarray:
        if count > self.left:
            raise FormatError(_DAMAGED)
        self._at += count
        return self._values[self._at - count:self._at]


@dataclass(frozen=True)
class _Lattice:
    """Voxels of a slice that are worked on together, and how they see their neighbours.

    Attributes
    ----------
    rows, columns : slice
        Where they are.
    near : list of (dj, di)
        Near neighbours in the slice.
    neighbours : list of (dk, dj, di)
        All neighbours, in the order in which labels are met.
    n_near : int
        How many of them, from the first, are near.
    votes : (n,) float32 array
        Whole numbers, one for each neighbour; in float32 their sums are exact and a matrix product is fast.
    """

    rows: slice
    columns: slice
    near: list[tuple[int, int]]
    neighbours: list[tuple[int, int, int]]
    n_near: int
    votes: np.ndarray

    @classmethod
    def of(cls, name: str, half: int, first: bool, reach: tuple[int, int]) -> _Lattice:
        """Lattice A, B or C of half step `half`, or the first lattice of a slice, which sees only what is below."""
        near_rows, rows_of_neighbours = NEIGHBOURS[name]
        unit = {"1": 1, "h": half, "r": 2 if half == 1 else half}
        near, neighbours, votes, n_near = [], [], [], 0
        for number, (below, scale, places, by_size) in enumerate(rows_of_neighbours):
            vote = by_size[min(half.bit_length() - 1, 2)]
            if (first and below == 0) or (number >= near_rows and vote == 0):
                continue
            for j, i in places:
                signed = {(a * j * unit[scale], b * i * unit[scale]) for a, b in product((-1, 1), (-1, 1))}
                inside = sorted(place for place in signed if abs(place[0]) <= reach[0] and abs(place[1]) <= reach[1])
                neighbours += [(-below, *place) for place in inside]
                votes += [vote] * len(inside)
                near += inside if number < near_rows and below == 0 else []
            if number < near_rows:
                n_near = len(neighbours)
        starts = (0, 0) if first else {"A": (half, half), "B": (0, half), "C": (half, 0)}[name]
        rows, columns = (slice(start, None, 2 * half) for start in starts)
        return cls(rows, columns, near, neighbours, n_near, np.array(votes, np.float32))


@dataclass(frozen=True)
class _Place:
    """One lattice of one slice, in all frames: what is known about its voxels before they are.

    Attributes
    ----------
    where : index of the lattice in the slab
    target : (frames, rows, columns) view
        To be filled in before the walk goes on.
    predicted : (frames, rows, columns) array
        The label of voxels whose neighbours agree; without meaning elsewhere.
    mixed : (n,) int array
        Flat places in `target` of the voxels whose neighbours do not agree.
    first, second, third : (n,) arrays
        Of each mixed voxel: the two labels met first, the one with more votes before the other, and the next one met;
        0 is none.
    context : (n,) uint8 array
        Of each mixed voxel, below `VOTE_BINS`.
    """

    where: tuple
    target: np.ndarray
    predicted: np.ndarray
    mixed: np.ndarray
    first: np.ndarray
    second: np.ndarray
    third: np.ndarray
    context: np.ndarray

    @property
    def in_run(self) -> np.ndarray:
        """Flat places of the voxels whose neighbours agree."""
        agreed = np.ones(self.target.size, bool)
        agreed[self.mixed] = False
        return np.flatnonzero(agreed)

    def assign(self, places: np.ndarray, labels: np.ndarray) -> None:
        """Set the labels at flat places of `target`."""
        self.target[np.unravel_index(places, self.target.shape)] = labels


class _Walk:
    """A slab of label numbers (from 1) being filled in, with a margin of 0 as wide as neighbours reach.

    Encoder and decoder walk it in the same way, and both see only what has been filled in.
    """

    def __init__(self, shape: tuple[int, int, int, int], n_labels: int) -> None:
        frames, self._slices, *self._extent = shape
        coarsest = COARSEST
        while coarsest > 1 and coarsest >= max(self._extent):
            coarsest //= 2
        # What is further away than the slice is wide lies outside for every voxel.
        self._margin = tuple(min(3 * coarsest, max(2, extent - 1)) for extent in self._extent)
        halves = [coarsest >> n for n in range(coarsest.bit_length())]
        self._lattices = [_Lattice.of("A", coarsest, True, self._margin)]
        self._lattices += [_Lattice.of(name, half, False, self._margin) for half in halves for name in "ABC"]
        self._lattices = [lattice for lattice in self._lattices
                          if lattice.rows.start < self._extent[0] and lattice.columns.start < self._extent[1]]
        padded = [extent + 2 * margin for extent, margin in zip(self._extent, self._margin, strict=True)]
        kind = np.min_scalar_type(n_labels) if n_labels < 2**16 else np.dtype(np.int32)
        self._known = np.zeros((frames, self._slices + 2, *padded), kind)

    @property
    def slab(self) -> np.ndarray:
        """The label numbers without the margin."""
        return self._window(slice(2, None), 0, 0)

    def __iter__(self) -> Iterator[_Place]:
        for k in range(self._slices):
            below = self._window(k + 1, 0, 0)
            agreed = np.ones(below.shape, bool)
            for dj, di in product((-1, 0, 1), (-1, 0, 1)):
                agreed &= _same(self._window(k + 1, dj, di), below)
            for lattice in self._lattices:
                yield self._place(k, lattice, agreed)

    def _window(self, padded_k: int | slice, dj: int, di: int) -> np.ndarray:
        """View in which [..., j, i] is the voxel (j + dj, i + di)."""
        (top, left), (rows, columns) = self._margin, self._extent
        return self._known[:, padded_k, top + dj:top + dj + rows, left + di:left + di + columns]

    def _place(self, k: int, lattice: _Lattice, agreed_below: np.ndarray) -> _Place:
        here = slice(None), lattice.rows, lattice.columns
        target = self._window(k + 2, 0, 0)[here]
        if k:
            predicted = self._window(k + 1, 0, 0)[here]
        elif lattice.near:
            predicted = self._window(k + 2, *lattice.near[0])[here]
        else:
            predicted = np.ones_like(target)
        agreed = agreed_below[here].copy()
        for dj, di in lattice.near:
            agreed &= _same(self._window(k + 2, dj, di)[here], predicted)
        mixed = np.flatnonzero(~agreed)
        where = slice(None), k, lattice.rows, lattice.columns
        return _Place(where, target, predicted.copy(), mixed, *self._election(k, lattice, mixed, target.shape))

    def _election(self, k: int, lattice: _Lattice, mixed: np.ndarray, shape: tuple[int, ...]) -> tuple:
        """First, second and third label and context of mixed voxels."""
        frame, row, column = np.unravel_index(mixed, shape)
        steps = np.array(self._known.strides) // self._known.itemsize
        index = (frame * steps[0] + (k + 2) * steps[1]
                 + (self._margin[0] + lattice.rows.start + row * lattice.rows.step) * steps[2]
                 + (self._margin[1] + lattice.columns.start + column * lattice.columns.step) * steps[3])
        met = np.take(self._known, (np.array(lattice.neighbours) @ steps[1:])[:, None] + index)
        near = met[:lattice.n_near]
        first = near[0] if k else _first_of(near, near != 0)
        rest = (near != 0) & (near != first)
        second = _first_of(near, rest)
        rest &= near != second
        third = np.zeros_like(second)
        some = rest.any(axis=0)
        third[some] = _first_of(near[:, some], rest[:, some])
        lead = lattice.votes @ ((met == first).view(np.int8) - (met == second).view(np.int8)).astype(np.float32)
        behind = lead < 0
        context = np.minimum(np.abs(lead).astype(np.int32) // VOTE_STEP, VOTE_BINS - 1).astype(np.uint8)
        return np.where(behind, second, first), np.where(behind, first, second), third, context


def _same(labels: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Where a neighbour has the reference's label or lies outside."""
    return (labels == reference) | (labels == 0)


def _first_of(labels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The first chosen label of each column, 0 where none is."""
    at = chosen.argmax(axis=0), np.arange(labels.shape[1])
    return np.where(chosen[at], labels[at], labels.dtype.type(0))


def _most_frequent_first(slab: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values in use, most frequent first (the smaller first among equals), and the slab as their numbers from 1."""
    if slab.max() < 2**20:
        counts = np.bincount(slab.ravel())
        values = np.flatnonzero(counts)
        order = np.argsort(-counts[values], kind="stable")
        number = np.zeros(len(counts), np.int32)
        number[values[order]] = np.arange(1, len(values) + 1)
        return values[order].astype(np.int32), number[slab]
    values, inverse, counts = np.unique(slab, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    number = np.empty(len(values), np.int32)
    number[order] = np.arange(1, len(values) + 1)
    return values[order].astype(np.int32), number[inverse].reshape(slab.shape)


CODEC = RunsCodec
