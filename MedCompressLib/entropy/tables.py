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
        return lefts_of([self.counts])


def lefts_of(tables: list[np.ndarray]) -> np.ndarray:
    """`Table.lefts` of tables of such counts, one after the other."""
    sizes = np.array([len(counts) for counts in tables])
    ends = np.cumsum(sizes)
    counts, first = np.concatenate(tables), np.repeat(ends - sizes, sizes)
    below = np.cumsum(counts) - counts
    scale = ((1 << TOTAL_BITS) - sizes) / np.add.reduceat(counts, ends - sizes)
    lefts = np.floor((below - below[first]) * np.repeat(scale, sizes)) + (np.arange(len(counts)) - first)
    return np.insert(lefts.astype(np.uint64), ends, 1 << TOTAL_BITS)


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

    `shift` low bits of every symbol are stored outside it, as with `fit_shift`.
    """

    low: int
    counts: np.ndarray
    shift: int


def fit_shift(values: np.ndarray) -> int:
    """How many low bits of `values` (int32, not empty) are better stored as they are, outside any table.

    Where a distribution is much wider than 2**shift its low bits are as good as random, and a table over the upper
    bits alone is 2**shift times shorter. The candidate comes from the spread, assuming a Laplace distribution (a bin
    of width w times the scale loses about 0.06 w**2 bits); the decision from the two empirical code lengths, so that a
    comb-like histogram keeps its bits.
    """
    found, counts = _histogram(values[::-(-len(values) // _SAMPLE)])
    total = int(counts.sum())
    median = found[np.searchsorted(np.cumsum(counts), total // 2, side="right")]
    spread = int((counts * np.abs(found - median)).sum()) / total
    if spread < 8:
        return 0
    shifts = np.arange(int(np.log2(spread)))
    bins = spread / 2.0**shifts
    best = int(np.argmin(0.06 * total / bins**2 + 8 * _ENTRY_BITS * bins))
    if best:
        upper = found >> best
        shifted = np.add.reduceat(counts, np.flatnonzero(np.diff(upper, prepend=upper[0] - 1)))
        if best * total + _code_length(shifted) < _code_length(counts):
            return best
    return 0


def _histogram(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values that occur, ascending, and how often each does; both int64."""
    low, high = int(values.min()), int(values.max())
    if high - low > 4 * _SAMPLE:
        found, counts = np.unique(values, return_counts=True)
        return found.astype(np.int64), counts
    counts = np.bincount(np.subtract(values, low, dtype=np.intp))
    found = np.flatnonzero(counts)
    return found + low, counts[found]


def _code_length(counts: np.ndarray) -> float:
    return float((counts * np.log2(counts.sum() / counts)).sum()) + _ENTRY_BITS * len(counts)


def fit_table(values: np.ndarray) -> CountTable:
    """The table that makes `values` (int32, not empty) and the table itself cheapest.

    The interval is the one that maximises (bits saved by not escaping) - (bits of its entries): a largest-sum
    subarray over the histogram.
    """
    first, last = int(values.min()), int(values.max())
    inside = values
    if last - first >= MAX_TABLE_SIZE // 2:
        first = max(first, int(np.median(values[:1000])) - MAX_TABLE_SIZE // 2)
        last = min(last, first + MAX_TABLE_SIZE - 1)
        inside = values[(values >= first) & (values <= last)]
    histogram = np.bincount(np.subtract(inside, first, dtype=np.intp), minlength=1)
    gain = np.concatenate([[0.0], np.cumsum(_ESCAPE_BITS * histogram - _ENTRY_BITS)])
    lowest = np.minimum.accumulate(gain)
    end = int(np.argmax(gain - lowest))
    if end == 0:                                     # only lone values far apart: keep one so that the table is valid
        begin, end = int(np.argmax(histogram)), int(np.argmax(histogram)) + 1
    else:
        begin = int(np.argmin(gain[:end]))
    kept = histogram[begin:end]
    escaped = len(values) - int(kept.sum())
    return CountTable(first + begin, code_of_count(np.append(kept, escaped)))
