"""How a lossy volume differs from its original, in figures that matter for its use. Also runs outside Slicer.

Beside the errors of the voxels there is a task: the same threshold (that of Otsu, chosen on the original) segments both
volumes, and the two segmentations are compared by Dice coefficient and 95 % Hausdorff distance.
"""

from dataclasses import dataclass

import numpy as np

import MedCompressLib as mc
from MedCompressLib.metrics import Errors

from .BitShares import bitShares


@dataclass(frozen=True)
class RegionAccuracy:
    """Figures of one region.

    name - Of the segment; empty for the whole volume.
    voxels, changedVoxels - How many there are, and how many differ.
    bits - Of the file that were spent on it; estimated, see BitShares, but for the whole volume.
    allowedError, maxError - Bound asked for (None if there is none), and largest difference found, in stored units.
    rmse, meanChange - Root of the mean squared difference; mean of the decoded voxels minus mean of the original ones.
    psnr - In dB, of the region's own range of values; None where nothing differs.
    dice, hausdorff95 - Agreement of the threshold segmentations, the second in mm; None where there is nothing to
    segment, or the volume has frames or components.
    """

    name: str
    voxels: int
    changedVoxels: int
    bits: int
    allowedError: int | None
    maxError: float
    rmse: float
    meanChange: float
    psnr: float | None
    dice: float | None
    hausdorff95: float | None


def accuracies(original: mc.Volume, decoded: mc.Volume, maxError, regions, bits) -> list[RegionAccuracy]:
    """Figures of the whole volume, of each segment, and, if there are segments, of all that is in none.

    :param maxError: error allowed outside the segments, in stored units; None if there is no bound.
    :param regions: Regions, or None.
    :param bits: of the whole file.
    """
    if regions is None:
        return [_accuracy("", original, decoded, None, maxError, bits)]
    masks = [*(regions.mask(index) for index in range(len(regions.names))), regions.outside()]
    names, allowed = (*regions.names, "outside"), (*regions.maxErrors, maxError)
    labels, bounds = regions.regionOfInterest().regions(regions.bits.shape, original.spacing, maxError)
    shares = bitShares(decoded.as_frames(), np.array([bound or 0 for bound in bounds])[labels], masks)
    largest = None if maxError is None else max(allowed)
    return [_accuracy("", original, decoded, None, largest, bits),
            *(_accuracy(name, original, decoded, mask, bound, round(share * bits))
              for name, mask, bound, share in zip(names, masks, allowed, shares, strict=True))]


def _accuracy(name, original, decoded, mask, allowed, bits):
    errors, change = Errors(), 0
    for before, after in zip(original.as_frames(), decoded.as_frames(), strict=True):
        if mask is not None:
            before, after = before[mask], after[mask]
        errors.add(Errors.between(before, after))
        exact = np.float64 if before.dtype.kind == "f" else np.int64
        change += after.sum(dtype=exact) - before.sum(dtype=exact)
    dice, hausdorff95 = (_agreement(original.voxels, decoded.voxels, mask, original.spacing)
                         if original.axes == "kji" else (None, None))
    return RegionAccuracy(name, errors.voxels, errors.changed, bits, allowed, errors.maximum, errors.rmse,
                          float(change / max(1, errors.voxels)), errors.psnr if np.isfinite(errors.psnr) else None,
                          dice, hausdorff95)


def _agreement(original, decoded, mask, spacing):
    """Dice coefficient and 95 % Hausdorff distance of threshold segmentations within a mask."""
    values = original.reshape(-1) if mask is None else original[mask]
    if not values.size or values.min() == values.max():
        return None, None
    threshold = _otsuThreshold(values)
    first, second = original > threshold, decoded > threshold
    if mask is not None:
        first &= mask
        second &= mask
    count = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    if not count:
        return None, None
    common = int(np.count_nonzero(first & second))
    if 2 * common == count:
        return 1.0, 0.0
    box = _boundingBox(first | second)
    return 2 * common / count, _hausdorff95(first[box], second[box], spacing)


def _otsuThreshold(values):
    import SimpleITK as sitk

    otsu = sitk.OtsuThresholdImageFilter()
    otsu.Execute(sitk.GetImageFromArray(np.ascontiguousarray(values, dtype=np.float32).reshape(1, -1)))
    return otsu.GetThreshold()


def _boundingBox(mask):
    box = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(used[0], used[-1] + 1))
    return tuple(box)


def _hausdorff95(first, second, spacing):
    """The larger of the 95th percentiles of the distances from one surface to the other; None if one is empty."""
    import SimpleITK as sitk

    if not first.any() or not second.any():
        return None
    surfaces = []
    for mask in (first, second):
        image = sitk.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))
        image.SetSpacing([float(step) for step in reversed(spacing)])
        surface = sitk.BinaryContour(image, fullyConnected=False)
        distance = sitk.SignedMaurerDistanceMap(surface, squaredDistance=False, useImageSpacing=True)
        surfaces.append((sitk.GetArrayFromImage(surface) != 0, np.abs(sitk.GetArrayFromImage(distance))))
    (one, toOne), (other, toOther) = surfaces
    return float(max(np.percentile(toOther[one], 95), np.percentile(toOne[other], 95)))
