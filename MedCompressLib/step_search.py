"""Which step of the quantiser meets a target: from few trials.

The logarithms of size and error are nearly straight lines over that of the step, so secants get there fast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from .lazy import LazyArray
from .quality import Target, TargetPSNR, TargetRatio

_WIDTH = 2e-4                              # of an interval of log2(step) that is not worth halving
_DECIBEL = 20 * math.log10(2)


@dataclass(frozen=True)
class Goal:
    """A target as a number that grows with the step, and the interval in which that number should lie.

    Attributes
    ----------
    file_bytes : float or None
        Largest size; None where the fidelity is given.
    squared_error : float or None
        Largest mean squared error, in samples; None where the size is given.
    """

    file_bytes: float | None
    squared_error: float | None

    @classmethod
    def of(cls, target: Target, voxels: np.ndarray | LazyArray, peak: int) -> Goal:
        """That of a volume whose largest sample is `peak`."""
        if isinstance(target, TargetPSNR):
            return cls(None, (peak / 10**(target.psnr_db / 20))**2)
        size = math.prod(voxels.shape)
        if isinstance(target, TargetRatio):
            return cls(size * voxels.dtype.itemsize / target.ratio, None)
        return cls(size * target.bits_per_voxel / 8, None)

    @property
    def interval(self) -> tuple[float, float, float]:
        """Least, wanted and largest distance: 2 % in size less what the header may vary by, or 0.1 dB."""
        if self.file_bytes:
            return 0.0, 0.01, -math.log2(0.985)
        return -0.1 / _DECIBEL, -0.03 / _DECIBEL, -1e-4 / _DECIBEL

    def distance(self, file_bytes: float, squared_error: float) -> float:
        """How far a file is from the goal, as a power of two; above 0 where the step is too coarse for the fidelity
        or fine enough for the size."""
        if self.file_bytes:
            return math.log2(self.file_bytes / max(1.0, file_bytes))
        return 0.5 * math.log2(max(squared_error, 1e-300) / self.squared_error)

    def kept(self, distance: float) -> bool:
        """Whether the file is no larger, or no worse, than it may be."""
        return distance >= self.interval[0] if self.file_bytes else distance <= self.interval[2]


@dataclass
class Search:
    """Finds the step whose distance lies in the goal's interval, from few trials.

    Attributes
    ----------
    goal : Goal
    finest, coarsest : float
        No step beyond them is tried.
    slope : float
        About how much the distance grows when the step doubles.
    tried : dict of float to float
        Distance by log2(step).
    """

    goal: Goal
    finest: float
    coarsest: float
    slope: float = 0.9
    tried: dict[float, float] = field(default_factory=dict)

    def next(self) -> float | None:
        """The step to try next; None when there is nothing left to gain."""
        least, wanted, most = self.goal.interval
        if any(least <= distance <= most for distance in self.tried.values()):
            return None
        below = max((place for place, distance in self.tried.items() if distance < least), default=None)
        above = min((place for place, distance in self.tried.items() if distance > most), default=None)
        ends = math.log2(self.finest), math.log2(self.coarsest)
        if below is not None and above is not None and below < above:
            if above - below < _WIDTH:
                return None
            share = (wanted - self.tried[below]) / (self.tried[above] - self.tried[below])
            place = below + (above - below) * min(max(share, 0.1), 0.9)
        else:
            last = below if above is None else above
            place = last + (wanted - self.tried[last]) / self._slope(last)
            place = min(max(place, last - 4, ends[0]), last + 4, ends[1])
            if place in self.tried:
                return None
        return 2.0**place

    def _slope(self, last: float) -> float:
        others = [place for place in self.tried if abs(place - last) > _WIDTH]
        if others:
            other = min(others, key=lambda place: abs(place - last))
            self.slope = min(max((self.tried[last] - self.tried[other]) / (last - other), 0.2), 2.0)
        return self.slope

    def add(self, step: float, distance: float) -> None:
        """Take note of a trial."""
        self.tried[math.log2(step)] = distance
