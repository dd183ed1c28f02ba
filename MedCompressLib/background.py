"""A volume whose voxels outside of all regions of interest are one value.

    Volume or LazyVolume -> LazyVolume, slab by slab

What is inside stays as it is, so the new volume is coded without loss like any other.
"""

from __future__ import annotations

import numpy as np

from .errors import UnsupportedError
from .lazy import ArraySlabs, LazyArray, LazyVolume
from .metrics import Errors
from .roi import RegionOfInterest
from .volume import Volume


def with_constant_background(volume: Volume | LazyVolume, roi: RegionOfInterest | None,
                             value: int) -> tuple[LazyVolume, dict]:
    """The volume with `value` outside the regions, and how far that is from the original.

    Parameters
    ----------
    volume : Volume or LazyVolume
        Of whole numbers.
    roi : RegionOfInterest
        All labels exact.
    value : int
        In stored units.

    Returns
    -------
    volume : LazyVolume
    reached : dict
        Plain JSON, as `Errors.as_dict`.

    Raises
    ------
    UnsupportedError
        There are no regions, or they allow errors, or the voxels cannot have that value.
    """
    voxels = volume.as_frames()
    if roi is None:
        raise UnsupportedError("A constant background needs a region of interest that it lies around.")
    if any(roi.max_errors.values()):
        raise UnsupportedError("With a constant background all regions are exact; leave out their bounds.")
    if voxels.dtype.kind not in "iu":
        raise UnsupportedError(f"A region of interest needs integer voxels, and these are {voxels.dtype.name}.")
    limits = np.iinfo(voxels.dtype)
    if not limits.min <= value <= limits.max:
        raise UnsupportedError(f"The background cannot be {value}: voxels of {voxels.dtype.name} go from "
                               f"{limits.min} to {limits.max}.")
    regions, max_errors = roi.regions(voxels.shape[1:], volume.spacing, None)
    if max_errors == [None]:
        raise UnsupportedError("The region of interest is empty, so nothing of the volume would be left.")
    outside = regions == 1  # as what is exact comes first
    source = _AroundRegions(voxels, outside, value)
    errors = Errors.of([Errors.between(np.asarray(voxels[source.grid.ranges(number)]), source.load(number))
                        for number in range(len(source.grid))])
    return (LazyVolume(source, volume.components, volume.ijk_to_ras, volume.axes, volume.sequence, volume.metadata),
            errors.as_dict())


class _AroundRegions(ArraySlabs):
    def __init__(self, voxels: np.ndarray | LazyArray, outside: np.ndarray, value: int) -> None:
        super().__init__(voxels)
        self._outside, self._value = outside, value

    def load(self, number: int) -> np.ndarray:
        slab = np.array(super().load(number))
        slab[:, self._outside[self.grid.ranges(number)[1]]] = self._value
        return slab
