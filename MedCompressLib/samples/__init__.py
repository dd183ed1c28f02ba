"""`SampleMap`: voxels of any type to the small non-negative integers that codecs take, and back, exactly.

The map has three steps, each undone exactly by `inverse`:

1. **Pattern** (`patterns`). The bits of a voxel as an unsigned integer, without the low bits that are zero in the
   whole volume; signed integers and floats are rearranged so that patterns sort as the values do. Floats that are
   whole multiples of one number, v = n * scale bit for bit, use the integer n instead.
2. **Rank** (`intervals`). The patterns in use lie in a few or many intervals; the gaps between them are closed up.
   One interval is a plain offset, one far from the rest is padding, thousands of short ones are histogram packing
   (Starosolski 2008).
3. **Split** (`residue`). Where ranks need more than 24 bits, their low bits leave as byte planes.

Guarantees: `inverse(*forward(slab))` equals `slab` bit for bit (NaN payloads and -0.0 too) for every slab the map was
fitted to, and `forward` raises for any other; `inverse` raises `FormatError` for what `forward` cannot have made, and
takes no memory beyond a small multiple of the slab.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import FormatError, UnsupportedError
from ..quality import SampleBound
from .choice import DTYPES, SAMPLE_BITS, choose, choose_bounded, choose_linear
from .intervals import bases, count, pack_intervals, rank, unpack_intervals
from .patterns import NOT_FITTED, from_patterns, pattern_dtype, to_patterns
from .residue import decode_residue, encode_residue

__all__ = ["DTYPES", "SAMPLE_BITS", "SampleMap"]

_TABLE_SPAN = 2**22  # up to here a look-up table beats a binary search


@dataclass(frozen=True, eq=False)
class SampleMap:
    """Exact map between voxels of one volume and samples in [0, `maximum`], `maximum` < 2**24.

    Immutable; `forward` and `inverse` may run in many threads.

    Attributes
    ----------
    dtype : numpy.dtype
        Type of the voxels.
    zeros : int
        Low bits that are zero in every voxel and are left out of the pattern.
    scale : float or None
        For floats: every voxel is n * scale in float64, rounded to `dtype`, and n takes the place of the pattern.
    starts, stops : (n,) uint64 arrays
        First and last pattern of each interval, ascending.
    shift : int
        How many low bits of the rank leave as residue.
    """

    dtype: np.dtype
    zeros: int
    scale: float | None
    starts: np.ndarray
    stops: np.ndarray
    shift: int

    @classmethod
    def fit(cls, slabs: Sequence[np.ndarray]) -> SampleMap:
        """Choose the map for a volume: one pass over its slabs, then trials on a few slices of one of them.

        Parameters
        ----------
        slabs : sequence of (frames, k, j, i) arrays
            The whole volume, of one type; may be lazy.

        Raises
        ------
        UnsupportedError
            No voxels, or a type that is not among `DTYPES`.
        """
        return cls(**choose(slabs))

    @classmethod
    def fit_bounded(cls, slabs: Sequence[np.ndarray], max_error: int) -> tuple[SampleMap, SampleBound]:
        """A map for near-lossless coding, and the bound in its samples; one pass over the slabs.

        Differences of samples inside the bound's interval are differences of voxels. A lone value at an end of the
        range and well away from the rest is padding: it lies outside the interval, so it stays exact.

        Raises
        ------
        UnsupportedError
            The voxels are no integers, or of a range of more than 24 bits; or as in `fit`.
        """
        fields, bound = choose_bounded(slabs, max_error)
        return cls(**fields), bound

    @classmethod
    def fit_linear(cls, slabs: Sequence[np.ndarray]) -> SampleMap:
        """A map for codecs with loss: differences of samples are differences of voxels, in `unit`; see `nearest`.

        Raises
        ------
        UnsupportedError
            Voxels that are no finite numbers, or too large or too small for their errors to be squared; integers of a
            range of more than 24 bits; or as in `fit`.
        """
        return cls(**choose_linear(slabs))

    @property
    def unit(self) -> float:
        """Of a map that is linear: how far apart two voxels are whose samples differ by 1."""
        return float(1 << self.zeros) if self.scale is None else self.scale

    def nearest(self, slab: np.ndarray) -> np.ndarray:
        """The samples whose voxels are nearest to those of a slab, by a map of `fit_linear`."""
        if self.scale is None:
            return self.forward(slab)[0]
        whole = np.rint(slab.astype(np.float64) / self.scale)
        first = int(self.starts[0]) - 2**63
        return (whole - (first - (first > 0))).clip(0, self.maximum).astype(np.int32)

    @property
    def maximum(self) -> int:
        """No sample is above it."""
        return (self._count - 1) >> self.shift

    def get_config(self) -> dict:
        """Plain JSON from which `from_config` restores an equal map."""
        config = {"dtype": self.dtype.name, "intervals": pack_intervals(self.starts, self.stops)}
        if self.zeros:
            config["zeros"] = self.zeros
        if self.scale is not None:
            config["scale"] = self.scale
        if self.shift:
            config["shift"] = self.shift
        return config

    @classmethod
    def from_config(cls, config: dict) -> SampleMap:
        """Raise FormatError when the configuration is not one that `get_config` could have written."""
        if not isinstance(config, dict) or config.get("dtype") not in DTYPES:
            raise FormatError("The sample map of this file names no voxel type that this version knows.")
        if unknown := set(config) - {"dtype", "intervals", "zeros", "scale", "shift"}:
            raise FormatError(f"The sample map of this file has an unknown field, {min(unknown)[:40]!r}.")
        dtype, scale = np.dtype(config["dtype"]), config.get("scale")
        zeros, shift = config.get("zeros", 0), config.get("shift", 0)
        if "scale" in config and (dtype.kind != "f" or type(scale) not in (float, int)
                                  or not 0 < scale <= sys.float_info.max):
            raise FormatError("The sample map of this file has a scale that is not a positive number.")
        bits = 64 if scale is not None else 8 * dtype.itemsize
        if type(zeros) is not int or not 0 <= zeros < bits or {"scale", "zeros"} <= set(config):
            raise FormatError("The sample map of this file leaves out an impossible number of bits.")
        starts, stops = unpack_intervals(config.get("intervals"))
        if int(stops[-1]) >> (bits - zeros):
            raise FormatError("The sample map of this file has patterns that are too wide for its voxel type.")
        if type(shift) is not int or not 0 <= shift < 64 or (count(starts, stops) - 1) >> shift >> SAMPLE_BITS:
            raise FormatError("The sample map of this file leads to samples of more than 24 bits.")
        return cls(dtype, zeros, None if scale is None else float(scale), starts, stops, shift)

    def forward(self, slab: np.ndarray) -> tuple[np.ndarray, bytes]:
        """Samples of a slab, and the residue that `inverse` needs beside them.

        Parameters
        ----------
        slab : array of any shape, of the type of the map

        Returns
        -------
        samples : int32 array of the same shape
        residue : bytes
            Empty unless `shift` is above 0.

        Raises
        ------
        UnsupportedError
            A type or a voxel that the map was not fitted to.
        """
        slab = np.ascontiguousarray(slab)
        if slab.dtype.newbyteorder("=") != self.dtype:
            raise UnsupportedError(f"This sample map is for {self.dtype.name}, not for {slab.dtype.name}.")
        ranks = self._rank(to_patterns(slab.astype(self.dtype, copy=False), self.zeros, self.scale))
        if not self.shift:
            return ranks.astype(np.int32, copy=False), b""
        ranks = ranks.astype(np.uint64, copy=False)
        low = ranks & np.uint64((1 << self.shift) - 1)
        return (ranks >> np.uint64(self.shift)).astype(np.int32), encode_residue(low, self.shift)

    def inverse(self, samples: np.ndarray, residue: bytes = b"") -> np.ndarray:
        """The slab again, in the shape of the samples.

        Raises
        ------
        FormatError
            Samples or residue that `forward` could not have made.
        """
        samples = np.asarray(samples)
        if samples.size and not (samples.min() >= 0 and samples.max() <= self.maximum):
            raise FormatError("A slab decodes to samples outside the range of this volume; the file is damaged.")
        ranks = samples
        if self.shift:
            ranks = samples.astype(np.uint64) << np.uint64(self.shift)
            ranks |= decode_residue(residue, samples.shape, self.shift)
            if ranks.size and int(ranks.max()) >= self._count:
                raise FormatError("A slab decodes to values outside the range of this volume; the file is damaged.")
        elif residue:
            raise FormatError("A slab has residue bytes where there can be none; the file is damaged.")
        return from_patterns(self._unrank(ranks), self.zeros, self.scale, self.dtype)

    def inverse_near(self, samples: np.ndarray) -> np.ndarray:
        """Voxels for samples that are only about right: those out of range are brought to its ends, and of the bits in
        the residue the middle is taken."""
        ranks = np.clip(samples, 0, self.maximum)
        if self.shift:
            ranks = ranks.astype(np.uint64) << np.uint64(self.shift)
            ranks = np.minimum(ranks + np.uint64(1 << self.shift - 1), np.uint64(self._count - 1))
        return from_patterns(self._unrank(ranks), self.zeros, self.scale, self.dtype)

    def _rank(self, patterns: np.ndarray) -> np.ndarray:
        """Rank of each pattern among those inside the intervals; UnsupportedError when one is outside."""
        first, last = int(self.starts[0]), int(self.stops[-1])
        if patterns.size and (int(patterns.min()) < first or int(patterns.max()) > last):
            raise UnsupportedError(NOT_FITTED)
        if len(self.starts) == 1:
            return patterns - patterns.dtype.type(first)
        if last - first < _TABLE_SPAN:
            ranks = self._rank_table[patterns - patterns.dtype.type(first)]
            if ranks.size and ranks.min() < 0:
                raise UnsupportedError(NOT_FITTED)
            return ranks
        patterns = patterns.astype(np.uint64, copy=False)
        if np.any(patterns > self.stops[np.searchsorted(self.starts, patterns, side="right") - 1]):
            raise UnsupportedError(NOT_FITTED)
        return rank(patterns, self.starts, self.stops)

    def _unrank(self, ranks: np.ndarray) -> np.ndarray:
        """Undo `_rank`; every rank is known to be below the count."""
        kind = pattern_dtype(self.dtype, self.scale)
        if len(self.starts) == 1:
            return ranks.astype(kind) + kind.type(int(self.starts[0]))
        if self._count <= _TABLE_SPAN:
            return np.take(self._pattern_table.astype(kind), ranks.astype(np.intp))
        ranks = ranks.astype(np.uint64, copy=False)
        first = bases(self.starts, self.stops)
        return (ranks + (self.starts - first)[np.searchsorted(first, ranks, side="right") - 1]).astype(kind)

    @cached_property
    def _count(self) -> int:
        """How many patterns the intervals hold."""
        return count(self.starts, self.stops)

    @cached_property
    def _pattern_table(self) -> np.ndarray:
        """Pattern of every rank."""
        lengths = (self.stops - self.starts).astype(np.int64) + 1
        offsets = self.starts - bases(self.starts, self.stops)
        return np.arange(self._count, dtype=np.uint64) + np.repeat(offsets, lengths)

    @cached_property
    def _rank_table(self) -> np.ndarray:
        """Rank of every pattern from the first start to the last stop; -1 in the gaps."""
        table = np.full(int(self.stops[-1] - self.starts[0]) + 1, -1, np.int32)
        table[(self._pattern_table - self.starts[0]).astype(np.int64)] = np.arange(self._count, dtype=np.int32)
        return table
