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
_WORTH_CODING = 0.01        # share of coefficients that the first layer of a level makes other than zero


class Layer(NamedTuple):
    """Attributes
    ----------
    level : 0 is the finest
    shift : the step is 2**shift
    """

    level: int
    shift: int


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
    """The largest shift at which enough coefficients of a level are not zero."""
    magnitudes = np.concatenate([np.abs(band).ravel() for band in level.bands.values()] or [np.zeros(1, int)])
    if not magnitudes.size:
        return 0
    rank = int((1 - _WORTH_CODING) * (magnitudes.size - 1))
    return max(0, int(np.partition(magnitudes, rank)[rank]).bit_length() - 1)


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
