"""Near-lossless coding: the quantiser inside the prediction loop, in the manner of JPEG-LS, exact outside a range.

With step = 2 * max_error + 1 a symbol q stands for u = centre + sign * step * q, and u for a sample:

    low <= u <= high         u itself
    u < low                  low - p, where p = floor((low - 1 - u) / step)
    u > high                 high + p, where p = floor((u - high - 1) / step)

so the first step beyond an end of the range still means that end, and each further one the next sample outside, which
is thus coded exactly. For lossless coding max_error is 0 and the range is everything.
"""

from __future__ import annotations

import numpy as np

from ...quality import SampleBound


def reconstruct(symbols: np.ndarray, centre: np.ndarray, sign: np.ndarray, bound: SampleBound,
                max_error: np.ndarray | int) -> np.ndarray:
    """The samples, (n,) float64, that (n,) `symbols` stand for, each off by at most its `max_error`."""
    step = 2 * max_error + 1
    u = centre + sign * step * symbols
    if not bound.max_error:
        return u
    below = np.maximum(np.floor((bound.low - 1 - u) / step), 0)
    above = np.maximum(np.floor((u - bound.high - 1) / step), 0)
    return np.clip(u, bound.low, bound.high) - below + above


def quantise(samples: np.ndarray, centre: np.ndarray, sign: np.ndarray, bound: SampleBound,
             max_error: np.ndarray | int) -> np.ndarray:
    """The symbols, (n,) float64, whose samples are nearest to (n,) `samples` and keep the bound."""
    step = 2 * max_error + 1
    steps = np.floor((samples - centre + max_error) / step)
    if not bound.max_error:
        return sign * steps
    lowest = bound.low - 1 - (bound.low - samples) * step
    highest = bound.high + 1 + (samples - bound.high) * step
    steps = np.where(samples < bound.low, np.floor((lowest - centre) / step), steps)
    steps = np.where(samples > bound.high, np.ceil((highest - centre) / step), steps)
    return sign * steps
