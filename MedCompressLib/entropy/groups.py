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

The coder is `constriction`'s ANS (32-bit words, 64-bit state, 24-bit probabilities). It decodes about a fifth faster
than its range coder and takes fewer lines to describe.
"""

from __future__ import annotations

import numpy as np

from ..compiled import compiled, worth_compiling
from ..errors import FormatError
from .tables import COUNT_OF_CODE, MAX_CODE, MAX_TABLE_SIZE, CountTable, code_of_count, fit_shift, fit_table
from .varint import ByteReader, write_signed, write_varint

MAX_GROUPS = 1 << 16
_INT32 = 1 << 31
_N_LENGTHS = 35      # an escaped value's excess has 1 to 34 bits; index 0 is not used
_DAMAGED = "The compressed data is damaged: "


def encode_groups(symbols: np.ndarray, groups: np.ndarray, n_groups: int) -> bytes:
    """Code `symbols` so that a decoder who knows `groups` gets them back.

    Parameters
    ----------
    symbols : 1-D array of int32 range
    groups : 1-D array of uint8 or uint16, of the same length
        The group of each symbol, below `n_groups`.
    n_groups : int
        At most 65536.

    Returns
    -------
    bytes
        Self-contained: tables, counts and the coded symbols.
    """
    import constriction

    symbols = np.asarray(symbols, np.int32).ravel()
    groups = np.asarray(groups).ravel()
    if len(symbols) != len(groups):
        raise ValueError(f"{len(symbols)} symbols but {len(groups)} groups: each symbol needs one group.")
    counts = np.bincount(groups, minlength=n_groups)
    if len(counts) > n_groups or n_groups > MAX_GROUPS:
        raise ValueError(f"Groups must lie below n_groups = {n_groups}, and that at most {MAX_GROUPS}.")
    by_group = symbols if n_groups == 1 else symbols[np.argsort(groups, kind="stable")]
    parts = np.split(by_group, np.cumsum(counts[counts > 0])[:-1]) if len(symbols) else []

    out = bytearray()
    write_varint(out, n_groups)
    for count in counts:
        write_varint(out, int(count))
    if not parts:
        return bytes(out)
    shifts = [fit_shift(part) for part in parts]
    low_bits = b"".join(_pack_bits(part, np.full(len(part), shift)) for part, shift in zip(parts, shifts, strict=True))
    parts = [part >> shift for part, shift in zip(parts, shifts, strict=True)]
    tables = [fit_table(part) for part in parts]
    for table, shift in zip(tables, shifts, strict=True):
        write_varint(out, shift)
        write_signed(out, table.low)
        write_varint(out, table.size)
    steps = np.concatenate([np.diff(table.codes, prepend=0) for table in tables]).astype(np.int32)
    step_table = CountTable(int(steps.min()), np.append(code_of_count(np.bincount(steps - steps.min())), 0))
    _write_step_table(out, step_table)

    indices, excess = _split(parts, tables)
    write_varint(out, len(excess))
    coder = constriction.stream.stack.AnsCoder()     # last in, first out: what is decoded last is encoded first
    bits = b""
    if len(excess):
        lengths = np.frexp(excess.astype(np.float64))[1].astype(np.int32)
        length_table = CountTable(0, code_of_count(np.bincount(lengths, minlength=_N_LENGTHS)))
        out += length_table.codes.astype(np.uint8).tobytes()
        coder.encode_reverse(lengths, length_table.model())
        bits = _pack_bits(excess, lengths - 1)
    for index, table in zip(reversed(indices), reversed(tables), strict=True):
        if not table.is_constant:
            coder.encode_reverse(index, table.model())
    if not step_table.is_constant:
        coder.encode_reverse(steps - step_table.low, step_table.model())
    words = coder.get_compressed()
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
    limit : int
        The most symbols the caller can use; a stream that declares more is refused before memory is taken.

    Raises
    ------
    FormatError
        `data` cannot come from `encode_groups`.
    """

    def __init__(self, data: bytes | memoryview, limit: int):
        reader = ByteReader(data)
        self.n_groups = reader.varint(MAX_GROUPS)
        counts, left = np.zeros(self.n_groups, np.int64), limit
        for group in range(self.n_groups):
            counts[group] = reader.varint(left)
            left -= int(counts[group])
        self._end = np.cumsum(counts)
        self._next = self._end - counts
        self._symbols = _read_symbols(reader, counts[counts > 0]) if counts.any() else np.zeros(0, np.int32)
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
        if worth_compiling(len(self._symbols)):
            symbols = np.empty(len(flat), np.int32)
            if not _deal(flat, self._symbols, self._next, self._end, symbols):
                raise FormatError(_DAMAGED + "a group of symbols is shorter than needed.")
            return symbols.reshape(groups.shape)
        asked = np.bincount(flat, minlength=self.n_groups)
        if len(asked) > self.n_groups or np.any(self._next + asked > self._end):
            raise FormatError(_DAMAGED + "a group of symbols is shorter than needed.")
        pieces = [self._symbols[self._next[g]:self._next[g] + asked[g]] for g in np.flatnonzero(asked)]
        self._next += asked
        if len(pieces) <= 1:
            return np.concatenate([np.zeros(0, np.int32), *pieces]).reshape(groups.shape)
        symbols = np.empty(len(flat), np.int32)
        symbols[np.argsort(flat, kind="stable")] = np.concatenate(pieces)
        return symbols.reshape(groups.shape)

    def finish(self) -> None:
        """Raise FormatError unless every symbol was handed out."""
        if np.any(self._next != self._end):
            raise FormatError(_DAMAGED + "there are more symbols than voxels.")


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


def _split(parts: list[np.ndarray], tables: list[CountTable]) -> tuple[list[np.ndarray], np.ndarray]:
    """Table indices of each part's symbols, and the excesses (1 and up) of all that are escaped, in order."""
    indices, excesses = [], []
    for part, table in zip(parts, tables, strict=True):
        index = part.astype(np.int64) - table.low
        escaped = (index < 0) | (index >= table.size)
        if escaped.any():
            outside = index[escaped]
            excesses.append(np.where(outside < 0, -2 * outside, 2 * (outside - table.size) + 1))
            index[escaped] = table.size
        indices.append(index.astype(np.int32))
    return indices, np.concatenate([np.zeros(0, np.int64), *excesses])


def _unsplit(index: np.ndarray, table: CountTable, excess: np.ndarray) -> np.ndarray:
    symbols = index + np.int32(table.low)
    if len(excess):
        outside = np.where(excess & 1, table.low + table.size + (excess >> 1), table.low - (excess >> 1))
        if outside.min() < -_INT32 or outside.max() >= _INT32:
            raise FormatError(_DAMAGED + "a symbol lies outside 32 bits.")
        symbols[index == table.size] = outside
    return symbols


def _pack_bits(values: np.ndarray, widths: np.ndarray) -> bytes:
    """The `widths` low bits of each value, one value after the other, least significant first, into whole bytes."""
    if len(widths) and widths[0] == widths.max() == widths.min():
        bits = (values[:, None] >> np.arange(widths[0], dtype=values.dtype) & 1).astype(np.uint8).ravel()
    else:
        owner, place = _bit_places(widths)
        bits = (values[owner] >> place & 1).astype(np.uint8)
    return np.packbits(bits, bitorder="little").tobytes()


def _unpack_bits(reader: ByteReader, widths: np.ndarray) -> np.ndarray:
    total = int(widths.sum())
    bits = np.unpackbits(np.frombuffer(reader.take(total + 7 >> 3), np.uint8), count=total, bitorder="little")
    owner, place = _bit_places(widths)
    values = np.zeros(len(widths), np.int64)
    np.add.at(values, owner, bits.astype(np.int64) << place)
    return values


def _unpack_low_bits(reader: ByteReader, count: int, width: int) -> np.ndarray:
    """`count` values of `width` bits each, as int32."""
    packed = np.frombuffer(reader.take(count * width + 7 >> 3), np.uint8)
    bits = np.unpackbits(packed, count=count * width, bitorder="little").reshape(count, width)
    values = np.zeros(count, np.int32)
    for place in range(width):
        values |= bits[:, place].astype(np.int32) << place
    return values


def _bit_places(widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every bit, the value it belongs to and its place in it."""
    owner = np.repeat(np.arange(len(widths)), widths)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(widths) - widths, widths)


def _read_symbols(reader: ByteReader, counts: np.ndarray) -> np.ndarray:
    """All symbols, group after group; `counts` are those of the groups that have any."""
    import constriction

    shapes, shifts = [], []
    entries = 0
    for _ in counts:
        shifts.append(reader.varint(31))
        low, size = reader.signed(_INT32), reader.varint(MAX_TABLE_SIZE)
        entries += size + 1
        if size == 0 or low < -_INT32 or low + size > _INT32 or entries > 2 * MAX_TABLE_SIZE + 64 * counts.sum():
            raise FormatError(_DAMAGED + "a table of symbol counts is impossible.")
        shapes.append((low, size))
    step_table = _read_step_table(reader)
    n_escaped = reader.varint(int(counts.sum()))
    length_table = CountTable(0, _codes(reader, _N_LENGTHS)) if n_escaped else None
    words = np.frombuffer(reader.take(4 * reader.varint(reader.remaining // 4)), "<u4").astype(np.uint32)
    try:
        coder = constriction.stream.stack.AnsCoder(words)
    except ValueError as error:
        raise FormatError(_DAMAGED + "the coded symbols end in an impossible word.") from error

    steps = _take(coder, step_table, entries) + step_table.low
    sizes = np.array([size + 1 for _, size in shapes])
    codes = np.cumsum(steps)
    codes -= np.repeat(np.concatenate([[0], codes[np.cumsum(sizes)[:-1] - 1]]), sizes)
    if codes.min() < 0 or codes.max() >= MAX_CODE:
        raise FormatError(_DAMAGED + "a table of symbol counts is impossible.")
    tables = [CountTable(low, part) for (low, _), part in zip(shapes, np.split(codes, np.cumsum(sizes)[:-1]),
                                                              strict=True)]
    indices = [_take(coder, table, int(count)) for table, count in zip(tables, counts, strict=True)]
    escaped = [int(np.count_nonzero(index == table.size)) for index, table in zip(indices, tables, strict=True)]
    if sum(escaped) != n_escaped:
        raise FormatError(_DAMAGED + "the number of escaped symbols is wrong.")
    lengths = _take(coder, length_table, n_escaped) if n_escaped else np.zeros(0, np.int32)
    if n_escaped and lengths.min() == 0:
        raise FormatError(_DAMAGED + "an escaped symbol has no bits.")
    widths = np.maximum(lengths.astype(np.int64) - 1, 0)
    excess = np.split(_unpack_bits(reader, widths) | np.left_shift(np.int64(1), widths), np.cumsum(escaped)[:-1])
    if not coder.is_empty():
        raise FormatError(_DAMAGED + "there are bits after the end of the coded symbols.")
    symbols = np.empty(int(counts.sum()), np.int32)
    end = 0
    for index, table, part, shift in zip(indices, tables, excess, shifts, strict=True):
        values = symbols[end:end + len(index)]
        end += len(index)
        values[:] = _unsplit(index, table, part)
        if shift:
            values <<= shift
            values |= _unpack_low_bits(reader, len(index), shift)
    return symbols


def _write_step_table(out: bytearray, table: CountTable) -> None:
    """The steps that occur, in ascending order: the gap from the one before, and the count code."""
    used = np.flatnonzero(table.codes)
    write_signed(out, table.low)
    write_varint(out, len(used))
    for gap, code in zip(np.diff(used, prepend=0), table.codes[used], strict=True):
        write_varint(out, int(gap))
        out.append(int(code))


def _read_step_table(reader: ByteReader) -> CountTable:
    low, n_used = reader.signed(MAX_CODE), reader.varint(2 * MAX_CODE)
    place, codes = 0, np.zeros(2 * MAX_CODE, np.int64)
    for _ in range(n_used):
        place += reader.varint(2 * MAX_CODE)
        if place >= len(codes) - 1:
            break
        codes[place] = reader.take(1)[0]
    if n_used == 0 or place >= len(codes) - 1 or codes.max() >= MAX_CODE:
        raise FormatError(_DAMAGED + "a table of symbol counts is impossible.")
    return CountTable(low, codes[:place + 2])


def _codes(reader: ByteReader, count: int) -> np.ndarray:
    codes = np.frombuffer(reader.take(count), np.uint8).astype(np.int64)
    if codes.max() >= MAX_CODE:
        raise FormatError(_DAMAGED + "a table of symbol counts is impossible.")
    return codes


def _take(coder, table: CountTable, count: int) -> np.ndarray:
    """The next `count` table indices; those of a constant table take nothing from the coder."""
    if table.is_constant:
        return np.zeros(count, np.int32)
    if not COUNT_OF_CODE[table.codes].any():
        raise FormatError(_DAMAGED + "a table of symbol counts is empty.")
    return coder.decode(table.model(), count)
