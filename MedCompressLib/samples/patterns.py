"""Voxels as unsigned integers that sort as the values do, one for each bit pattern, and back."""

from __future__ import annotations

import numpy as np

from ..errors import UnsupportedError

EXACT_MULTIPLE = 2**53
"""Multiples up to this are exact in float64."""

_NEGATIVE_ZERO, _POSITIVE_ZERO = np.uint64(2**63), np.uint64(2**63 + 1)

NOT_FITTED = "The slab has a voxel that the sample map was not fitted to."


def pattern_dtype(dtype: np.dtype, scale: float | None) -> np.dtype:
    """The unsigned type of the patterns of `dtype`."""
    return np.dtype(np.uint64) if scale is not None else np.dtype(f"u{dtype.itemsize}")


def to_patterns(voxels: np.ndarray, zeros: int, scale: float | None) -> np.ndarray:
    """Unsigned integers that sort as the voxels do, one for each different bit pattern.

    Parameters
    ----------
    voxels : contiguous array of an integer or float type in native byte order
    zeros : int
        Low bits of every voxel to leave out.
    scale : float or None
        For floats that are n * scale: the pattern is n + 2**63, and one more where the sign bit is clear, so that
        -0.0 has its place between -1 and 0.

    Raises
    ------
    UnsupportedError
        A voxel has one of the low bits set, or is not a multiple of `scale`.
    """
    if scale is not None:
        whole = multiples(voxels, scale)
        return whole.astype(np.int64).view(np.uint64) + np.where(np.signbit(whole), _NEGATIVE_ZERO, _POSITIVE_ZERO)
    kind = pattern_dtype(voxels.dtype, None)
    bits = voxels.view(kind)
    if zeros:
        if np.any(bits & kind.type((1 << zeros) - 1)):
            raise UnsupportedError(NOT_FITTED)
        bits = bits >> kind.type(zeros)
    sign = 1 << (8 * kind.itemsize - zeros - 1)
    if voxels.dtype.kind == "i":
        return bits ^ kind.type(sign)
    if voxels.dtype.kind == "f":
        return np.where(bits & kind.type(sign), bits ^ kind.type(2 * sign - 1), bits | kind.type(sign))
    return bits


def from_patterns(patterns: np.ndarray, zeros: int, scale: float | None, dtype: np.dtype) -> np.ndarray:
    """Undo `to_patterns`."""
    if scale is not None:
        positive = patterns >= _POSITIVE_ZERO
        whole = (patterns - np.where(positive, _POSITIVE_ZERO, _NEGATIVE_ZERO)).view(np.int64).astype(np.float64)
        return scaled(np.where(positive, whole, -np.abs(whole)), scale, dtype)
    kind = patterns.dtype
    sign = 1 << (8 * kind.itemsize - zeros - 1)
    if dtype.kind == "i":
        patterns = patterns ^ kind.type(sign)
    elif dtype.kind == "f":
        patterns = np.where(patterns & kind.type(sign), patterns ^ kind.type(sign), patterns ^ kind.type(2 * sign - 1))
    return (patterns << kind.type(zeros) if zeros else patterns).view(dtype)


def multiples(voxels: np.ndarray, scale: float) -> np.ndarray:
    """Whole float64 numbers with `scaled` equal to the voxels bit for bit; UnsupportedError when there are none."""
    kind = pattern_dtype(voxels.dtype, None)
    with np.errstate(all="ignore"):
        whole = np.rint(voxels.astype(np.float64) / scale)
    if whole.size and not (np.abs(whole).max() <= EXACT_MULTIPLE
                           and np.array_equal(scaled(whole, scale, voxels.dtype).view(kind), voxels.view(kind))):
        raise UnsupportedError(NOT_FITTED)
    return whole


def scaled(whole: np.ndarray, scale: float, dtype: np.dtype) -> np.ndarray:
    """n * scale in float64, rounded to `dtype`: IEEE 754 roundings of single operations, the same everywhere."""
    with np.errstate(all="ignore"):
        return (whole * scale).astype(dtype)
