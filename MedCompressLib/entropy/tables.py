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

import numpy as np

MAX_CODE = 208
"""Largest count code: COUNT_OF_CODE[207] = 15 << 24, so that a sum of 2**25 counts still fits 53 bits."""

MAX_TABLE_SIZE = 1 << 17
"""No table covers more values than this; what lies outside is escaped."""

_ENTRY_BITS = 2.0     # about what one more entry costs in the coded table
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


@dataclass(frozen=True)
class CountTable:
    """Counts of the values `low ... low + len(codes) - 2`, then the escape's; as codes of `COUNT_OF_CODE`."""

    low: int
    codes: np.ndarray

    @property
    def size(self) -> int:
        """Number of values covered, the escape not counted."""
        return len(self.codes) - 1

    @property
    def is_constant(self) -> bool:
        """One value, never escaped: its symbols need no bits at all."""
        return self.size == 1 and self.codes[1] == 0

    def model(self):
        """The `constriction` model of this table; `perfect=False` so that only exact integers and IEEE + * / count."""
        import constriction

        counts = COUNT_OF_CODE[self.codes].astype(np.float64)
        return constriction.stream.model.Categorical(counts, perfect=False)


def fit_shift(values: np.ndarray) -> int:
    """How many low bits of `values` (int32, not empty) are better stored as they are, outside any table.

    Where a distribution is much wider than 2**shift its low bits are as good as random, and a table over the upper
    bits alone is 2**shift times shorter. The candidate comes from the spread, assuming a Laplace distribution (a bin
    of width w times the scale loses about 0.06 w**2 bits); the decision from the two empirical code lengths, so that a
    comb-like histogram keeps its bits.
    """
    values = values[::-(-len(values) // _SAMPLE)]
    ordered = np.sort(values).astype(np.int64)
    spread = float(np.abs(ordered - ordered[len(ordered) // 2]).mean())
    if spread < 8:
        return 0
    shifts = np.arange(int(np.log2(spread)))
    bins = spread / 2.0**shifts
    best = int(np.argmin(0.06 * len(values) / bins**2 + 8 * _ENTRY_BITS * bins))
    if best and best * len(values) + _code_length(ordered >> best) < _code_length(ordered):
        return best
    return 0


def _code_length(ordered: np.ndarray) -> float:
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    counts = np.diff(ends, prepend=-1)
    return float((counts * np.log2(len(ordered) / counts)).sum()) + _ENTRY_BITS * len(counts)


def fit_table(values: np.ndarray) -> CountTable:
    """The table that makes `values` (int32, not empty) and the table itself cheapest.

    The interval is the one that maximises (bits saved by not escaping) - (bits of its entries): a largest-sum
    subarray over the histogram.
    """
    centre = int(np.median(values[:1000]))
    first = max(int(values.min()), centre - MAX_TABLE_SIZE // 2)
    last = min(int(values.max()), first + MAX_TABLE_SIZE - 1)
    inside = values[(values >= first) & (values <= last)] if first > values.min() or last < values.max() else values
    histogram = np.bincount(inside.astype(np.int64) - first, minlength=1)
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
