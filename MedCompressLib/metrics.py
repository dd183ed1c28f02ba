"""How far decoded voxels are off. Leaf module."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass
class Errors:
    """Differences between two arrays, summed up slab by slab; of integers they are exact.

    Attributes
    ----------
    voxels, changed : int
        How many were compared, and how many differ.
    maximum : int or float
        Largest absolute difference.
    squares : int or float
        Sum of the squared differences.
    low, high : int, float or None
        Smallest and largest original value.
    """

    voxels: int = 0
    changed: int = 0
    maximum: float = 0
    squares: float = 0
    low: float | None = None
    high: float | None = None

    @classmethod
    def between(cls, original: np.ndarray, decoded: np.ndarray) -> Errors:
        """Of two arrays of the same shape and type; of integers that differ by 2**31 or more, `squares` is rounded."""
        if not original.size:
            return cls()
        if original.dtype.kind == "f":
            difference = decoded.astype(np.float64) - original.astype(np.float64)
            return cls(difference.size, int(np.count_nonzero(difference)), float(np.abs(difference).max()),
                       float((difference * difference).sum()), float(original.min()), float(original.max()))
        unsigned = f"u{original.dtype.itemsize}"     # in which the difference of any two values fits
        larger, smaller = (choose(decoded, original).view(unsigned) for choose in (np.maximum, np.minimum))
        difference = larger - smaller
        maximum = int(difference.max())
        wide = difference.astype(np.int64 if maximum < 1 << 31 else np.float64)
        return cls(difference.size, int(np.count_nonzero(difference)), maximum, (wide * wide).sum().item(),
                   int(original.min()), int(original.max()))

    def add(self, other: Errors) -> None:
        """Take in another part of the same volume."""
        self.voxels += other.voxels
        self.changed += other.changed
        self.maximum = max(self.maximum, other.maximum)
        self.squares += other.squares
        if other.voxels:
            self.low = other.low if self.low is None else min(self.low, other.low)
            self.high = other.high if self.high is None else max(self.high, other.high)

    @classmethod
    def of(cls, parts: list[Errors]) -> Errors:
        """Those of all parts together."""
        whole = cls()
        for part in parts:
            whole.add(part)
        return whole

    @property
    def rmse(self) -> float:
        """Root of the mean squared difference, in the units of the voxels."""
        return math.sqrt(self.squares / max(1, self.voxels))

    @property
    def peak(self) -> float:
        """Largest minus smallest original value."""
        return self.high - self.low if self.voxels else 0

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in dB; see `peak`. Infinite where nothing differs."""
        peak = self.peak
        return 20 * math.log10(peak / self.rmse) if self.rmse and peak else math.inf

    def as_dict(self) -> dict:
        """Plain JSON: `voxels`, `changed_voxels`, `max_error`, `rmse`, `peak` and, if finite, `psnr_db`; fractions with
        ten digits."""
        facts = {"voxels": self.voxels, "changed_voxels": self.changed, "max_error": self.maximum, "rmse": self.rmse,
                 "peak": self.peak} | ({} if math.isinf(self.psnr) else {"psnr_db": self.psnr})
        return {name: value if isinstance(value, int) else float(f"{value:.10g}") for name, value in facts.items()}
