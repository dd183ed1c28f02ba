"""Which already coded voxels a prediction looks at, and the decoding order that follows from them.

A *tap* is an offset (frame, k, j, i) from the voxel being predicted to one decoded before it. The order is the 3D
wavefront

    t = i + A*j + B*k + C*frame

whose strides are the smallest that put every tap at an earlier t: all voxels of one t are then independent of each
other, thousands at a time, while raster causality is kept. The pyramid of taps is that of Nagoor et al., ICIP 2020.

Outside the slab a tap takes the value of the nearest voxel inside when that one is decoded already, else 0. Slices
k = 0 have no slice before them and frames 0 no frame: there the taps into the slice or frame before are not used.
Which of the four situations holds (first slice or not, first frame or not) is the voxel's *surrounding*.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

N_SURROUNDINGS = 4
"""Surrounding = (k > 0) + 2 * (frame > 0)."""

_WEST, _NORTH = (0, 0, 0, -1), (0, 0, -1, 0)
_PAIRS = (  # activity = sum of absolute differences of these pairs
    (_WEST, (0, 0, -1, -1)), (_NORTH, (0, 0, -1, -1)), (_NORTH, (0, 0, -1, 1)), (_WEST, (0, 0, 0, -2)),
    (_NORTH, (0, 0, -2, 0)), ((0, 0, -1, 1), (0, 0, -2, 1)), (_WEST, _NORTH),
    ((0, -1, 0, 0), (0, -1, 0, -1)), ((0, -1, 0, 0), (0, -1, -1, 0)), ((0, -1, 0, 0), (0, -1, 0, 1)),
    ((0, -1, 0, 0), (0, -1, 1, 0)), (_WEST, (0, -1, 0, -1)), (_NORTH, (0, -1, -1, 0)),
    ((-1, 0, 0, 0), (-1, 0, 0, 1)), ((-1, 0, 0, 0), (-1, 0, 1, 0)), (_WEST, (-1, 0, 0, -1)), (_NORTH, (-1, 0, -1, 0)),
)
_FLAT = (_WEST, _NORTH, (0, 0, -1, -1), (0, 0, -1, 1), (0, 0, 0, -2), (0, 0, -2, 0), (0, -1, 0, 0), (-1, 0, 0, 0))

_RESIDUALS_IN_SLICE = (
    (0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, -2), (-1, 2), (-2, -1), (-2, 1), (-2, -2), (-2, 2),
    (0, -3), (-3, 0), (-3, -1), (-3, 1), (-1, -3), (-1, 3), (-3, -2), (-3, 2), (-2, -3), (-2, 3), (0, -4), (-4, 0))
_RESIDUALS_SLICE_BEFORE = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
_RESIDUALS_FRAME_BEFORE = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))
MAX_RESIDUALS = len(_RESIDUALS_IN_SLICE)
MIN_RESIDUALS = 6

_RESIDUAL_WEIGHTS = (   # in the slice, slice before, frame before, for each surrounding; 64 in all
    ((16, 16, 10, 10, 6, 6), (0,) * 9, (0,) * 5),
    ((11, 11, 6, 6, 3, 3), (8, 3, 3, 3, 3, 1, 1, 1, 1), (0,) * 5),
    ((11, 11, 6, 6, 3, 3), (0,) * 9, (12, 3, 3, 3, 3)),
    ((8, 8, 5, 5, 2, 2), (6, 2, 2, 2, 2, 0, 0, 0, 0), (10, 3, 3, 3, 3)))


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Taps and what follows from them.

    Attributes
    ----------
    taps : (n, 4) int array of (frame, k, j, i) offsets
        The first is the voxel to the west; the first `n_inputs` are also inputs of the network.
    n_inputs : int
    n_residuals : int
        In how many places of the same slice, 6 to 24, earlier residuals are looked at.
    """

    taps: np.ndarray
    n_inputs: int
    n_residuals: int

    @property
    def temporal(self) -> bool:
        """Whether any tap lies in an earlier frame."""
        return bool(self.taps[:, 0].any())

    @cached_property
    def residual_taps(self) -> np.ndarray:
        """(n, 4): where earlier residuals are looked at; the last five, in the frame before, only if `temporal`."""
        taps = [(0, 0, j, i) for j, i in _RESIDUALS_IN_SLICE[:self.n_residuals]]
        taps += [(0, -1, j, i) for j, i in _RESIDUALS_SLICE_BEFORE]
        if self.temporal:
            taps += [(-1, 0, j, i) for j, i in _RESIDUALS_FRAME_BEFORE]
        return np.array(taps)

    @property
    def n_residual_inputs(self) -> int:
        """How many residuals the network sees, those of the frame before included (0 where there is none)."""
        return self.n_residuals + len(_RESIDUALS_SLICE_BEFORE) + len(_RESIDUALS_FRAME_BEFORE)

    @cached_property
    def residual_usable(self) -> np.ndarray:
        """(4, n) bool: which residual taps count in each surrounding."""
        return _usable(self.residual_taps)

    @cached_property
    def residual_weights(self) -> np.ndarray:
        """(4, n) float64: weights, 64 in all, of the absolute residuals whose sum is the local noise."""
        rows = [(*near, *(0,) * (self.n_residuals - len(near)), *before, *frame)
                for near, before, frame in _RESIDUAL_WEIGHTS]
        return np.array(rows, float)[:, :len(self.residual_taps)]

    @cached_property
    def strides(self) -> np.ndarray:
        """(4,) int64: (C, B, A, 1), the steps of t along (frame, k, j, i)."""
        used = np.concatenate([self.taps, self.residual_taps])
        f, k, j, i = used.T
        rows = (f == 0) & (k == 0) & (j < 0)
        a = max(1, int(np.max(i[rows])) + 1)
        slices = (f == 0) & (k < 0)
        b = max(1, int(np.max((i + a * j)[slices], initial=0)) + 1)
        frames = f < 0
        c = max(1, int(np.max((i + a * j + b * k)[frames], initial=0)) + 1)
        return np.array([c, b, a, 1])

    def n_steps(self, shape: tuple[int, int, int, int]) -> int:
        """How many steps a slab (frames, k, j, i) takes, those without voxels counted too."""
        return 1 + int((np.array(shape) - 1) @ self.strides)

    def columns_of_steps(self, shape: tuple[int, int, int, int], starts: np.ndarray) -> Iterator[np.ndarray]:
        """For each step the columns (slices of frames) that may have voxels in it, ascending; `starts` are the t of
        their first voxels."""
        duration = self.n_steps((1, 1, *shape[2:]))
        by_start = np.argsort(starts, kind="stable")
        begun = np.searchsorted(starts[by_start], np.arange(self.n_steps(shape)), side="right").tolist()
        for t, end in enumerate(begun):
            yield np.sort(by_start[begun[t - duration] if t >= duration else 0:end])

    @cached_property
    def reach(self) -> np.ndarray:
        """(2, 4) int64: how far the taps go before and behind the voxel along (frame, k, j, i)."""
        used = np.concatenate([self.taps, self.residual_taps])
        return np.array([-used.min(axis=0), used.max(axis=0).clip(0)])

    @cached_property
    def usable(self) -> np.ndarray:
        """(4, n) bool: which taps count in each surrounding."""
        return _usable(self.taps)

    @cached_property
    def pairs(self) -> list[np.ndarray]:
        """For each surrounding the (2, n) rows of `taps` whose absolute differences make the activity."""
        return [self._rows(_PAIRS, surrounding).T for surrounding in range(N_SURROUNDINGS)]

    @cached_property
    def flat(self) -> list[np.ndarray]:
        """For each surrounding the rows of `taps` that are all equal where a voxel counts as flat."""
        return [self._rows([(tap, tap) for tap in _FLAT], surrounding)[:, 0] for surrounding in range(N_SURROUNDINGS)]

    def _rows(self, pairs, surrounding: int) -> np.ndarray:
        row = {tuple(tap): index for index, tap in enumerate(self.taps.tolist())
               if self.usable[surrounding, index]}
        return np.array([(row[a], row[b]) for a, b in pairs if a in row and b in row])


def _usable(taps: np.ndarray) -> np.ndarray:
    surrounding = np.arange(N_SURROUNDINGS)[:, None]
    return ((taps[:, 1] >= 0) | (surrounding & 1 > 0)) & ((taps[:, 0] == 0) | (surrounding & 2 > 0))


def neighbourhood(radii: Sequence[Sequence[int]], n_inputs: int, n_residuals: int, temporal: bool) -> Neighbourhood:
    """A pyramid of taps, nearest first.

    Parameters
    ----------
    radii : list of (radius, reach to the east)
        For the slice itself and each slice before it: a square of that radius, in the slice itself only what precedes
        the voxel and no farther east than the second number (a nearer east makes the wavefront wider).
    n_inputs : int
        How many of them, the nearest, feed the network; temporal taps never do.
    n_residuals : int
        See `Neighbourhood`.
    temporal : bool
        Add 27 voxels around the same place one frame before and 5 two frames before.
    """
    taps = []
    for depth, (radius, east) in enumerate(radii):
        for j in range(-radius, (radius if depth else 0) + 1):
            for i in range(-radius, min(east, radius) + 1):
                if depth or j < 0 or i < 0:
                    taps.append((0, -depth, j, i))
    taps.sort(key=lambda tap: ((tap[1] * 1.5) ** 2 + tap[2] ** 2 + tap[3] ** 2, -tap[1], -tap[2], tap[3]))
    if temporal:
        around = [(-1, k, j, i) for k in (-1, 0, 1) for j in (-1, 0, 1) for i in (-1, 0, 1)]
        around += [(-2, 0, j, i) for j, i in ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))]
        taps += around
    return Neighbourhood(np.array(taps), n_inputs, n_residuals)
