"""The room that a slab takes with the margins of its lattices, and the format's limits for it.

Where rows, columns and slices are short, margins take many times what they are around. Without a limit, a small file
with very many short lines would need gigabytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .lifting import level_shapes

MOST_OF_LEVELS = 1 << 24
MOST_OF_REGIONS = 3 << 24
MOST_OF_ONE_SLICE = 5      # times its voxels, where that is more

Shape = tuple[int, ...]
"""(frames, k, j, i), or (batch, depth, j, i)."""

Choice = tuple[str, int]
"""Depth axis and depth levels."""


def choices_that_fit(shape: Shape, levels: int, choices: Sequence[Choice]) -> tuple[int, list[Choice]]:
    """The levels, and the choices with which slabs of a shape are within the limit; no levels where there is none."""
    fitting = [(axis, split) for axis, split in choices if _levels_fit(turned(shape, axis), levels, split)]
    return (levels, fitting) if fitting else (0, [(choices[0][0], 0)])


def check_levels(shape: Shape, levels: int, depth_levels: int, error: type[Exception]) -> None:
    """Raise `error` where a slab (batch, depth, j, i) is beyond the limit."""
    if not _levels_fit(shape, levels, depth_levels):
        raise error(f"Slabs of shape {shape} cannot have {levels} levels: their lines are too short, or too many.")


def check_regions(shape: Shape, error: type[Exception]) -> None:
    """Raise `error` where a slab (frames, k, j, i) cannot have a layer for regions."""
    if not _fits(_room(shape), shape, MOST_OF_REGIONS):
        raise error(f"Slabs of shape {shape} cannot have regions with this codec: their lines are too short, or too "
                    "many; use another codec.")


def turned(shape: Shape, depth_axis: str) -> Shape:
    """(frames, k, j, i) to (batch, depth, j, i) or back."""
    return tuple(shape) if depth_axis == "k" else (shape[1], shape[0], *shape[2:])


def _levels_fit(shape: Shape, levels: int, depth_levels: int) -> bool:
    lows = level_shapes(shape, levels, depth_levels)[1:]
    return _fits(sum(_room(low) * (2 if level < depth_levels else 1) for level, low in enumerate(lows)), shape,
                 MOST_OF_LEVELS)


def _room(shape: Shape) -> int:
    """At least what the lattice of an array takes, whether its depth is cut or not."""
    batch, depth, rows, columns = shape
    return batch * (depth + 3) * (rows + 5) * (columns + 5)


def _fits(room: int, shape: Shape, most: int) -> bool:
    return room <= (max(most, MOST_OF_ONE_SLICE * math.prod(shape)) if shape[0] == shape[1] == 1 else most)
