"""Symbols in groups, each group coded with its own static count table, on one rANS stream.

`encode_groups` and `GroupDecoder` are the two ends. FORMAT.md, "Group stream", is the specification.

Guarantees and requirements
---------------------------
* Any int32 symbols, any grouping: what comes out of the decoder is what went into the encoder.
* The bytes are a pure function of (symbols, groups, n_groups).
* The decoder needs the groups in the encoder's order, but in pieces of any size, so that groups may depend on
  symbols already decoded.
* Damaged bytes give `FormatError` or wrong symbols (a checksum around them is the container's work); never a crash,
  never more memory than about twelve bytes for each symbol of `limit`.

The coder (`rans`) is `constriction`'s ANS (32-bit words, 64-bit state, 24-bit probabilities). It decodes about a fifth
faster than its range coder and takes fewer lines to describe.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..compiled import compiled, loaded
from ..errors import FormatError
from .bits import append_low_bits, pack_bits, pack_low_bits, packed_size, unpack_bits
from .rans import Decoder, Encoder
from .tables import (
    MAX_CODE,
    MAX_TABLE_SIZE,
    CountTable,
    GivenTable,
    Table,
    code_of_count,
    fit_table,
)
from .varint import ByteReader, write_signed, write_varint

MAX_GROUPS = 1 << 16
_INT32 = 1 << 31
_FEW = 1 << 15       # a given table is tried for groups of no more symbols
_N_STEPS = 2 * MAX_CODE - 1     # from one count code to another
_N_LENGTHS = 35      # an escaped value's excess has 1 to 34 bits; index 0 is not used
_DAMAGED = "The compressed data is damaged: "


Given = Callable[[int], GivenTable | None]
"""The table that a codec gives for a group, if it has one."""


def encode_groups(symbols: np.ndarray, groups: np.ndarray, n_groups: int, given: Given | None = None) -> bytes:
    """Code `symbols` so that a decoder who knows `groups` gets them back.

    Parameters
    ----------
    symbols : 1-D array of int32 range
    groups : 1-D array of uint8 or uint16, of the same length
        The group of each symbol, below `n_groups`.
    n_groups : int
        At most 65536.
    given : function, optional
        Of a group: a table that the decoder knows as well. It is used where a table of the group's own costs more than
        it saves.

    Returns
    -------
    bytes
        Self-contained: tables, counts and the coded symbols.
    """
    symbols = np.asarray(symbols, np.int32).ravel()
    groups = np.asarray(groups).ravel()
    if len(symbols) != len(groups):
        raise ValueError(f"{len(symbols)} symbols but {len(groups)} groups: each symbol needs one group.")
    by_group, counts = _sorted(symbols, groups)
    if len(counts) > n_groups or n_groups > MAX_GROUPS:
        raise ValueError(f"Groups must lie below n_groups = {n_groups}, and that at most {MAX_GROUPS}.")
    counts = np.append(counts, np.zeros(n_groups - len(counts), np.int64))
    parts = np.split(by_group, np.cumsum(counts[counts > 0])[:-1]) if len(symbols) else []

    out = bytearray()
    write_varint(out, n_groups)
    chosen = [_choose_table(part, given and given(int(group)))
              for part, group in zip(parts, np.flatnonzero(counts), strict=True)]
    if given is None:
        for count in counts:
            write_varint(out, int(count))
    else:
        _write_counts(out, counts, [isinstance(table, GivenTable) for table, _ in chosen])
    if not parts:
        return bytes(out)
    low_bits = bytearray()
    for part, (_, shift) in zip(parts, chosen, strict=True):
        if shift:
            low_bits += pack_low_bits(part, shift)
            part >>= shift
    own = [(table, shift) for table, shift in chosen if isinstance(table, CountTable)]
    for table, shift in own:
        write_varint(out, shift)
        write_signed(out, table.low)
        write_varint(out, table.size)
    if own:
        steps = np.concatenate([np.diff(table.codes, prepend=0) for table, _ in own]).astype(np.int32)
        step_table = CountTable(int(steps.min()), np.append(code_of_count(np.bincount(steps - steps.min())), 0))
        _write_step_table(out, step_table)
    tables = [table for table, _ in chosen]

    excess = np.concatenate([np.zeros(0, np.int64), *map(_excess, parts, tables)])
    write_varint(out, len(excess))
    coder = Encoder()
    bits = b""
    if len(excess):
        lengths = np.frexp(excess.astype(np.float64))[1].astype(np.int32)
        length_table = CountTable(0, code_of_count(np.bincount(lengths, minlength=_N_LENGTHS)))
        out += length_table.codes.astype(np.uint8).tobytes()
        coder.put(length_table, lengths)
        bits = pack_bits(excess, lengths - 1)
    for part, table in zip(reversed(parts), reversed(tables), strict=True):
        coder.put(table, part)
    if own:
        coder.put(step_table, steps)
    words = coder.words()
    write_varint(out, len(words))
    out += words.astype("<u4").tobytes()
    return bytes(out) + bits + low_bits


class GroupDecoder:
    """The other end of `encode_groups`: hands the symbols out again, in pieces.

    Everything is decoded at construction, a group at a time; `decode` only deals the symbols to their places.

    Parameters
    ----------
    data : bytes
        What `encode_groups` returned.
    n_groups : int
        As in `encode_groups`.
    limit : int
        The most symbols the caller can use; a stream that declares more is refused before memory is taken.
    given : function, optional
        As in `encode_groups`.

    Raises
    ------
    FormatError
        `data` cannot come from `encode_groups`.
    """

    def __init__(self, data: bytes | memoryview, n_groups: int, limit: int, given: Given | None = None):
        reader = ByteReader(data)
        self.n_groups = n_groups
        if reader.varint(MAX_GROUPS) != n_groups:
            raise FormatError(_DAMAGED + "its symbols are in another number of groups.")
        counts, is_given = _read_counts(reader, n_groups, limit, given is not None)
        self._end = np.cumsum(counts)
        self._next = self._end - counts
        used = np.flatnonzero(counts)
        tables = [_given_table(given, int(group)) if is_given[group] else None for group in used]
        self._symbols = _read_symbols(reader, counts[used], tables) if len(used) else np.zeros(0, np.int32)
        if reader.remaining:
            raise FormatError(_DAMAGED + "there are bytes after the end of the coded symbols.")

    def decode(self, groups: np.ndarray) -> np.ndarray:
        """The next symbol of each of `groups` (uint8 or uint16, any shape), as int32 of that shape.

        Raises
        ------
        FormatError
            A group has fewer symbols left than are asked for.
        """
        flat = groups.ravel()
        symbols = np.empty(len(flat), np.int32)
        if loaded():
            if not _deal(flat, self._symbols, self._next, self._end, symbols):
                raise FormatError(_DAMAGED + "a group of symbols is shorter than needed.")
            return symbols.reshape(groups.shape)
        asked = np.bincount(flat, minlength=self.n_groups)
        if len(asked) > self.n_groups or np.any(self._next + asked > self._end):
            raise FormatError(_DAMAGED + "a group of symbols is shorter than needed.")
        pieces = [self._symbols[self._next[g]:self._next[g] + asked[g]] for g in np.flatnonzero(asked)]
        self._next += asked
        if len(pieces) == 1:
            symbols[:] = pieces[0]
        elif pieces:
            symbols[np.argsort(flat, kind="stable")] = np.concatenate(pieces)
        return symbols.reshape(groups.shape)

    def remaining(self) -> tuple[np.ndarray, np.ndarray]:
        """How many symbols each group has, (n_groups,), and all of them, one group after the other, for a caller who
        deals them out himself; before any call of `decode`."""
        return self._end - self._next, self._symbols

    def finish(self) -> None:
        """Raise FormatError unless every symbol was handed out."""
        if np.any(self._next != self._end):
            raise FormatError(_DAMAGED + "there are more symbols than voxels.")


def _sorted(symbols: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The symbols in the order of their groups, as a new array, and how many each group has."""
    if loaded() and groups.dtype in (np.uint8, np.uint16):
        counts, by_group = np.zeros(1 << 8 * groups.itemsize, np.int64), np.empty_like(symbols)
        _sort(symbols, groups, counts, by_group)
        return by_group, np.trim_zeros(counts, "b")
    return symbols[np.argsort(groups, kind="stable")], np.bincount(groups)


@compiled
def _sort(symbols, groups, counts, by_group):
    for n in range(len(groups)):
        counts[groups[n]] += 1
    places = np.cumsum(counts) - counts
    for n in range(len(symbols)):
        place = places[groups[n]]
        by_group[place] = symbols[n]
        places[groups[n]] = place + 1


@compiled
def _deal(groups, symbols, following, end, dealt):
    """Fill in `dealt` with the next symbol of each of `groups`; False, and none taken, where a group is at its end."""
    for index in range(len(groups)):
        group = groups[index]
        if group >= len(end) or following[group] >= end[group]:
            for earlier in groups[:index]:
                following[earlier] -= 1
            return False
        dealt[index] = symbols[following[group]]
        following[group] += 1
    return True


def _write_counts(out: bytearray, counts: np.ndarray, is_given: list[bool]) -> None:
    """For streams with given tables: the number of symbols of each group, whether its table is given, and how many more
    groups in a row have no symbols."""
    flags, group = iter(is_given), 0
    while group < len(counts):
        count = int(counts[group])
        write_varint(out, 2 * count - (count > 0 and next(flags)))
        if count == 0:
            more = int(np.argmax(np.append(counts[group + 1:], 1) > 0))
            write_varint(out, more)
            group += more
        group += 1


def _read_counts(reader: ByteReader, n_groups: int, limit: int, with_given: bool) -> tuple[np.ndarray, np.ndarray]:
    """The number of symbols of each group, and whether its table is given."""
    counts, is_given, group = np.zeros(n_groups, np.int64), np.zeros(n_groups, bool), 0
    while group < n_groups:
        if with_given:
            twice = reader.varint(2 * limit)
            counts[group], is_given[group] = (twice + 1) // 2, twice % 2
        else:
            counts[group] = reader.varint(limit)
        limit -= int(counts[group])
        if with_given and counts[group] == 0:
            group += reader.varint(n_groups - group - 1)
        group += 1
    return counts, is_given


def _given_table(given: Given, group: int) -> GivenTable:
    table = given(group)
    if table is None:
        raise FormatError(_DAMAGED + "a table of symbol counts is missing.")
    return table


def _choose_table(values: np.ndarray, given: GivenTable | None) -> tuple[Table, int]:
    """The cheapest table for a group, and how many low bits of its values are stored outside it."""
    own, shift = fit_table(values)
    if given is not None and len(values) <= _FEW:
        own_bits = own.cost + own.bits(values >> shift) + shift * len(values)
        if given.bits(values >> given.shift) + given.shift * len(values) < own_bits:
            return given, given.shift
    return own, shift


def _excess(part: np.ndarray, table: Table) -> np.ndarray:
    """What lies beyond the table, folded to 1 and up: int64, one for each escaped symbol, in order."""
    if not table.escapes:
        return np.zeros(0, np.int64)
    index = part.astype(np.int64) - table.low
    outside = index[(index < 0) | (index >= table.size)]
    return np.where(outside < 0, -2 * outside, 2 * (outside - table.size) + 1)


def _unsplit(index: np.ndarray, table: Table, excess: np.ndarray, beyond: int) -> np.ndarray:
    """The values of indices; those that escape must lie in -beyond .. beyond - 1."""
    symbols = index + np.int32(table.low)
    if len(excess):
        outside = np.where(excess & 1, table.low + table.size + (excess >> 1), table.low - (excess >> 1))
        if outside.min() < -beyond or outside.max() >= beyond:
            raise FormatError(_DAMAGED + "a symbol lies outside 32 bits.")
        symbols[index == table.size] = outside
    return symbols


def _read_symbols(reader: ByteReader, counts: np.ndarray, given: list[GivenTable | None]) -> np.ndarray:
    """All symbols, group after group; `counts` are those of the groups that have any, `given` their tables or None."""
    shapes, shifts = [], []
    entries = 0
    for table in given:
        if table is not None:
            shifts.append(table.shift)
            continue
        shifts.append(reader.varint(31))
        low, size = reader.signed(_INT32), reader.varint(MAX_TABLE_SIZE)
        beyond = _INT32 >> shifts[-1]
        entries += size + 1
        if size == 0 or low < -beyond or low + size > beyond or entries > 2 * MAX_TABLE_SIZE + 64 * counts.sum():
            raise FormatError(_DAMAGED + "a table of symbol counts is impossible.")
        shapes.append((low, size))
    step_table = _read_step_table(reader) if shapes else None
    n_escaped = reader.varint(int(counts.sum()))
    length_table = CountTable(0, _codes(reader, _N_LENGTHS)) if n_escaped else None
    words = np.frombuffer(reader.take(4 * reader.varint(reader.remaining // 4)), "<u4").astype(np.uint32)
    coder = Decoder(words)
    own = iter(_read_tables(coder, step_table, shapes) if shapes else ())
    tables = [next(own) if table is None else table for table in given]
    indices = [coder.take(table, int(count)) for table, count in zip(tables, counts, strict=True)]
    escaped = [int(np.count_nonzero(index == table.size)) for index, table in zip(indices, tables, strict=True)]
    if sum(escaped) != n_escaped:
        raise FormatError(_DAMAGED + "the number of escaped symbols is wrong.")
    lengths = coder.take(length_table, n_escaped) if n_escaped else np.zeros(0, np.int32)
    if n_escaped and lengths.min() == 0:
        raise FormatError(_DAMAGED + "an escaped symbol has no bits.")
    widths = np.maximum(lengths.astype(np.int64) - 1, 0)
    excess = unpack_bits(reader.take(packed_size(int(widths.sum()), 1)), widths) | np.left_shift(np.int64(1), widths)
    if not coder.is_empty():
        raise FormatError(_DAMAGED + "there are bits after the end of the coded symbols.")
    symbols = np.empty(int(counts.sum()), np.int32)
    end = 0
    for index, table, part, shift in zip(indices, tables, np.split(excess, np.cumsum(escaped)[:-1]), shifts,
                                         strict=True):
        values = symbols[end:end + len(index)]
        end += len(index)
        values[:] = _unsplit(index, table, part, _INT32 >> shift)
        if shift:
            append_low_bits(values, reader.take(packed_size(len(index), shift)), shift)
    return symbols


def _read_tables(coder: Decoder, step_table: CountTable, shapes: list[tuple[int, int]]) -> list[CountTable]:
    sizes = np.array([size + 1 for _, size in shapes])
    codes = np.cumsum(coder.take(step_table, int(sizes.sum())) + step_table.low)
    codes -= np.repeat(np.concatenate([[0], codes[np.cumsum(sizes)[:-1] - 1]]), sizes)
    if codes.min() < 0 or codes.max() >= MAX_CODE:
        raise FormatError(_DAMAGED + "a table of symbol counts is impossible.")
    return [CountTable(low, part) for (low, _), part in zip(shapes, np.split(codes, np.cumsum(sizes)[:-1]),
                                                            strict=True)]


def _write_step_table(out: bytearray, table: CountTable) -> None:
    """The steps that occur, in ascending order: the gap from the one before, and the count code."""
    used = np.flatnonzero(table.codes)
    write_signed(out, table.low)
    write_varint(out, len(used))
    for gap, code in zip(np.diff(used, prepend=0), table.codes[used], strict=True):
        write_varint(out, int(gap))
        out.append(int(code))


def _read_step_table(reader: ByteReader) -> CountTable:
    low, n_used = reader.signed(MAX_CODE - 1), reader.varint(_N_STEPS)
    place, codes, gaps = 0, np.zeros(_N_STEPS + 1, np.int64), []
    for _ in range(n_used):
        gaps.append(reader.varint(_N_STEPS - 1 - place))
        place += gaps[-1]
        codes[place] = reader.take(1)[0]
    if n_used == 0 or 0 in gaps[1:] or codes.max() >= MAX_CODE:
        raise FormatError(_DAMAGED + "a table of symbol counts is impossible.")
    return CountTable(low, codes[:place + 2])


def _codes(reader: ByteReader, count: int) -> np.ndarray:
    codes = np.frombuffer(reader.take(count), np.uint8).astype(np.int64)
    if codes.max() >= MAX_CODE:
        raise FormatError(_DAMAGED + "a table of symbol counts is impossible.")
    return codes
