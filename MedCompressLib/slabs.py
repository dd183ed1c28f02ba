"""Slabs: the regular grid that cuts a volume, and the threads that work on its cells.

A slab is a range of frames by a range of slices (k), with all rows and columns. Leaf module: knows arrays and nothing
about files or codecs.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from .errors import UnsupportedError

# About 8 million voxels: enough for a codec's statistics, little enough that several slabs fit in memory with all
# that coding them needs (some ten times their int32 samples).
SLAB_VOXELS = 1 << 23
# A volume below this is one slab. It is decoded in a fraction of a second, so parts of it that can be reached alone, or
# decoded by another thread, would save nothing that a person notices, while each further slab costs an index entry,
# its own tables, and contexts and predictions that begin anew.
SMALL_VOLUME_VOXELS = 1 << 20
MOST_SLICES = 1 << 14    # of a slab, a limit of the format: codecs go from slice to slice
MOST_THREADS = 8


@dataclass(frozen=True)
class SlabGrid:
    """How (frames, k, j, i) voxels are cut: `frames` by `slices` by everything, the last of each row may be smaller.

    Attributes
    ----------
    shape : (frames, k, j, i)
        Of the whole volume.
    frames, slices : int
        Of one slab.
    """

    shape: tuple[int, int, int, int]
    frames: int
    slices: int

    @classmethod
    def choose(cls, shape: tuple[int, int, int, int], preferred_slices: int) -> SlabGrid:
        """The grid a volume is written with.

        As near to `preferred_slices` as equal parts allow and no slab far above 8 million voxels: very large slices
        make thinner slabs, and frames are parted only where that alone is not enough. A volume up to a million voxels
        is not cut (see `SMALL_VOLUME_VOXELS`), but for more than `MOST_SLICES`.
        """
        frames, k, j, i = shape
        if frames * k * j * i <= SMALL_VOLUME_VOXELS:
            return cls(shape, frames, _part(k, -(-k // MOST_SLICES)))
        most = min(preferred_slices, k, max(1, SLAB_VOXELS // (j * i)))
        parts = max(1, (2 * k + most) // (2 * most))  # k / most, rounded to the nearest
        if _part(k, parts) * j * i > SLAB_VOXELS:
            parts = -(-k // most)
        slices = _part(k, parts)
        most_frames = max(1, SLAB_VOXELS // (slices * j * i))
        return cls(shape, _part(frames, -(-frames // most_frames)), slices)

    def __len__(self) -> int:
        return -(-self.shape[0] // self.frames) * self._per_row

    @property
    def _per_row(self) -> int:
        return -(-self.shape[1] // self.slices)

    def ranges(self, number: int) -> tuple[slice, slice]:
        """Frames and slices of the slab with that number; slabs are numbered along k first."""
        row, column = divmod(number, self._per_row)
        return (slice(row * self.frames, min((row + 1) * self.frames, self.shape[0])),
                slice(column * self.slices, min((column + 1) * self.slices, self.shape[1])))

    def slab_shape(self, number: int) -> tuple[int, int, int, int]:
        """Shape (frames, k, j, i) of the slab with that number."""
        frames, slices = self.ranges(number)
        return frames.stop - frames.start, slices.stop - slices.start, *self.shape[2:]

    def touching(self, start: int, stop: int) -> list[int]:
        """Numbers of the slabs that hold any of the slices start <= k < stop."""
        columns = range(start // self.slices, -(-stop // self.slices))
        return [row * self._per_row + column for row in range(len(self) // self._per_row) for column in columns]

    def holding(self, frames: Iterable[int], slices: Iterable[int]) -> list[int]:
        """Numbers of the slabs that hold any of these slices of any of these frames."""
        rows, columns = {frame // self.frames for frame in frames}, {k // self.slices for k in slices}
        return [row * self._per_row + column for row in sorted(rows) for column in sorted(columns)]


def _part(count: int, parts: int) -> int:
    return -(-count // parts)


class SlabSequence(Sequence):
    """The slabs of a volume, each cut (and mapped) when it is asked for and not kept.

    Parameters
    ----------
    voxels : (frames, k, j, i) array
        Anything that is cut by `voxels[frames, slices]`; only that much of it is looked at.
    grid : SlabGrid
    mapping : callable, optional
        Applied to each slab on its way out.
    """

    def __init__(self, voxels: np.ndarray, grid: SlabGrid, mapping: Callable | None = None) -> None:
        self._voxels, self._grid, self._mapping = voxels, grid, mapping

    def __len__(self) -> int:
        return len(self._grid)

    def __getitem__(self, number: int) -> np.ndarray:
        if not 0 <= number < len(self):
            raise IndexError(number)
        slab = np.ascontiguousarray(self._voxels[self._grid.ranges(number)])
        return slab if self._mapping is None else self._mapping(slab)


def slice_bounds(slices: slice, k_count: int) -> tuple[int, int]:
    """First slice and the one after the last, of `slices` understood as in indexing; UnsupportedError if there are none
    or they do not follow each other."""
    try:
        start, stop, step = slices.indices(k_count)
    except (AttributeError, TypeError):
        raise UnsupportedError(f"Give slices as slice(start, stop), not {slices!r}.") from None
    if step != 1:
        raise UnsupportedError(f"Slices are returned as they follow each other; a step of {step} is not possible.")
    if start >= stop:
        raise UnsupportedError(f"There are no slices {slices.start} to {slices.stop} in a volume of {k_count}.")
    return start, stop


def ordered_map(function: Callable, items: Iterable, threads: int) -> Generator:
    """`map(function, items)` on several threads: results in the order of the items, at most `threads` + 1 in flight.

    The items are taken in the calling thread, one by one as results leave. When the caller stops early or anything
    raises, work not yet begun is dropped and what runs is awaited. Close the iterator (`contextlib.closing`) to be
    sure of when.
    """
    if threads == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        pending: deque = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def default_threads() -> int:
    """The processors this process may use, up to `MOST_THREADS`, since each thread holds a slab's working memory."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST_THREADS)


def thread_count(threads: int | None) -> int:
    """How many threads to use for what the caller asked for; UnsupportedError for what is no such number."""
    if threads is None:
        return default_threads()
    if type(threads) is not int or threads < 1:
        raise UnsupportedError(f"The number of threads must be a whole number above 0, not {threads!r}.")
    return threads


def stretches(chosen: np.ndarray) -> list[list[int]]:
    """First and last place of each stretch of true values in a (n,) bool array."""
    edges = np.diff(chosen.astype(np.int8), prepend=0, append=0)
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1], axis=1).tolist()
