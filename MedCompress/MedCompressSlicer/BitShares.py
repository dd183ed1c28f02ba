"""How the bits of a file are spread over the regions of a volume. Also runs outside Slicer.

A file says only how long a slab is. So each voxel gets the ideal code length that a simple model would need for it (the
median edge predictor of JPEG-LS on the decoded slices, in steps of what the voxel may be off, its classes counted in
contexts of the local gradient), and the file's bits are shared out in proportion. This is an estimate, whatever the
codec; only the sum is exact.
"""

import numpy as np

_CONTEXTS = 16
_CLASSES = 32  # magnitudes by their number of bits


def bitShares(frames, allowed, masks):
    """The share of each region in the bits of a file.

    :param frames: decoded integer voxels (frames, k, j, i).
    :param allowed: array (k, j, i) of the error allowed in each voxel, or one number.
    :param masks: list of bool arrays (k, j, i).
    :return: list of fractions.
    """
    counts = np.zeros((_CONTEXTS, 2 * _CLASSES))
    for _k, context, kind, _extra in _slices(frames, allowed):
        np.add.at(counts, (context, kind), 1)
    with np.errstate(divide="ignore"):
        bits = np.log2(np.maximum(counts.sum(axis=1, keepdims=True), 1)) - np.log2(counts)
    whole, parts = 0.0, np.zeros(len(masks))
    for k, context, kind, extra in _slices(frames, allowed):
        cost = bits[context, kind] + extra
        whole += cost.sum()
        parts += [cost[mask[k]].sum() for mask in masks]
    return list(parts / whole) if whole else [float(mask.mean()) for mask in masks]


def _slices(frames, allowed):
    """For each slice: its number k, and of each voxel the context, the class of its residual and the bits within it."""
    for frame in frames:
        for k, voxels in enumerate(frame):
            step = 2 * (allowed if np.isscalar(allowed) else allowed[k].astype(np.int64)) + 1
            padded = np.pad(voxels.astype(np.int64), ((1, 0), (1, 0)), mode="edge")
            west, north, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
            low, high = np.minimum(west, north), np.maximum(west, north)
            residual = voxels - np.clip(west + north - corner, low, high)
            residual = (np.abs(residual) + step // 2) // step * np.sign(residual)
            gradient = (np.abs(west - corner) + np.abs(north - corner)) // step
            context = np.minimum(np.frexp(gradient.astype(np.float64))[1], _CONTEXTS - 1)
            length = np.minimum(np.frexp(np.abs(residual).astype(np.float64))[1], _CLASSES - 1)
            yield k, context, length + _CLASSES * (residual < 0), np.maximum(length - 1, 0)
