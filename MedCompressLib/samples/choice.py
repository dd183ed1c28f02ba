"""Choosing the sample map of a volume: what is used, what pays, where to split.

Only the encoder runs this, so floats may be used freely; the result is a handful of integers and one scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from ..errors import UnsupportedError
from ..quality import SampleBound
from .intervals import TABLE_LIMIT, UsedPatterns, close_gaps, count, pack_intervals, rank
from .patterns import EXACT_MULTIPLE, from_patterns, multiples, pattern_dtype, to_patterns

SAMPLE_BITS = 24
"""Samples have at most so many bits, so that float32 holds them exactly too."""

DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")

_FLOAT_BITS = 22  # of the samples of floats that are no multiples of anything
_LARGEST_SQUARED = 1e140  # errors beyond it, or below its inverse, are squared and summed up no more in doubles
_PADDING_GAP = 16  # a lone value at least so far beyond all others is padding
_TRIAL_SLICES = 2
_TRIAL_VOXELS = 2**16  # for the split, which is tried at twenty places
_WORTH = 0.999  # a table or a finer split has to save this much


def choose(slabs: Sequence[np.ndarray]) -> dict:
    """The fields of a `SampleMap` for these slabs."""
    dtype, used, bits, voxels = _survey(slabs)
    scale, zeros = None, (bits & -bits).bit_length() - 1 if bits else 0
    starts, stops = used.starts >> np.uint64(zeros), used.stops >> np.uint64(zeros)
    if dtype.kind == "f" and used.exact:
        values = from_patterns(used.starts.astype(pattern_dtype(dtype, None)), 0, None, dtype)
        scale = _find_scale(values)
        if scale is not None:
            zeros, starts = 0, to_patterns(values, 0, scale)
            stops = starts
    trial = to_patterns(_trial_slices(slabs, dtype), zeros, scale)
    best = None
    for candidate in _gap_choices(starts, stops):
        table = len(pack_intervals(*candidate, effort=1))
        if best is not None and (table > TABLE_LIMIT or 8 * table > best[0] * voxels):
            continue
        cost, shift = _split(rank(trial, *candidate), count(*candidate))
        cost += 8 * table / voxels
        if best is None or cost < _WORTH * best[0]:
            best = cost, candidate, shift
    _, (starts, stops), shift = best
    return {"dtype": dtype, "zeros": zeros, "scale": scale, "starts": starts, "stops": stops, "shift": shift}


def choose_bounded(slabs: Sequence[np.ndarray], max_error: int) -> tuple[dict, SampleBound]:
    """The fields of a `SampleMap` in whose samples voxels may be off by `max_error`, and what that means there."""
    dtype, used, bits, _ = _survey(slabs)
    if dtype.kind == "f":
        raise UnsupportedError(f"A bound on the error needs integer voxels, and these are {dtype.name}; store them "
                               "lossless, or convert them first.")
    zeros = (bits & -bits).bit_length() - 1 if bits else 0
    starts, stops = used.starts >> np.uint64(zeros), used.stops >> np.uint64(zeros)
    gaps = [int(start) - int(stop) for start, stop in ((starts[1], stops[0]), (starts[-1], stops[-2]))] \
        if len(starts) > 1 else [0, 0]
    low, high = (int(gap >= max(2 * max_error + 2, _PADDING_GAP)) for gap in gaps)
    if low + high == len(starts):                        # two lone values: one of them is what is imaged
        high = 0
    inner = slice(low, len(starts) - high)
    starts = np.concatenate([starts[:low], starts[inner][:1], starts[inner.stop:]])
    stops = np.concatenate([stops[:low], stops[inner][-1:], stops[inner.stop:]])
    maximum = count(starts, stops) - 1
    if maximum >> SAMPLE_BITS:
        raise UnsupportedError("A bound on the error needs voxels of a range of at most 24 bits; store these lossless.")
    fields = {"dtype": dtype, "zeros": zeros, "scale": None, "starts": starts, "stops": stops, "shift": 0}
    return fields, SampleBound(max_error >> zeros, low, maximum - high)


def choose_linear(slabs: Sequence[np.ndarray]) -> dict:
    """The fields of a `SampleMap` whose samples are the voxels less the smallest in one unit; floats may be rounded."""
    dtype, used, bits, _ = _survey(slabs)
    if dtype.kind == "f":
        return _linear_floats(dtype, used)
    zeros = (bits & -bits).bit_length() - 1 if bits else 0
    first, last = int(used.starts[0]) >> zeros, int(used.stops[-1]) >> zeros
    if last - first >> SAMPLE_BITS:
        raise UnsupportedError("A target needs voxels of a range of at most 24 bits; store these lossless.")
    return {"dtype": dtype, "zeros": zeros, "scale": None, "starts": np.array([first], np.uint64),
            "stops": np.array([last], np.uint64), "shift": 0}


def _linear_floats(dtype: np.dtype, used: UsedPatterns) -> dict:
    values = from_patterns(used.starts.astype(pattern_dtype(dtype, None)), 0, None, dtype)
    least, most = (float(from_patterns(np.array([end]).astype(pattern_dtype(dtype, None)), 0, None, dtype)[0])
                   for end in (used.starts[0], used.stops[-1]))
    if not np.isfinite([least, most]).all():
        raise UnsupportedError("A target needs voxels that are all finite numbers; store these lossless.")
    if max(abs(least), abs(most)) > _LARGEST_SQUARED or 0 < most - least < 1 / _LARGEST_SQUARED:
        raise UnsupportedError("A target needs floats whose errors can be squared: no larger than "
                               f"{_LARGEST_SQUARED:g}, of a range of at least {1 / _LARGEST_SQUARED:g} or none; store "
                               "these lossless.")
    scale = _find_scale(values) if used.exact else None
    if scale is None:
        scale = max((most / 2 - least / 2) * 2.0**(1 - _FLOAT_BITS), max(abs(least), abs(most)) / EXACT_MULTIPLE * 4,
                    float(np.finfo(np.float64).tiny))
    first, last = (int(np.rint(end / scale)) for end in (least, most))
    # Without -0.0, which has a pattern of its own between -1 and 0.
    runs = [(start, stop) for start, stop in ((first, min(last, -1)), (max(first, 0), last)) if start <= stop]
    starts, stops = (np.array([place + 2**63 + (place >= 0) for place in ends], np.uint64)
                     for ends in zip(*runs, strict=True))
    return {"dtype": dtype, "zeros": 0, "scale": scale, "starts": starts, "stops": stops, "shift": 0}


def estimated_bits(samples: np.ndarray) -> float:
    """Bits per voxel that slices of a non-negative integer array would take, roughly.

    Each voxel less the mean of its two neighbours in the row, as the wavelet predicts it: the bit length of what is
    left at its entropy, and the bits below the leading one as they are.
    """
    samples = samples.astype(np.int64)
    residual = samples[..., 1:-1] - (samples[..., :-2] + samples[..., 2:] >> 1)
    if residual.size == 0:
        return float(np.log2(samples.max() + 1))
    length = np.frexp(np.abs(residual).astype(np.float64))[1]
    return entropy(np.bincount(length.ravel())) + float(length.mean())


def entropy(counts: np.ndarray) -> float:
    """Bits per symbol of symbols with these counts."""
    counts = counts[counts > 0]
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())


def _survey(slabs: Sequence[np.ndarray]) -> tuple[np.dtype, UsedPatterns, int, int]:
    """Type, patterns in use, every bit that is set anywhere, and the number of voxels."""
    dtype, used, bits, voxels = None, UsedPatterns(), 0, 0
    for slab in slabs:
        slab = np.ascontiguousarray(slab)
        if dtype is None:
            dtype = slab.dtype.newbyteorder("=")
            if dtype.name not in DTYPES:
                raise UnsupportedError(f"Voxels of type {dtype.name} cannot be stored; convert them to one of "
                                       f"{', '.join(DTYPES)}.")
        slab = slab.astype(dtype, copy=False)
        if slab.size:
            used.add(to_patterns(slab, 0, None))
            bits |= int(np.bitwise_or.reduce(slab.view(pattern_dtype(dtype, None)), axis=None))
            voxels += slab.size
    if not voxels:
        raise UnsupportedError("There are no voxels to store.")
    return dtype, used, bits, voxels


def _trial_slices(slabs: Sequence[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """A few whole slices out of the middle of the volume, (slices, j, i)."""
    slab = next(slab for slab in chain([slabs[len(slabs) // 2]], slabs) if slab.size)
    slices = slab.reshape(-1, *slab.shape[-2:]) if slab.ndim > 1 else slab.reshape(1, 1, -1)
    chosen = np.linspace(0, len(slices) - 1, _TRIAL_SLICES + 2)[1:-1].round().astype(int)
    return np.ascontiguousarray(slices[np.unique(chosen)], dtype)


def _gap_choices(starts: np.ndarray, stops: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The intervals with ever smaller gaps kept open, beginning with none."""
    choices = [(starts[:1], stops[-1:])]
    for bits in (60, 52, 44, 36, 28, 24, 20, 16, 12, 8, 6, 4, 2, 0):
        choice = close_gaps(starts, stops, 1 << bits)
        if len(choice[0]) > len(choices[-1][0]):
            choices.append(choice)
    return choices


def _split(index: np.ndarray, size: int) -> tuple[float, int]:
    """Bits per voxel and shift for ranks below `size`: the coarsest split that costs about the least."""
    least = max(0, (size - 1).bit_length() - SAMPLE_BITS)
    if least == 0:
        return estimated_bits(index), 0
    height, width = index.shape[-2:]
    rows = min(height, max(2, _TRIAL_VOXELS // (width * len(index))))
    index = np.ascontiguousarray(index[:, (height - rows) // 2:(height + rows) // 2 + 1])
    costs = {}
    for shift in range(least, least + SAMPLE_BITS - 4):
        low = index & np.uint64((1 << shift) - 1)
        planes = [(low >> np.uint64(bit)).astype(np.uint8) for bit in range(0, shift, 8)]
        costs[shift] = estimated_bits(index >> np.uint64(shift)) + sum(entropy(np.bincount(p.ravel())) for p in planes)
    bound = min(costs.values()) / _WORTH
    return min((cost, -shift) for shift, cost in costs.items() if cost <= bound)[0], \
        max(shift for shift, cost in costs.items() if cost <= bound)


def _find_scale(values: np.ndarray) -> float | None:
    """A scale with values == n * scale bit for bit, from all the different values of a float volume, or None."""
    if not np.isfinite(values).all():
        return None
    for scale in _scale_candidates(np.unique(np.abs(values[values != 0])), values.dtype):
        try:
            whole = multiples(values, scale)
        except UnsupportedError:
            continue
        if int(whole.max()) - int(whole.min()) < 1 << SAMPLE_BITS:
            return scale
    return None


def _scale_candidates(sizes: np.ndarray, dtype: np.dtype) -> list[float]:
    """What the common factor of ascending positive sizes may be, rounding of the sizes to `dtype` allowed for."""
    if not len(sizes):
        return [1.0]
    with np.errstate(all="ignore"):
        half = np.spacing(sizes).astype(np.float64) / 2
        sizes = sizes.astype(np.float64)
        steps = np.diff(np.concatenate([[0.0], sizes]))
        step = steps[np.argmax(steps < 1.5 * steps.min())]
        if not sizes[-1] < step * EXACT_MULTIPLE:
            return [1.0]
        reach = 2.0
        while reach / 2 * step <= sizes[-1]:
            # Ever larger multiples make the step more exact, before it is used on still larger ones.
            largest = sizes[max(0, np.searchsorted(sizes, step * reach) - 1)]
            step, reach = largest / max(1.0, np.rint(largest / step)), 2 * reach
        exact = sizes / np.rint(sizes / step)
        low, high = (exact - half / np.rint(sizes / step)).max(), (exact + half / np.rint(sizes / step)).min()
        middle = low / 2 + high / 2
        candidates = [1.0, middle, np.float32(middle), step, low, high, *exact[:4], *exact[-4:]]
    return [float(scale) for scale in candidates if 0 < scale < np.inf]
