"""Count tables: how often each symbol of a group occurs, in few bits.

A table covers the values `low .. low + size - 1` and one escape for all others. Counts are rounded to a small float
of three mantissa bits (`COUNT_OF_CODE`), because a count that is 6 % off costs less than 0.003 bits a symbol while an
exact one costs several bits more in the table.

Guarantees
----------
* Counts are integers on both sides; a model built from them is the same on every machine.
* A symbol that occurs is never given the count 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

MAX_CODE = 208
"""Largest count code: COUNT_OF_CODE[207] = 15 << 24, so that a sum of 2**25 counts still fits 53 bits."""

MAX_TABLE_SIZE = 1 << 17
"""No table covers more values than this; what lies outside is escaped."""

TOTAL_BITS = 24
"""Probabilities are multiples of 2**-24."""

_ENTRY_BITS = 2.0     # about what one more entry costs in the coded table
_HEAD_BITS = 24.0     # shift, low and size
_FAR = MAX_TABLE_SIZE // 2
_SAMPLE = 1 << 15      # so many values tell the spread of a group well enough
_ESCAPE_BITS = 6.0    # about what an escaped symbol costs more than one that is in the table


def _count_of_code() -> np.ndarray:
    code = np.arange(MAX_CODE)
    return np.where(code < 8, code, (8 + (code & 7)) << np.maximum((code >> 3) - 1, 0)).astype(np.int64)


COUNT_OF_CODE = _count_of_code()


def code_of_count(counts: np.ndarray) -> np.ndarray:
    """The code whose count is nearest to each of `counts` (non-negative integers); only 0 becomes 0."""
    counts = np.asarray(counts, np.int64)
    above = np.searchsorted(COUNT_OF_CODE, counts).clip(1, MAX_CODE - 1)
    below = above - 1
    nearer_below = counts - COUNT_OF_CODE[below] < COUNT_OF_CODE[above] - counts
    return np.where(nearer_below & (counts > 0), below, np.where(counts == 0, 0, above))


class Table:
    """Counts of the values `low ... low + size - 1`, then the escape's.

    Attributes
    ----------
    low : int
    counts : (size + 1,) int64 array
    """

    low: int
    counts: np.ndarray

    @property
    def size(self) -> int:
        """Number of values covered, the escape not counted."""
        return len(self.counts) - 1

    @property
    def is_constant(self) -> bool:
        """One value, never escaped: its symbols need no bits at all."""
        return self.size == 1 and self.counts[1] == 0

    @property
    def is_empty(self) -> bool:
        """No count at all."""
        return not self.counts.any()

    @property
    def escapes(self) -> bool:
        """Whether the escape has a count."""
        return self.counts[-1] != 0

    def indices(self, values: np.ndarray) -> np.ndarray:
        """The index of each of some int32 values, as int32; `size` for those that escape."""
        if not self.escapes:
            return values - np.int32(self.low)
        index = np.subtract(values, self.low, dtype=np.int64)
        index[(index < 0) | (index >= self.size)] = self.size
        return index.astype(np.int32)

    def bits(self, values: np.ndarray) -> float:
        """About how many bits these values take."""
        used = np.bincount(self.indices(values), minlength=len(self.counts))
        some = used > 0
        return (float((used[some] * np.log2(self.counts.sum() / np.maximum(self.counts[some], 1))).sum())
                + _ESCAPE_BITS * int(used[-1]))

    def model(self):
        """The `constriction` model of this table; `perfect=False` so that only exact integers and IEEE + * / count."""
        import constriction

        return constriction.stream.model.Categorical(self.counts.astype(np.float64), perfect=False)

    def lefts(self) -> np.ndarray:
        """The first quantile of each index, then 2**TOTAL_BITS, as that model has them; uint64."""
        return lefts_of(self.counts)


def lefts_of(counts: np.ndarray) -> np.ndarray:
    """`Table.lefts` of a table of such counts."""
    ends = np.cumsum(counts)
    scale = ((1 << TOTAL_BITS) - len(counts)) / ends[-1]
    lefts = np.empty(len(counts) + 1, np.uint64)
    lefts[0], lefts[-1] = 0, 1 << TOTAL_BITS
    lefts[1:-1] = np.floor(ends[:-1] * scale) + np.arange(1, len(counts))
    return lefts


@dataclass(frozen=True)
class CountTable(Table):
    """A table that travels, its counts as codes of `COUNT_OF_CODE`."""

    low: int
    codes: np.ndarray

    @cached_property
    def counts(self) -> np.ndarray:
        return COUNT_OF_CODE[self.codes]

    @property
    def cost(self) -> float:
        """About how many bits the table itself takes."""
        return _ENTRY_BITS * len(self.codes) + _HEAD_BITS


@dataclass(frozen=True)
class GivenTable(Table):
    """A table that both sides know without sending it.

    `shift` low bits of every symbol are stored outside it, as with `fit_table`.
    """

    low: int
    counts: np.ndarray
    shift: int


def fit_table(values: np.ndarray) -> tuple[CountTable, int]:
    """The table that makes `values` (int32, not empty) and the table itself cheapest, and how many low bits of them are
    better stored as they are, outside it."""
    stride = -(-len(values) // _SAMPLE)
    found, counts = _histogram(values[::stride])
    shift = _fit_shift(found, counts)
    if stride > 1 or found[-1] - found[0] >> shift >= _FAR:
        found, counts = _reachable_histogram(values >> shift if shift else values)
    elif shift:
        found, counts = _shifted(found, counts, shift)
    begin, end = _dearest_interval(found, counts)
    kept = np.zeros(int(found[end - 1] - found[begin]) + 2, np.int64)
    kept[found[begin:end] - found[begin]] = counts[begin:end]
    kept[-1] = len(values) - kept.sum()
    return CountTable(int(found[begin]), code_of_count(kept)), shift


def _reachable_histogram(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """That of the values that one table can cover, around their median; of a value that does not occur if there are
    none."""
    first, last = int(values.min()), int(values.max())
    if last - first >= _FAR:
        first = max(first, int(np.median(values[:1000])) - _FAR)
        values = values[(values >= first) & (values < first + MAX_TABLE_SIZE)]
    return _histogram(values) if len(values) else (np.array([first]), np.zeros(1, np.int64))


def _histogram(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values that occur, ascending, and how often each does; both int64."""
    low, high = int(values.min()), int(values.max())
    if high - low > 4 * _SAMPLE:
        found, counts = np.unique(values, return_counts=True)
        return found.astype(np.int64), counts
    counts = np.bincount(np.subtract(values, low, dtype=np.intp))
    found = np.flatnonzero(counts)
    return found + low, counts[found]


def _fit_shift(found: np.ndarray, counts: np.ndarray) -> int:
    """How many low bits of the values with this histogram are better stored as they are, outside any table.

    Where a distribution is much wider than 2**shift its low bits are as good as random, and a table over the upper
    bits alone is 2**shift times shorter. The candidate comes from the spread, assuming a Laplace distribution (a bin
    of width w times the scale loses about 0.06 w**2 bits); the decision from the two empirical code lengths, so that a
    comb-like histogram keeps its bits.
    """
    if found[-1] - found[0] < 8:
        return 0
    below = np.cumsum(counts)
    total = int(below[-1])
    median = found[np.searchsorted(below, total // 2, side="right")]
    spread = int(counts @ np.abs(found - median)) / total
    if spread < 8:
        return 0
    shifts = np.arange(int(np.log2(spread)))
    bins = spread / 2.0**shifts
    best = int(np.argmin(0.06 * total / bins**2 + 8 * _ENTRY_BITS * bins))
    if best and best * total + _code_length(_shifted(found, counts, best)[1]) < _code_length(counts):
        return best
    return 0


def _shifted(found: np.ndarray, counts: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """The histogram of the values without so many of their low bits."""
    upper = found >> shift
    begins = np.flatnonzero(np.diff(upper, prepend=upper[0] - 1))
    return upper[begins], np.add.reduceat(counts, begins)


def _code_length(counts: np.ndarray) -> float:
    return float((counts * np.log2(counts.sum() / counts)).sum()) + _ENTRY_BITS * len(counts)


def _dearest_interval(found: np.ndarray, counts: np.ndarray) -> tuple[int, int]:
    """Which stretch of a histogram a table covers best: the one that maximises (bits saved by not escaping) - (bits of
    its entries), a largest-sum subarray."""
    saved = np.cumsum(_ESCAPE_BITS * counts)
    before = saved - _ESCAPE_BITS * counts - _ENTRY_BITS * (found - found[0])
    gain = saved - _ENTRY_BITS * (found - found[0] + 1) - np.minimum.accumulate(before)
    last = int(np.argmax(gain))
    return int(np.argmin(before[:last + 1])), last + 1
