"""From coefficients of the 9/7 wavelet to the integers that are coded, and back.

The decoder's side is exact in integers. The encoder chooses each integer for the sake of distance and rate together: a
step away from the prediction has to be worth the bits that it takes (rate-distortion optimised quantisation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import FormatError
from . import irreversible
from .contexts import N_CLASSES, PHASE_BITS, SPREAD_BITS
from .irreversible import FRACTION_BITS
from .lifting import BandName, Level, band_names

POINT_BITS = 6           # reconstruction points are in units of 2**-6 of a step
FINE_BITS = 6            # the encoder's coefficients are in units of 2**-6 of a step
SPREAD_UNIT = -4         # expected magnitudes count in units of 2**-8 of a step
MAX_STEP = 1 << 40
_SEEN = 1 << 28          # contexts see no value beyond, so that differences of two have 32 bits
_LARGEST = 1 << 30
RATE_WEIGHT = 0.1            # of a bit against a squared error in units of a squared step; measured
_FARTHEST = 0.9          # no threshold is above, or contexts starve: what becomes 0 makes its neighbours become 0


@dataclass(frozen=True)
class Quantiser:
    """Uniform in each band, with points that need not lie in the middle of their intervals.

    Attributes
    ----------
    steps : tuple of tuple of int
        For each level, finest first, the step of each band in coding order; at last that of the all-low part alone.
        In units of 2**-`FRACTION_BITS` of a sample.
    points : tuple of int
        How far the value that stands for magnitude 1, and for all larger ones, lies nearer to 0 (or, if negative,
        farther away), in units of 2**-`POINT_BITS` of a step.
    """

    steps: tuple[tuple[int, ...], ...]
    points: tuple[int, int]

    @classmethod
    def uniform(cls, step: float, levels: int, depth_levels: int, points: tuple[int, int] = (0, 0)) -> Quantiser:
        """With an error of about the same size from every band; `step` is that of a sample without any transform."""
        unit = step * (1 << FRACTION_BITS)
        names = [band_names(level < depth_levels) for level in range(levels)]
        norms = [[irreversible.synthesis_norm(level, name, depth_levels) for name in names[level]]
                 for level in range(levels)]
        norms.append([irreversible.synthesis_norm(levels - 1, (0, 0, 0), depth_levels) if levels else 1.0])
        return cls(tuple(tuple(max(1, round(unit / norm)) for norm in row) for row in norms), points)

    def get_config(self) -> dict:
        """Plain JSON, part of the codec's configuration."""
        return {"steps": [list(row) for row in self.steps], "points": list(self.points)}

    @classmethod
    def from_config(cls, config: dict, levels: int, depth_levels: int) -> Quantiser:
        """Raise FormatError where `get_config` could not have written this for a codec of so many levels."""
        steps, points = config["steps"], config.get("points")
        lengths = [7 if level < depth_levels else 3 for level in range(levels)] + [1]
        if not (isinstance(steps, list) and all(isinstance(row, list) for row in steps)
                and [len(row) for row in steps] == lengths
                and all(type(step) is int and 1 <= step <= MAX_STEP for row in steps for step in row)):
            raise FormatError("The wavelet configuration has no valid steps.")
        if not (isinstance(points, list) and len(points) == 2
                and all(type(point) is int and abs(point) <= 1 << POINT_BITS for point in points)):
            raise FormatError("The wavelet configuration has no valid points.")
        return cls(tuple(map(tuple, steps)), tuple(points))

    def low(self, values: np.ndarray) -> np.ndarray:
        """What the coded integers of the all-low part stand for."""
        return self.dequantised(values, self.steps[-1][0])

    def samples(self, low: np.ndarray, maximum: int) -> np.ndarray:
        """The whole numbers nearest to the result of the last `merged`, in 0 .. `maximum`."""
        return (low + (1 << FRACTION_BITS - 1) >> FRACTION_BITS).clip(0, maximum).astype(np.int32)

    def seen(self, low: np.ndarray, number: int) -> np.ndarray:
        """The low part of a level as the contexts see it, in about quarters of that level's steps."""
        low = low >> max(0, self.steps[number][0].bit_length() - 3)
        return low.clip(-_SEEN, _SEEN, out=low).astype(np.int32)

    def dequantised(self, values: np.ndarray, step: int) -> np.ndarray:
        """What coded integers stand for, as int64 in units of 2**-`FRACTION_BITS`."""
        one, more = (point * step >> POINT_BITS for point in self.points)
        magnitudes = np.abs(values.astype(np.int64))
        result = magnitudes * step
        result -= np.where(magnitudes > 1, more, one)
        result *= np.sign(values)
        return result

    def merged(self, number: int, low: np.ndarray, bands: dict[BandName, np.ndarray], depth_split: bool) -> np.ndarray:
        """The low part of the next finer level, or the samples with their fractions."""
        parts = {name: self.dequantised(band, step) for (name, band), step in
                 zip(bands.items(), self.steps[number], strict=True)}
        return irreversible.merge(Level(low, parts), depth_split)


def in_steps(coefficients: np.ndarray, step: int) -> np.ndarray:
    """Coefficients of a band in units of 2**-`FINE_BITS` of its step, int32."""
    scaled = coefficients * (2.0**(FRACTION_BITS + FINE_BITS) / step)
    return np.rint(scaled, out=scaled).clip(-_LARGEST, _LARGEST).astype(np.int32)


def rounded(fine: np.ndarray, threshold: np.ndarray | int) -> np.ndarray:
    """Integers near `fine`, of whose magnitudes the part behind the point must reach `threshold` to round up."""
    magnitudes = np.abs(fine)
    magnitudes += (1 << FINE_BITS) - threshold
    magnitudes >>= FINE_BITS
    return np.where(fine < 0, -magnitudes, magnitudes)


def thresholds() -> np.ndarray:
    """For each group: how far above an integer a coefficient must lie so that one more step from its mean pays.

    A two-sided geometric distribution with the mean magnitude m takes -log2(t) bits more for each step, with
    m = 2 t / (1 - t^2). Step k pays if (x - k)^2 + weight * bits < (x - k + 1)^2.
    """
    classes = np.arange(N_CLASSES)
    exponent = np.maximum(classes // 4 - 1, 0)
    spread = (classes - 4 * exponent + 0.5) * 2.0**(exponent + SPREAD_UNIT - SPREAD_BITS)
    t = (np.sqrt(1 + spread**2) - 1) / spread
    limits = np.minimum(0.5 - 0.5 * RATE_WEIGHT * np.log2(t), _FARTHEST)
    return np.repeat(np.rint(limits * (1 << FINE_BITS)).astype(np.int32), 1 << PHASE_BITS)
