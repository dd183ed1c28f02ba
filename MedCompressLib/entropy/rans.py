"""The rANS stream of FORMAT.md, section 11: what `constriction`'s AnsCoder does in its default form.

Without numba constriction does it. It holds the interpreter's lock all the while, so threads wait for each other; the
compiled loops make the same words without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ..compiled import compiled, loaded
from ..errors import FormatError
from .tables import TOTAL_BITS, GivenTable, Table, lefts_of

_TOTAL_BITS, _WORD_BITS = np.uint64(TOTAL_BITS), np.uint64(32)
_QUANTILE, _WORD = np.uint64((1 << TOTAL_BITS) - 1), np.uint64((1 << 32) - 1)
_FULL = np.uint64(64 - TOTAL_BITS)
_SLOT_BITS = 12      # so many bits of a quantile are left to a search among neighbours


class TableRows:
    """Many small tables, by group, each of two or more symbols that all have counts.

    Parameters
    ----------
    lows : sequence of int
        The lowest symbol of each.
    counts : list of int64 arrays
    """

    def __init__(self, lows: Sequence[int], counts: list[np.ndarray]):
        self._counts = counts
        self.lows = np.array(lows, np.int32)
        self.starts = np.cumsum([0, *(len(row) + 1 for row in counts)])
        self.lefts = np.concatenate([lefts_of(row) for row in counts])

    @cached_property
    def models(self) -> list:
        """Of `constriction`."""
        return [GivenTable(0, counts, 0).model() for counts in self._counts]


def _runs(groups: np.ndarray) -> list[tuple[int, int, int]]:
    """Of each stretch of equal groups: the group, the begin and the end."""
    begins = np.flatnonzero(np.diff(groups, prepend=-1))
    return list(zip(groups[begins].tolist(), begins.tolist(), [*begins[1:].tolist(), len(groups)], strict=True))


class Encoder:
    """Last in, first out: what is to be decoded first is put last."""

    def __init__(self):
        self._coder = None if loaded() else _constriction_coder(np.zeros(0, np.uint32))
        self._state = 0
        self._words: list[np.ndarray] = []

    def put(self, table: Table, values: np.ndarray) -> None:
        """Code int32 `values`, the last one first; those outside the table as its escape."""
        if table.is_constant:
            return
        if self._coder is None:
            words = np.empty(len(values), np.uint32)
            self._state, count = _encode(values, table.low, table.lefts(), np.uint64(self._state), words)
            self._words.append(words[:count])
        else:
            self._coder.encode_reverse(table.indices(values), table.model())

    def put_rows(self, rows: TableRows, groups: np.ndarray, order: np.ndarray, symbols: np.ndarray) -> None:
        """Code the symbol (int32) at each place of `order`, the last one first, with the table of its group."""
        if self._coder is None:
            words = np.empty(len(order), np.uint32)
            self._state, count = _encode_rows(symbols, groups, order, rows.lows, rows.lefts, rows.starts,
                                              np.uint64(self._state), words)
            self._words.append(words[:count])
        elif len(order):
            ordered = groups[order]
            indices = symbols[order] - rows.lows[ordered]
            for group, begin, end in reversed(_runs(ordered)):
                self._coder.encode_reverse(indices[begin:end], rows.models[group])

    def words(self) -> np.ndarray:
        """The whole stream, as uint32."""
        if self._coder is not None:
            return self._coder.get_compressed()
        rest = [self._state & 0xFFFFFFFF, self._state >> 32]
        while rest and rest[-1] == 0:
            rest.pop()
        return np.concatenate([*self._words, np.array(rest, np.uint32)])


class Decoder:
    """Takes indices off a stream.

    Parameters
    ----------
    words : uint32 array

    Raises
    ------
    FormatError
        The last word is 0.
    """

    def __init__(self, words: np.ndarray):
        self._state = _last_state(words)
        self._coder = None if loaded() else _constriction_coder(words)
        self._words, self._left = words, max(0, len(words) - 2)

    def take(self, table: Table, count: int) -> np.ndarray:
        """The next `count` indices into a table, as int32; those of a constant table take nothing from the stream."""
        if table.is_constant:
            return np.zeros(count, np.int32)
        if table.is_empty:
            raise FormatError("The compressed data is damaged: a table of symbol counts is empty.")
        if self._coder is not None:
            return self._coder.decode(table.model(), count)
        indices = np.empty(count, np.int32)
        self._state, self._left = _decode(self._words, self._left, np.uint64(self._state), table.lefts(), indices)
        return indices

    def is_empty(self) -> bool:
        """Whether nothing is left of the stream."""
        if self._coder is not None:
            return self._coder.is_empty()
        return self._state == 0 and self._left == 0


class RowsDecoder:
    """Takes symbols off one or more streams side by side.

    Parameters
    ----------
    streams : list of uint32 arrays

    Raises
    ------
    FormatError
        The last word of a stream is 0.
    """

    def __init__(self, streams: list[np.ndarray]):
        self._states = np.array([_last_state(words) for words in streams], np.uint64)
        self._coders = None if loaded() else [_constriction_coder(words) for words in streams]
        self._words = np.concatenate(streams)
        self._begins = np.cumsum([0, *map(len, streams)])[:-1]
        self._left = np.array([max(0, len(words) - 2) for words in streams])

    def take(self, rows: TableRows, groups: np.ndarray, order: np.ndarray) -> np.ndarray:
        """A symbol for each of (n_streams, n) `groups`, as int32, in the `order` of each stream's places."""
        symbols = np.empty(groups.shape, np.int32)
        if self._coders is None:
            _decode_rows(self._words, self._begins, self._left, self._states, groups, order, rows.lows, rows.lefts,
                         rows.starts, symbols)
        elif groups.size:
            for coder, own, places, out in zip(self._coders, groups, order, symbols, strict=True):
                ordered = own[places]
                indices = np.concatenate([coder.decode(rows.models[group], end - begin)
                                          for group, begin, end in _runs(ordered)])
                out[places] = indices + rows.lows[ordered]
        return symbols

    def is_empty(self) -> bool:
        """Whether nothing is left of any stream."""
        if self._coders is not None:
            return all(coder.is_empty() for coder in self._coders)
        return not (self._states.any() or self._left.any())


def _last_state(words: np.ndarray) -> int:
    """What the encoder's state was at the end of a stream; FormatError if it cannot have been."""
    if len(words) and words[-1] == 0:
        raise FormatError("The compressed data is damaged: the coded symbols end in an impossible word.")
    return sum(int(word) << 32 * place for place, word in enumerate(words[-2:]))


def _constriction_coder(words: np.ndarray):
    import constriction

    return constriction.stream.stack.AnsCoder(words)


@compiled
def _encode(values, low, lefts, state, words):
    """The new state and how many words were written."""
    count, size = 0, len(lefts) - 2
    for n in range(len(values) - 1, -1, -1):
        index = values[n] - low
        if index < 0 or index >= size:
            index = size
        left = lefts[index]
        width = lefts[index + 1] - left
        if state >> _FULL >= width:
            words[count] = state & _WORD
            count += 1
            state = state >> _WORD_BITS
        quotient = state // width
        state = (quotient << _TOTAL_BITS) + (state - quotient * width) + left
    return state, count


@compiled
def _encode_rows(symbols, groups, order, lows, lefts, starts, state, words):
    """`_encode` with a table for each group."""
    count = 0
    for place in range(len(order) - 1, -1, -1):
        n = order[place]
        at = starts[groups[n]] + symbols[n] - lows[groups[n]]
        left = lefts[at]
        width = lefts[at + 1] - left
        if state >> _FULL >= width:
            words[count] = state & _WORD
            count += 1
            state = state >> _WORD_BITS
        quotient = state // width
        state = (quotient << _TOTAL_BITS) + (state - quotient * width) + left
    return state, count


@compiled
def _decode_rows(words, begins, left_words, states, groups, order, lows, lefts, starts, symbols):
    """`_decode` with a table for each group, of one stream after the other."""
    for stream in range(len(states)):
        state, begin, left = states[stream], begins[stream], left_words[stream]
        own, found = groups[stream], symbols[stream]
        for n in order[stream]:
            quantile = state & _QUANTILE
            first = at = starts[own[n]]
            while lefts[at + 1] <= quantile:
                at += 1
            below = lefts[at]
            state = (state >> _TOTAL_BITS) * (lefts[at + 1] - below) + (quantile - below)
            if state <= _WORD and left > 0:
                left -= 1
                state = state << _WORD_BITS | np.uint64(words[begin + left])
            found[n] = lows[own[n]] + at - first
        states[stream], left_words[stream] = state, left


@compiled
def _decode(words, left_words, state, lefts, indices):
    """The new state and how many words are left."""
    first = np.empty(1 << TOTAL_BITS - _SLOT_BITS, np.int32)         # index of the lowest quantile of each slot
    index = 0
    for slot in range(len(first)):
        while lefts[index + 1] <= np.uint64(slot << _SLOT_BITS):
            index += 1
        first[slot] = index
    for n in range(len(indices)):
        quantile = state & _QUANTILE
        index = first[quantile >> np.uint64(_SLOT_BITS)]
        while lefts[index + 1] <= quantile:
            index += 1
        left = lefts[index]
        state = (state >> _TOTAL_BITS) * (lefts[index + 1] - left) + (quantile - left)
        if state <= _WORD and left_words > 0:
            left_words -= 1
            state = state << _WORD_BITS | np.uint64(words[left_words])
        indices[n] = index
    return state, left_words
