"""Regions of interest: which voxels must come back exactly, or within which bound. Leaf module."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .errors import UnsupportedError
from .quality import MAX_ERROR, MAX_REGIONS

_ANY = MAX_ERROR + 1


@dataclass(frozen=True, eq=False)
class RegionOfInterest:
    """Labels, each with the error that its voxels may have; everywhere else the quality of the volume counts.

    Parameters
    ----------
    labels : (k, j, i) bool or integer array
        0 is outside all regions. In a volume with frames or components it counts for all of them.
    max_errors : dict of int to int, optional
        Allowed error of each label in stored units; labels that are not named are exact (0).
    margin : float
        In mm. Regions grow by it, where that makes the bound tighter.
    priorities : dict of int to int, optional
        In a file of the codec "progressive", slabs with labels of a higher priority come first; 0 for labels that are
        not named. They do not change what is coded.

    Raises
    ------
    UnsupportedError
        Not such an array, or a bound, margin or priority that is no such number.
    """

    labels: np.ndarray
    max_errors: dict[int, int] = field(default_factory=dict)
    margin: float = 0.0
    priorities: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        labels = self.labels
        if not isinstance(labels, np.ndarray) or labels.ndim != 3 or labels.dtype.kind not in "biu":
            raise UnsupportedError("A region of interest needs a (k, j, i) array of booleans or whole numbers.")
        for name, value in (("max_errors", self.max_errors), ("priorities", self.priorities)):
            if not isinstance(value, dict):
                raise UnsupportedError(f"Give {name} as a dictionary by label, not as {type(value).__name__}.")
        for label, max_error in self.max_errors.items():
            if type(max_error) is not int or not 0 <= max_error <= MAX_ERROR:
                raise UnsupportedError(f"Label {label} needs a whole number from 0 to {MAX_ERROR} as its bound, not "
                                       f"{max_error!r}.")
        if not isinstance(self.margin, (int, float)) or not 0 <= self.margin < np.inf:
            raise UnsupportedError(f"The margin must be a length of 0 mm or more, not {self.margin!r}.")
        for label, priority in self.priorities.items():
            if type(priority) is not int:
                raise UnsupportedError(f"Label {label} needs a whole number as its priority, not {priority!r}.")

    def regions(self, shape: tuple[int, int, int], spacing: tuple[float, float, float],
                background: int | None) -> tuple[np.ndarray, list[int | None]]:
        """Every voxel's region, and the error allowed in each.

        Where regions overlap by their margins, the tightest bound counts.

        Parameters
        ----------
        shape, spacing : (k, j, i)
            Of the volume; the spacing in mm.
        background : int or None
            The error allowed outside all labels; None for any.

        Returns
        -------
        regions : uint8 array of `shape`
        max_errors : list of int or None
            Of region 0, 1, ..., ascending, None (any error) last; only regions that have voxels.

        Raises
        ------
        UnsupportedError
            The labels have another shape than the volume, or there are more than 16 different bounds.
        """
        labels = self._labels_in(shape)
        bounds = {label: self.max_errors.get(label, 0) for label in labels}
        allowed = np.full(shape, _ANY if background is None else background, np.int64)
        for bound in sorted(set(bounds.values()), reverse=True):     # the tightest last, so that it counts
            allowed[self._where(bounds, bound)] = bound
        if self.margin:
            for bound in sorted(set(bounds.values()), reverse=True):
                near = _grown(self._where(bounds, bound), spacing, self.margin)
                allowed[near] = np.minimum(allowed[near], bound)
        max_errors, regions = np.unique(allowed, return_inverse=True)
        if len(max_errors) > MAX_REGIONS:
            raise UnsupportedError(f"There are {len(max_errors)} different bounds; use at most {MAX_REGIONS}.")
        return regions.reshape(shape).astype(np.uint8), [None if bound == _ANY else int(bound) for bound in max_errors]

    def slices_by_priority(self, shape: tuple[int, int, int],
                           spacing: tuple[float, float, float]) -> list[np.ndarray]:
        """Which slices hold labels of each priority, margins included: (k,) bool arrays, the highest priority first.

        Parameters and errors as those of `regions`.
        """
        labels = self._labels_in(shape)
        priorities = {label: self.priorities.get(label, 0) for label in labels}
        found = []
        for priority in sorted(set(priorities.values()), reverse=True):
            inside = self._where(priorities, priority)
            if self.margin:
                inside = _grown(inside, spacing, self.margin)
            found.append(np.any(inside, axis=(1, 2)))
        return found

    def _where(self, of_label: dict[int, int], value: int) -> np.ndarray:
        """Voxels of the labels that have this value."""
        return np.isin(self.labels, [label for label, own in of_label.items() if own == value])

    def _labels_in(self, shape: tuple[int, int, int]) -> list[int]:
        """Those that there are, where they fit a volume of that shape."""
        if self.labels.shape != tuple(shape):
            raise UnsupportedError(f"The region of interest has the shape {self.labels.shape}, the volume "
                                   f"{tuple(shape)}; resample it to the volume's grid.")
        return [int(label) for label in np.unique(self.labels) if label]


def _grown(inside: np.ndarray, spacing: tuple[float, float, float], margin: float) -> np.ndarray:
    """Where the distance to the nearest voxel of a (k, j, i) mask is at most `margin` mm."""
    import SimpleITK as sitk

    if not inside.any():
        return inside
    image = sitk.GetImageFromArray(inside.astype(np.uint8))
    image.SetSpacing([float(step) for step in reversed(spacing)])
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    # The map counts from the outermost voxels' centres; inside them it is negative or zero.
    return sitk.GetArrayViewFromImage(distance) <= margin * (1 + 1e-6)
