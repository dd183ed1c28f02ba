"""Symbols of a layer on one rANS stream, with a table for each group.

For each call, both sides know the groups; the symbols of the lowest group come first. Symbols of the first layer of a
level are -8 to 8 (the ends are escapes: what is beyond follows as a number of its own), those of later ones -1 to 1
where a coefficient is zero so far, and 0 and 1 where it is not.

    varint            number of escapes
    for each: varint  how far beyond
    words             the rANS stream, u32
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...compiled import compiled, loaded
from ...entropy.rans import Encoder, RowsDecoder
from ...entropy.varint import ByteReader, write_varint
from ...errors import FormatError
from .contexts import N_REFINED
from .tables import ESCAPE, PlaneTables

_EXCESS_LIMIT = 1 << 28


class SymbolEncoder:
    """Collects the symbols of a layer; `finish` returns the bytes.

    Parameters
    ----------
    tables : list of PlaneTables
        For each of the layer's planes.
    """

    def __init__(self, tables: list[PlaneTables]):
        self._tables = tables
        self._calls: list[tuple[PlaneTables, np.ndarray, np.ndarray, np.ndarray]] = []
        self._excess: list[np.ndarray] = []

    def code(self, groups: np.ndarray, symbols: np.ndarray, plane: int) -> np.ndarray:
        """Take the symbols of `groups` (same shape) in a plane; they are returned as they are."""
        flat, kept, tables = groups.ravel(), symbols.ravel(), self._tables[plane]
        order = _by_group(flat[None])[0]
        if not tables.refined:
            kept = kept.clip(-ESCAPE, ESCAPE)
            beyond = np.abs(symbols.ravel()[order]) - ESCAPE
            self._excess.append(beyond[beyond >= 0])
        self._calls.append((tables, flat, order, kept.astype(np.int32)))
        return symbols

    def finish(self) -> bytes:
        coder = Encoder()                                # last in, first out: what is decoded last is encoded first
        for tables, groups, order, symbols in reversed(self._calls):
            coder.put_rows(tables.rows, groups, order, symbols)
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

    def __init__(self, tables: list[PlaneTables], chunks: Sequence[bytes | memoryview], limit: int):
        self._tables = tables
        streams, self._excesses = [], []
        for chunk in chunks:
            reader = ByteReader(chunk)
            excess = [reader.varint(_EXCESS_LIMIT) for _ in range(reader.varint(limit))]
            words = np.frombuffer(reader.take(reader.remaining // 4 * 4), "<u4").astype(np.uint32)
            if reader.remaining:
                raise FormatError("The compressed data is damaged: a layer ends within a word.")
            streams.append(words)
            self._excesses.append(np.array(excess, np.int32))
        self._decoder = RowsDecoder(streams)

    def code(self, groups: np.ndarray, symbols: None, plane: int) -> np.ndarray:
        """The symbols of `groups` in a plane, as int32 of the same shape."""
        slabs, tables = groups.reshape(len(self._excesses), -1), self._tables[plane]
        order = _by_group(slabs)
        found = self._decoder.take(tables.rows, slabs, order)
        if not tables.refined and (escaped := np.abs(found) == ESCAPE).any():
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
        counts = np.zeros(N_REFINED, np.int64)
        for group in groups[stream]:
            counts[group] += 1
        places = np.cumsum(counts) - counts
        for n in range(groups.shape[1]):
            group = groups[stream, n]
            order[stream, places[group]] = n
            places[group] += 1
