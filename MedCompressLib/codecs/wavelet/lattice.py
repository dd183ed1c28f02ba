"""Bands cut into phases, so that every neighbour is a shifted flat array.

The coefficients of a band are coded in passes. A pass takes every second position of a checkerboard over (j, i) and,
where the transform does not split the depth axis, every second slice; later passes see the earlier ones all around.
A band is therefore kept as its polyphase *components* (depth parity, j parity, i parity), each a contiguous array
with a margin of one on every side; a slice of margin serves both the stack of slices before it and the one after. A
neighbour at any offset in a 3x3x3 box (5x5 in the plane for even offsets) is then a whole component at a fixed flat
offset: no gathering, no edge cases, long contiguous runs for NumPy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy as np

Component = tuple[int, int, int]
"""Parities along (depth, j, i); the depth parity is 0 where the depth is not cut."""

Offset = tuple[int, int, int]
"""A neighbour's position minus one's own, along (depth, j, i)."""

Components = dict[Component, np.ndarray]
"""The components of one array, each flat, margins included."""


@dataclass(frozen=True)
class Pass:
    """One step of coding a band: the components coded together, knowing all earlier passes."""

    depth: int
    checker: int

    @property
    def components(self) -> list[Component]:
        """The two components of this pass, in coding order."""
        return [(self.depth, j, j ^ self.checker) for j in (0, 1)]

    def knows(self, offset: Offset, cut_depth: bool) -> bool:
        """Whether the neighbour at `offset` in the same band was coded in an earlier pass."""
        depth, j, i = offset
        if cut_depth and depth & 1:
            return self.depth == 1
        return self.checker == 1 and (j + i) & 1 == 1


def passes(cut_depth: bool) -> list[Pass]:
    """The passes over a band in coding order."""
    return [Pass(depth, checker) for depth in ((0, 1) if cut_depth else (0,)) for checker in (0, 1)]


@dataclass(frozen=True)
class Lattice:
    """The common grid of all arrays of one level.

    Parameters
    ----------
    shape : (batch, depth, j, i)
        Of the level's low part, the largest of its parts.
    cut_depth : bool
        Whether slices of odd depth are coded after those of even depth.
    """

    shape: tuple[int, int, int, int]
    cut_depth: bool

    @cached_property
    def padded(self) -> tuple[int, int, int, int]:
        """Shape of every component, margins included but for the slice after the last."""
        batch, depth, rows, columns = self.shape
        return (batch, (depth + 1 >> 1 if self.cut_depth else depth) + 1, (rows + 1 >> 1) + 2, (columns + 1 >> 1) + 2)

    @cached_property
    def size(self) -> int:
        """Number of elements of every component, all margins included."""
        batch, depth, rows, columns = self.padded
        return (batch * depth + 1) * rows * columns

    @cached_property
    def reach(self) -> int:
        """No tap is farther than this many elements in a flat component."""
        _, _, rows, columns = self.padded
        return rows * columns + columns + 1

    @property
    def passes(self) -> list[Pass]:
        """In coding order."""
        return passes(self.cut_depth)

    @property
    def _depth_step(self) -> int:
        return 2 if self.cut_depth else 1

    def components(self) -> tuple[Component, ...]:
        """In coding order."""
        return _components(self.cut_depth)

    def cut(self, array: np.ndarray, mode: str, components: Components) -> None:
        """Put the components of `array` into `components`.

        Beyond its edges it is continued by `mode`: "edge" repeats the values there, "zero" leaves the margins as they
        are, which are zeros in new arrays.
        """
        if mode == "zero":
            for (d, j, i), flat in components.items():
                self.inside(flat, (d, j, i), array.shape)[:] = array[:, d::self._depth_step, j::2, i::2]
            return
        _, depth, rows, columns = self.padded
        whole = (self._depth_step * depth, 2 * rows, 2 * columns)
        before = (self._depth_step, 2, 2)
        margins = [(first, total - first - size)
                   for total, first, size in zip(whole, before, array.shape[1:], strict=True)]
        padded = np.pad(array, [(0, 0), *margins], mode=mode)
        for (d, j, i), flat in components.items():
            self.shaped(flat)[:] = padded[:, d::self._depth_step, j::2, i::2]

    def join(self, components: Components, shape: tuple[int, ...]) -> np.ndarray:
        """The array of `shape` whose `cut` has these components."""
        array = np.empty(shape, np.int32)
        for (d, j, i), flat in components.items():
            array[:, d::self._depth_step, j::2, i::2] = self.inside(flat, (d, j, i), shape)
        return array

    def inside(self, flat: np.ndarray, component: Component, shape: tuple[int, ...]) -> np.ndarray:
        """View of the elements of a component that belong to an array of `shape`."""
        d, j, i = component
        depth = shape[1] - d + 1 >> 1 if self.cut_depth else shape[1]
        rows, columns = shape[2] - j + 1 >> 1, shape[3] - i + 1 >> 1
        return self.shaped(flat)[:, 1:1 + depth, 1:1 + rows, 1:1 + columns]

    def shaped(self, flat: np.ndarray) -> np.ndarray:
        """View of a component in the shape `padded`."""
        return flat[:math.prod(self.padded)].reshape(self.padded)

    def tap(self, component: Component, offset: Offset) -> tuple[Component, int]:
        """Where the neighbour at `offset` of every element of `component` is: its component and flat offset."""
        _, _, rows, columns = self.padded
        return _tap(component, offset, self.cut_depth, rows, columns)


@cache
def _components(cut_depth: bool) -> tuple[Component, ...]:
    return tuple(component for step in passes(cut_depth) for component in step.components)


@lru_cache(maxsize=4096)
def _tap(component: Component, offset: Offset, cut_depth: bool, rows: int, columns: int) -> tuple[Component, int]:
    d, j, i = (own + away for own, away in zip(component, offset, strict=True))
    steps = (d >> 1 if cut_depth else d, j >> 1, i >> 1)
    return (d & 1 if cut_depth else 0, j & 1, i & 1), (steps[0] * rows + steps[1]) * columns + steps[2]
