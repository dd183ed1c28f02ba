"""Ascending intervals of patterns: collected in bounded memory, ranked, and written as a compact table."""

from __future__ import annotations

import base64
import zlib

import numpy as np

from ..errors import FormatError

INTERVAL_LIMIT = 2**18
"""At most so many intervals are collected, or accepted from a file."""

TABLE_LIMIT = 2**18
"""Longest text of a table."""

_SMALL_SPAN = 2**22  # up to here marking what is used beats sorting


class UsedPatterns:
    """Patterns seen so far, as intervals; exact until there are more than `INTERVAL_LIMIT` of them.

    Attributes
    ----------
    starts, stops : (n,) uint64 arrays
        First and last pattern of each interval; every pattern seen lies in one, and each end has been seen.
    exact : bool
        Each interval is one pattern.
    """

    def __init__(self) -> None:
        self.starts = self.stops = np.zeros(0, np.uint64)
        self.exact = True

    def add(self, patterns: np.ndarray) -> None:
        """Take in the patterns of a slab, an unsigned array of any shape."""
        if patterns.size:
            used = distinct(patterns)
            self._merge(used, used)

    def _merge(self, starts: np.ndarray, stops: np.ndarray) -> None:
        starts = np.concatenate([self.starts, starts])
        order = np.argsort(starts, kind="stable")
        starts = starts[order]
        reach = np.maximum.accumulate(np.concatenate([self.stops, stops])[order])
        first = np.concatenate([[True], starts[1:] > reach[:-1]])
        self.starts = starts[first]
        self.stops = reach[np.concatenate([first[1:], [True]])]
        if len(self.starts) > INTERVAL_LIMIT:
            self.exact = False
            gaps = self.starts[1:] - self.stops[:-1]
            smallest = np.partition(gaps, -(INTERVAL_LIMIT // 2))[-(INTERVAL_LIMIT // 2)]
            self.starts, self.stops = close_gaps(self.starts, self.stops, int(smallest))


def distinct(patterns: np.ndarray) -> np.ndarray:
    """The different values of an unsigned array that is not empty, ascending, as uint64."""
    flat = patterns.ravel()
    first, last = int(flat.min()), int(flat.max())
    if last - first < _SMALL_SPAN:
        used = np.zeros(last - first + 1, bool)
        used[flat - flat.dtype.type(first)] = True
        return np.flatnonzero(used).astype(np.uint64) + np.uint64(first)
    ascending = np.sort(flat)
    return ascending[np.concatenate([[True], ascending[1:] != ascending[:-1]])].astype(np.uint64)


def close_gaps(starts: np.ndarray, stops: np.ndarray, smallest: int) -> tuple[np.ndarray, np.ndarray]:
    """The intervals with every step from a stop to the next start that is at most `smallest` filled in."""
    apart = starts[1:] - stops[:-1] > np.uint64(smallest)
    return starts[np.concatenate([[True], apart])], stops[np.concatenate([apart, [True]])]


def count(starts: np.ndarray, stops: np.ndarray) -> int:
    """How many patterns lie inside the intervals."""
    return int((stops - starts).sum(dtype=np.uint64)) + len(starts)


def bases(starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Rank of the first pattern of each interval among all patterns inside the intervals."""
    lengths = stops - starts + np.uint64(1)
    return np.concatenate([np.zeros(1, np.uint64), np.cumsum(lengths[:-1], dtype=np.uint64)])


def rank(patterns: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """uint64 rank of each pattern among all patterns inside the intervals, which must contain it."""
    patterns = patterns.astype(np.uint64, copy=False)
    if len(starts) == 1:
        return patterns - starts[0]
    return patterns + (bases(starts, stops) - starts)[np.searchsorted(starts, patterns, side="right") - 1]


def pack_intervals(starts: np.ndarray, stops: np.ndarray, effort: int = 9) -> str:
    """The table as text: base64 of zlib of the gaps and the lengths less one, byte plane by byte plane."""
    before = np.concatenate([np.zeros(1, np.uint64), stops[:-1] + np.uint64(1)])
    numbers = np.concatenate([starts - before, stops - starts]).astype("<u8")
    planes = numbers.view(np.uint8).reshape(-1, 8).T.tobytes()
    return base64.b64encode(zlib.compress(planes, effort)).decode("ascii")


def unpack_intervals(text: object) -> tuple[np.ndarray, np.ndarray]:
    """Undo `pack_intervals`; FormatError when the text is no table of ascending intervals."""
    damaged = FormatError("The table of used values in this file is damaged.")
    if not isinstance(text, str) or len(text) > TABLE_LIMIT:
        raise damaged
    try:
        planes = inflate(base64.b64decode(text, validate=True), 16 * INTERVAL_LIMIT)
    except ValueError:  # no Base64, or not even ASCII
        raise damaged from None
    if not planes or len(planes) % 16:
        raise damaged
    numbers = np.frombuffer(planes, np.uint8).reshape(8, -1).T.copy().view("<u8").ravel().astype(np.uint64)
    gaps, lengths = numbers.reshape(2, -1)
    if sum(numbers.tolist()) + len(gaps) > 2**64:
        raise damaged
    stops = np.cumsum(gaps + lengths + np.uint64(1), dtype=np.uint64) - np.uint64(1)
    return stops - lengths, stops


def inflate(data: bytes, limit: int) -> bytes:
    """Decompress one whole zlib stream of at most `limit` bytes; FormatError otherwise."""
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data, limit + 1)
    except zlib.error:
        raise FormatError("A compressed part of this file is damaged.") from None
    if len(raw) > limit or not stream.eof or stream.unused_data:
        raise FormatError("A compressed part of this file is damaged.")
    return raw
