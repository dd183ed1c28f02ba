"""Rescaling of stored integers, only where it is exact: a leaf shared by the readers of DICOM and NIfTI."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def rescaled(stored: np.ndarray, slopes: Sequence[float], intercepts: Sequence[float]) -> np.ndarray | None:
    """`stored * slope + intercept` in an integer type, or None where that is not possible exactly.

    Possible when every slope is a whole number other than 0, every intercept a whole number, and the values that occur
    fit an integer type. That type is the narrowest not narrower than the stored one, the stored type itself before its
    signed or unsigned twin. `(result - intercept) / slope` gives the stored values again.

    Parameters
    ----------
    stored : (n, ...) integer ndarray
        Changed in place where the result has the same width.
    slopes, intercepts : sequence of n float, or of one for all
        Along the first axis of `stored`.
    """
    if stored.dtype.kind not in "iu" or not all(float(slope).is_integer() and slope for slope in slopes):
        return None
    if not all(float(intercept).is_integer() for intercept in intercepts):
        return None
    slopes, intercepts = [int(slope) for slope in slopes], [int(intercept) for intercept in intercepts]
    if set(slopes) == {1} and set(intercepts) == {0}:
        return stored
    inner = tuple(range(1, stored.ndim))
    ends = [value * slope + intercept
            for values in (stored.min(axis=inner), stored.max(axis=inner))
            for value, slope, intercept in zip(values.tolist(), _spread(slopes, stored), _spread(intercepts, stored),
                                               strict=True)]
    dtype = _narrowest(stored.dtype, min(ends), max(ends))
    if dtype is None:
        return None
    # The arithmetic is modulo 2**bits; as every result fits the type, it is exact.
    result = stored.view(dtype) if dtype.itemsize == stored.dtype.itemsize else stored.astype(dtype)
    shape = (-1, *(1 for _ in inner))
    result *= _wrapped(slopes, dtype).reshape(shape)
    result += _wrapped(intercepts, dtype).reshape(shape)
    return result


def _spread(values: list[int], stored: np.ndarray) -> list[int]:
    return values * len(stored) if len(values) == 1 else values


def _narrowest(stored: np.dtype, least: int, greatest: int) -> np.dtype | None:
    twin = "u" if stored.kind == "i" else "i"
    for width in (width for width in (1, 2, 4, 8) if width >= stored.itemsize):
        for dtype in (np.dtype(f"{stored.kind}{width}"), np.dtype(f"{twin}{width}")):
            if np.iinfo(dtype).min <= least and greatest <= np.iinfo(dtype).max:
                return dtype
    return None


def _wrapped(values: list[int], dtype: np.dtype) -> np.ndarray:
    bits = 8 * dtype.itemsize
    return np.array([value % (1 << bits) for value in values], f"u{dtype.itemsize}").view(dtype)
