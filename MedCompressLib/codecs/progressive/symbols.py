"""Symbols of a layer on one rANS stream, with tables that all layers of the finest level share, or all others.

For each call, both sides know the groups; the symbols of the lowest group come first. There are three kinds of groups
(see `contexts`), with symbols from -8 to 8 (the ends are escapes: what is beyond follows as a number of its own), from
-1 to 1, and 0 and 1.

    varint            number of escapes
    for each: varint  how far beyond
    words             the rANS stream, u32
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ...entropy import GroupDecoder, encode_groups
from ...entropy.tables import COUNT_OF_CODE, MAX_CODE, code_of_count
from ...entropy.varint import ByteReader, write_varint
from ...errors import FormatError
from .contexts import N_GROUPS, SIGNIFICANT, ZERO

ESCAPE = 8
_EXCESS_LIMIT = 1 << 28
_LOW = np.where(np.arange(N_GROUPS) < ZERO, -ESCAPE, np.where(np.arange(N_GROUPS) < SIGNIFICANT, -1, 0))
_SIZE = np.where(np.arange(N_GROUPS) < ZERO, 2 * ESCAPE + 1, np.where(np.arange(N_GROUPS) < SIGNIFICANT, 3, 2))
_START = np.cumsum(_SIZE) - _SIZE
_N_COUNTS = int(_SIZE.sum())
N_SETS = 2
_SCALE = 8               # a symbol that the sample did not show counts as an eighth of one
_KIND = np.repeat(np.arange(3), [int(_SIZE[:ZERO].sum()), int(_SIZE[ZERO:SIGNIFICANT].sum()),
                                 int(_SIZE[SIGNIFICANT:].sum())]).astype(np.uint8)


def set_of(level: int) -> int:
    """Which tables a level uses."""
    return min(level, N_SETS - 1)


class Tables:
    """Two sets of count tables, one for each group.

    Parameters
    ----------
    codes : (2, n) array of count codes
        For the finest level and for the others, group after group, each from its lowest symbol on.
    """

    def __init__(self, codes: np.ndarray):
        self._codes = codes

    @classmethod
    def fit(cls, counts: np.ndarray) -> Tables:
        return cls(code_of_count(np.minimum(_SCALE * counts, COUNT_OF_CODE[-1])))

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Tables:
        decoder = GroupDecoder(data, N_SETS * _N_COUNTS)
        codes = decoder.decode(np.tile(_KIND, (N_SETS, 1)))
        decoder.finish()
        if codes.min() < 0 or codes.max() >= MAX_CODE:
            raise FormatError("The model of the file has a count that does not exist.")
        return cls(codes)

    def to_bytes(self) -> bytes:
        return encode_groups(self._codes.ravel(), np.tile(_KIND, N_SETS), 3)

    @cached_property
    def models(self) -> list:
        """For each set the `constriction` model of every group; symbols that never occurred count 1 there."""
        import constriction

        counts = np.maximum(COUNT_OF_CODE[self._codes], 1).astype(np.float64)
        return [[constriction.stream.model.Categorical(of_set[start:start + size], perfect=False)
                 for start, size in zip(_START, _SIZE, strict=True)] for of_set in counts]

    def of_level(self, level: int) -> list:
        return self.models[set_of(level)]


class Counter:
    """Takes symbols like an encoder and counts them."""

    def __init__(self) -> None:
        self.counts = np.zeros(_N_COUNTS, np.int64)

    def code(self, groups: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        places = _START[groups] + np.clip(symbols - _LOW[groups], 0, _SIZE[groups] - 1)
        self.counts += np.bincount(places.ravel(), minlength=_N_COUNTS)
        return symbols


class SymbolEncoder:
    """Collects the symbols of a layer of a level; `finish` returns the bytes."""

    def __init__(self, tables: Tables, level: int):
        self._tables, self._level = tables, level
        self._parts: list[tuple[int, np.ndarray]] = []
        self._excess: list[np.ndarray] = []

    def code(self, groups: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """Take the symbols of `groups` (same shape); they are returned as they are."""
        flat = groups.ravel()
        order = np.argsort(flat, kind="stable")
        flat = flat[order]
        index = symbols.ravel()[order] - _LOW[flat]
        wide = index[:np.searchsorted(flat, ZERO)]
        beyond = np.where(wide <= 0, -wide, wide - 2 * ESCAPE)
        if (escaped := beyond >= 0).any():
            self._excess.append(beyond[escaped])
            wide.clip(0, 2 * ESCAPE, out=wide)
        index = index.astype(np.int32)
        starts = np.flatnonzero(np.diff(flat, prepend=N_GROUPS))
        self._parts += zip(flat[starts].tolist(), np.split(index, starts[1:]), strict=True)
        return symbols

    def finish(self) -> bytes:
        import constriction

        coder = constriction.stream.stack.AnsCoder()     # last in, first out: what is decoded last is encoded first
        models = self._tables.of_level(self._level)
        for group, index in reversed(self._parts):
            coder.encode_reverse(index, models[group])
        out = bytearray()
        excess = np.concatenate([np.zeros(0, np.int64), *self._excess])
        write_varint(out, len(excess))
        for beyond in excess.tolist():
            write_varint(out, beyond)
        return bytes(out) + coder.get_compressed().astype("<u4").tobytes()


class SymbolDecoder:
    """The other end of `SymbolEncoder`.

    Parameters
    ----------
    limit : int
        No more symbols are asked for.
    """

    def __init__(self, tables: Tables, level: int, data: bytes | memoryview, limit: int):
        import constriction

        reader = ByteReader(data)
        self._models = tables.of_level(level)
        self._excess = np.array([reader.varint(_EXCESS_LIMIT) for _ in range(reader.varint(limit))], np.int64)
        self._escapes = 0
        words = np.frombuffer(reader.take(reader.remaining // 4 * 4), "<u4").astype(np.uint32)
        if reader.remaining:
            raise FormatError("The compressed data is damaged: a layer ends within a word.")
        try:
            self._coder = constriction.stream.stack.AnsCoder(words)
        except ValueError as error:
            raise FormatError("The compressed data is damaged: a layer ends in an impossible word.") from error

    def code(self, groups: np.ndarray, symbols: None = None) -> np.ndarray:
        """The symbols of `groups`, as int32 of the same shape."""
        flat = groups.ravel()
        order = np.argsort(flat, kind="stable")
        counts = np.bincount(flat, minlength=N_GROUPS)
        present = np.flatnonzero(counts)
        decoded = np.concatenate([np.zeros(0, np.int32),
                                  *(self._coder.decode(self._models[group], int(counts[group])) + np.int32(_LOW[group])
                                    for group in present)])
        wide = decoded[:int(counts[:ZERO].sum())]
        if (escaped := np.abs(wide) == ESCAPE).any():
            n_escaped = int(np.count_nonzero(escaped))
            excess = self._excess[self._escapes:self._escapes + n_escaped]
            if len(excess) != n_escaped:
                raise FormatError("The compressed data is damaged: a layer has too few escaped symbols.")
            self._escapes += n_escaped
            wide[escaped] += (np.sign(wide[escaped]) * excess).astype(np.int32)
        found = np.empty(len(flat), np.int32)
        found[order] = decoded
        return found.reshape(groups.shape)

    def finish(self) -> None:
        """Raise FormatError unless everything was used."""
        if self._escapes != len(self._excess) or not self._coder.is_empty():
            raise FormatError("The compressed data is damaged: a layer holds more than its coefficients.")
