"""Samples with a bound on their error as the fewer integers that are coded without loss, and back."""

from __future__ import annotations

import numpy as np

from ...quality import SampleBound


def coarse(samples: np.ndarray, bound: SampleBound) -> np.ndarray:
    """The integer nearest to each sample of the bound's interval, in units of 2 max_error + 1; all others moved beside
    it."""
    step = 2 * bound.max_error + 1
    inside = np.clip(samples, bound.low, bound.high)
    return samples - inside + (inside - bound.low + bound.max_error) // step + bound.low


def fine(integers: np.ndarray, bound: SampleBound) -> np.ndarray:
    """Samples within the bound of those that `coarse` had."""
    step, top = 2 * bound.max_error + 1, coarse_maximum(bound.high, bound)
    samples = np.where(integers > top, integers - top + bound.high, integers)
    inside = (integers >= bound.low) & (integers <= top)
    return np.where(inside, np.minimum((integers - bound.low) * step + bound.low, bound.high), samples)


def coarse_maximum(maximum: int, bound: SampleBound) -> int:
    """What `coarse` makes of the largest sample."""
    return int(coarse(np.array(maximum, np.int64), bound))
