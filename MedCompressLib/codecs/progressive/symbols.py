"""Symbols of a layer on one rANS stream, with tables that all layers of the finest level share, or all others.

For each call, both sides know the groups; the symbols of the lowest group come first. There are three kinds of groups
(see `contexts`), with symbols from -8 to 8 (the ends are escapes: what is beyond follows as a number of its own), from
-1 to 1, and 0 and 1.

    varint            number of escapes
    for each: varint  how far beyond
    words             the rANS stream, u32
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...compiled import compiled, loaded
from ...entropy import GroupDecoder, encode_groups
from ...entropy.rans import Encoder, RowsDecoder, TableRows
from ...entropy.tables import COUNT_OF_CODE, MAX_CODE, code_of_count
from ...entropy.varint import ByteReader, write_varint
from ...errors import FormatError
from .contexts import N_GROUPS, SIGNIFICANT, ZERO

ESCAPE = 8
_EXCESS_LIMIT = 1 << 28
_LOW = np.select([np.arange(N_GROUPS) < ZERO, np.arange(N_GROUPS) < SIGNIFICANT], [-ESCAPE, -1], 0).astype(np.int32)
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
        self._rows: dict[int, TableRows] = {}

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

    def of_level(self, level: int) -> TableRows:
        """The tables of all groups; symbols that never occurred count 1 there."""
        number = set_of(level)
        if number not in self._rows:
            counts = np.maximum(COUNT_OF_CODE[self._codes[number]], 1)
            self._rows[number] = TableRows(_LOW, np.split(counts, _START[1:]))
        return self._rows[number]


class Counter:
    """Takes symbols like an encoder and counts them."""

    def __init__(self) -> None:
        self.counts = np.zeros(_N_COUNTS, np.int64)

    def code(self, groups: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        if loaded():
            _count_compiled(groups.ravel(), symbols.ravel(), _LOW, _SIZE, _START, self.counts)
        else:
            places = _START[groups] + np.clip(symbols - _LOW[groups], 0, _SIZE[groups] - 1)
            self.counts += np.bincount(places.ravel(), minlength=_N_COUNTS)
        return symbols


@compiled
def _count_compiled(groups, symbols, low, size, start, counts):
    for n in range(len(groups)):
        group = groups[n]
        counts[start[group] + min(max(symbols[n] - low[group], 0), size[group] - 1)] += 1


class SymbolEncoder:
    """Collects the symbols of a layer of a level; `finish` returns the bytes."""

    def __init__(self, tables: Tables, level: int):
        self._rows = tables.of_level(level)
        self._calls: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._excess: list[np.ndarray] = []

    def code(self, groups: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """Take the symbols of `groups` (same shape); they are returned as they are."""
        flat, kept = groups.ravel(), symbols.ravel()
        order = _by_group(flat[None])[0]
        if wide := np.count_nonzero(flat < ZERO):
            kept = kept.clip(-ESCAPE, ESCAPE)
            beyond = np.abs(symbols.ravel()[order[:wide]]) - ESCAPE
            self._excess.append(beyond[beyond >= 0])
        self._calls.append((flat, order, kept.astype(np.int32)))
        return symbols

    def finish(self) -> bytes:
        coder = Encoder()                                # last in, first out: what is decoded last is encoded first
        for groups, order, symbols in reversed(self._calls):
            coder.put_rows(self._rows, groups, order, symbols)
        out = bytearray()
        excess = np.concatenate([np.zeros(0, np.int32), *self._excess])
        write_varint(out, len(excess))
        for beyond in excess.tolist():
            write_varint(out, beyond)
        return bytes(out) + coder.words().astype("<u4").tobytes()


class SymbolDecoder:
    """The other end of `SymbolEncoder`, for one or more slabs of equal shape, which lie along the first axis.

    Parameters
    ----------
    chunks : sequence of bytes
        What `SymbolEncoder.finish` returned for each slab.
    limit : int
        No more symbols are asked for of each.
    """

    def __init__(self, tables: Tables, level: int, chunks: Sequence[bytes | memoryview], limit: int):
        streams, self._excesses = [], []
        for chunk in chunks:
            reader = ByteReader(chunk)
            excess = [reader.varint(_EXCESS_LIMIT) for _ in range(reader.varint(limit))]
            words = np.frombuffer(reader.take(reader.remaining // 4 * 4), "<u4").astype(np.uint32)
            if reader.remaining:
                raise FormatError("The compressed data is damaged: a layer ends within a word.")
            streams.append(words)
            self._excesses.append(np.array(excess, np.int32))
        self._decoder = RowsDecoder(tables.of_level(level), streams)

    def code(self, groups: np.ndarray, symbols: None = None) -> np.ndarray:
        """The symbols of `groups`, as int32 of the same shape."""
        slabs = groups.reshape(len(self._excesses), -1)
        order = _by_group(slabs)
        found = self._decoder.take(slabs, order)
        if (escaped := (slabs < ZERO) & (np.abs(found) == ESCAPE)).any():
            for number, places in enumerate(order):
                places = places[escaped[number, places]]
                excess, self._excesses[number] = np.split(self._excesses[number], [len(places)])
                if len(excess) != len(places):
                    raise FormatError("The compressed data is damaged: a layer has too few escaped symbols.")
                found[number, places] += np.sign(found[number, places]) * excess
        return found.reshape(groups.shape)

    def finish(self) -> None:
        """Raise FormatError unless everything was used."""
        if any(map(len, self._excesses)) or not self._decoder.is_empty():
            raise FormatError("The compressed data is damaged: a layer holds more than its coefficients.")


def _by_group(groups: np.ndarray) -> np.ndarray:
    """The places of (n_streams, n) groups in the order of their groups, those of equal groups as they come."""
    if not loaded():
        return np.argsort(groups, axis=1, kind="stable")
    order = np.empty(groups.shape, np.intp)
    _by_group_compiled(groups, order)
    return order


@compiled
def _by_group_compiled(groups, order):
    for stream in range(len(groups)):
        counts = np.zeros(N_GROUPS, np.int64)
        for group in groups[stream]:
            counts[group] += 1
        places = np.cumsum(counts) - counts
        for n in range(groups.shape[1]):
            group = groups[stream, n]
            order[stream, places[group]] = n
            places[group] += 1
