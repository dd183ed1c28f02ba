"""The two neighbourhoods of the paper, the order of decoding that follows from them, and the look-up of their voxels.

The order is the 3D wavefront t = i + A*j + B*k, whose strides are the smallest that put every voxel of a neighbourhood
at an earlier t: all voxels of one t, in every frame, are independent of each other. Outside the slab samples are 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Neighbourhood:
    """Squares around the same place in the slice itself, as far as they precede the voxel, and in the slices before.

    Attributes
    ----------
    radii : tuple of int
        Of the square in the slice itself, in the one before, and so on.
    """

    radii: tuple[int, ...]

    @cached_property
    def taps(self) -> np.ndarray:
        """(n, 3) offsets (k, j, i): slices from the nearest on, in each rows and columns ascending."""
        return np.array([(-depth, j, i) for depth, radius in enumerate(self.radii)
                         for j in range(-radius, radius + 1) for i in range(-radius, radius + 1)
                         if depth or (j, i) < (0, 0)])

    @cached_property
    def strides(self) -> tuple[int, int, int]:
        """(B, A, 1), the steps of t along (k, j, i)."""
        a = 1 + self.radii[0]
        return 1 + max(radius + a * radius for radius in self.radii[1:]), a, 1

    def n_steps(self, shape: tuple[int, int, int, int]) -> int:
        """How many steps a slab (frames, k, j, i) takes, those without voxels counted too."""
        return 1 + sum(stride * (length - 1) for stride, length in zip(self.strides, shape[1:], strict=True))

    def around(self, shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """The (frames, k, j, i) of a slab and what the neighbourhoods of its voxels reach beside it."""
        frames, slices, rows, columns = shape
        margin = 2 * max(self.radii)
        return frames, slices + len(self.radii) - 1, rows + margin, columns + margin


NEIGHBOURHOODS = {"pyramid": Neighbourhood((6, 4, 2, 0)), "cube": Neighbourhood((5, 5, 5, 5, 5, 5))}


class Canvas:
    """A value for each voxel of a slab and for what lies around it as far as a neighbourhood reaches.

    Parameters
    ----------
    shape : (frames, k, j, i)
    neighbourhood : Neighbourhood
    outside : number
        Everything is this at first, and what lies outside the slab remains it.
    dtype : numpy dtype

    Attributes
    ----------
    cells : 1-D array
        All values. That of a voxel stands at its place, that of a neighbour at place + offset.
    inside : (frames, k, j, i) array
        Those of the slab, the same memory.
    """

    def __init__(self, shape: tuple[int, int, int, int], neighbourhood: Neighbourhood, outside: float, dtype):
        depth, margin = len(neighbourhood.radii) - 1, max(neighbourhood.radii)
        frames, k, j, i = neighbourhood.around(shape)
        self._shape = shape
        self._steps = (k * j * i, j * i, i, 1)
        self._first = (depth * j + margin) * i + margin
        self.cells = np.full(frames * k * j * i, outside, dtype)
        self.inside = self.cells.reshape(frames, k, j, i)[:, depth:, margin:j - margin, margin:i - margin]

    def places(self, voxels: np.ndarray) -> np.ndarray:
        """Where voxels with these flat indices in the slab stand."""
        coordinates = np.unravel_index(voxels, self._shape)
        return self._first + sum(step * axis for step, axis in zip(self._steps, coordinates, strict=True))

    def offsets(self, taps: np.ndarray) -> np.ndarray:
        """(n, 1): of the values at (n, 3) taps (k, j, i)."""
        return taps @ np.array(self._steps[1:])[:, np.newaxis]


def decoding_order(shape: tuple[int, int, int, int], neighbourhood: Neighbourhood) -> Iterator[np.ndarray]:
    """Flat indices in the slab of the voxels of each step, ascending within it."""
    frames, slices, rows, columns = shape
    b, a, _ = neighbourhood.strides
    t = (b * np.arange(slices)[:, None, None] + a * np.arange(rows)[:, None] + np.arange(columns)).ravel()
    order = np.argsort(t, kind="stable")
    of_frames = np.arange(frames)[:, None] * t.size
    for voxels in np.split(order, np.flatnonzero(np.diff(t[order])) + 1):
        yield (of_frames + voxels).ravel()
