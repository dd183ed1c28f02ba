"""Segments as arrays: which voxels are in which segment, and which error each allows. Also runs outside Slicer."""

from dataclasses import dataclass

import numpy as np

import MedCompressLib as mc


@dataclass(frozen=True, eq=False)
class Regions:
    """Segments, which may overlap, on the grid of a volume.

    bits - Unsigned array (k, j, i); bit n is set in the n-th segment.
    names - Name of each segment.
    maxErrors - Error that each allows, in stored units; 0 is lossless.
    margin - In mm, by which segments grow where that is tighter than what is allowed outside.
    """

    bits: np.ndarray
    names: tuple[str, ...]
    maxErrors: tuple[int, ...]
    margin: float = 0.0

    @staticmethod
    def emptyBits(shape, count):
        """Array of the smallest type that has a bit for each segment."""
        return np.zeros(shape, next(dtype for dtype in (np.uint8, np.uint16, np.uint32, np.uint64)
                                    if count <= 8 * np.dtype(dtype).itemsize))

    def mask(self, index):
        """Voxels of one segment."""
        return self.bits & self.bits.dtype.type(1 << index) != 0

    def outside(self):
        """Voxels of no segment."""
        return self.bits == 0

    def regionOfInterest(self) -> mc.RegionOfInterest:
        """What the library takes; where segments overlap, the tighter bound counts."""
        bounds = sorted(set(self.maxErrors), reverse=True)
        labels = np.zeros(self.bits.shape, np.uint8)
        for label, bound in enumerate(bounds, 1):
            for index, maxError in enumerate(self.maxErrors):
                if maxError == bound:
                    labels[self.mask(index)] = label
        return mc.RegionOfInterest(labels, dict(enumerate(bounds, 1)), self.margin)
