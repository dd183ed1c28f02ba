"""The order of layers: which level is coded up to which step, and when.

A layer takes one level of the transform from the step it is known to (or from nothing) to a step of 2**shift. A level
has layers of falling shift, the last 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...errors import FormatError
from ..wavelet.lifting import Level

MAX_LAYERS = 255
MAX_SHIFT = 26
_STRIDE = 2                 # bits between two layers of a level
_BEYOND = 2e-4              # share of coefficients that may be too large for the tables of the first layer of a level
_FIRST_BITS = 3             # which reach 2**3 steps


class Layer(NamedTuple):
    """Attributes
    ----------
    level : 0 is the finest
    shift : the step is 2**shift
    """

    level: int
    shift: int


def planes(layers: list[Layer]) -> list[int]:
    """How many bit planes each layer codes one after the other; the first of a level is one."""
    shifts: dict[int, int] = {}
    found = []
    for level, shift in layers:
        found.append(shifts.get(level, shift + 1) - shift)
        shifts[level] = shift
    return found


def turns(layers: list[Layer]) -> list[int]:
    """How many earlier layers the level of each layer has."""
    return [sum(layer.level == level for layer in layers[:place]) for place, (level, _) in enumerate(layers)]


def choose(levels: list[Level]) -> list[Layer]:
    """Layers for a volume like this one.

    A step on a level weighs about twice as much in the volume's error as the same step on the level below (twice as
    many voxels along j and i have a part in it), so a level always stands one plane below the next finer one, and
    coarser ones come first.
    """
    starts = [_start(level) for level in levels]
    layers = []
    top = max((number + start for number, start in enumerate(starts)), default=0)
    for plane in range(top + (top & 1), -1, -_STRIDE):
        for number in reversed(range(len(levels))):
            shift = max(0, plane - number)
            if shift <= starts[number] and Layer(number, shift) not in layers:
                layers.append(Layer(number, shift))
    return layers


def _start(level: Level) -> int:
    """The shift that the first layer of a level brings it to: as small as its tables allow, for layers cost time."""
    magnitudes = np.concatenate([np.abs(band).ravel() for band in level.bands.values()] or [np.zeros(1, int)])
    if not magnitudes.size:
        return 0
    rank = int((1 - _BEYOND) * (magnitudes.size - 1))
    return max(0, int(np.partition(magnitudes, rank)[rank]).bit_length() - _FIRST_BITS)


def check(layers: object, levels: int) -> list[Layer]:
    """`layers` of a configuration; FormatError unless every level ends with every bit."""
    damaged = FormatError("The layers in the file's configuration are not such that they lead to every voxel.")
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        raise damaged
    left = [MAX_SHIFT + 1] * levels
    for layer in layers:
        if (not isinstance(layer, list) or len(layer) != 2 or not all(type(number) is int for number in layer)
                or not 0 <= layer[0] < levels or not 0 <= layer[1] < left[layer[0]]):
            raise damaged
        left[layer[0]] = layer[1]
    if any(left):
        raise damaged
    return [Layer(*layer) for layer in layers]
