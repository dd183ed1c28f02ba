"""Section 11: group streams."""

import struct
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

from .refuse import require

MOST_GROUPS = 65536
MOST_SIZE = 2**17
MOST_SHIFT = 31
MOST_BITS = 34  # of an excess
COUNT_CODES = 208
MOST_STEPS = 2 * COUNT_CODES - 1


class Bytes:
    """The bytes of a stream, taken from the front."""

    def __init__(self, data: bytes):
        self.data, self.place = data, 0

    def take(self, length: int) -> bytes:
        taken = self.data[self.place:self.place + length]
        require(len(taken) == length, "the stream ends too early")
        self.place += length
        return taken

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            require(shift < 70, "an endless varint")

    def signed(self) -> int:
        value = self.varint()
        return -(value + 1) // 2 if value % 2 else value // 2

    def count(self) -> int:
        return count_of(self.take(1)[0])

    def bits(self, widths: list[int]) -> list[int]:
        """Numbers of these widths, each lowest bit first, from the lowest bit of a byte on; whole bytes are taken."""
        number = int.from_bytes(self.take((sum(widths) + 7) // 8), "little")
        values = []
        for width in widths:
            values.append(number & ((1 << width) - 1))
            number >>= width
        return values

    def end(self) -> None:
        require(self.place == len(self.data), "something follows the stream")


def count_of(code: int) -> int:
    """The integer a count code stands for."""
    require(0 <= code < COUNT_CODES, "no such count code")
    return code if code < 8 else (8 + (code & 7)) << ((code >> 3) - 1)


class Rans:
    """The rANS stream."""

    def __init__(self, words: list[int]):
        require(not words or words[-1] != 0, "the last word is 0")
        self.words = words
        self.state = words.pop() if words else 0
        if words:
            self.state = self.state << 32 | words.pop()

    def decode(self, counts: list[int], number: int) -> list[int]:
        """That many symbols coded with these counts; nothing is taken for a single value without an escape."""
        size, total = len(counts), sum(counts)
        if size == 2 and counts[1] == 0:
            return [0] * number
        require(total > 0, "a table of counts that are all 0")
        scale = (2**24 - size) / total
        left = [int(below * scale) + x for x, below in enumerate(accumulate(counts[:-1], initial=0))] + [2**24]
        symbols = []
        for _ in range(number):
            quantile = self.state % 2**24
            symbol = bisect_right(left, quantile) - 1
            self.state = (self.state >> 24) * (left[symbol + 1] - left[symbol]) + quantile - left[symbol]
            if self.state < 2**32 and self.words:
                self.state = self.state << 32 | self.words.pop()
            symbols.append(symbol)
        return symbols

    def end(self) -> None:
        require(not self.words and self.state == 0, "the rANS stream is not used up")


class GroupStream:
    """A group stream, decoded whole; `next` hands out the symbols of each group in their order.

    Parameters
    ----------
    data : bytes or Bytes
        The stream, which ends where they end.
    n_groups : int
        How many groups it must have.
    most : int
        How many symbols can be used.
    given : function of a group, optional
        The codec's own table of the group: (shift, low, counts), or None.
    """

    def __init__(self, data: bytes | Bytes, n_groups: int, most: int, given: Callable | None = None):
        stream = data if isinstance(data, Bytes) else Bytes(data)
        groups = stream.varint()
        require(groups <= MOST_GROUPS and groups == n_groups, "another number of groups")
        sizes, tables = [], {}
        while len(sizes) < groups:
            sizes.append(stream.varint())
            if given:
                if sizes[-1] % 2:
                    tables[len(sizes) - 1] = given(len(sizes) - 1)
                sizes[-1] = (sizes[-1] + 1) // 2
                more = stream.varint() if sizes[-1] == 0 else 0
                require(more < groups, "more groups than there are")
                sizes += [0] * more
        require(len(sizes) == groups, "more groups than there are")
        require(None not in tables.values(), "a table that nobody gives")
        require(sum(sizes) <= most, "more symbols than can be used")
        found = read_groups(stream, sizes, tables) if any(sizes) else [()] * groups
        self.symbols = [iter(symbols) for symbols in found]
        self.sizes = sizes
        stream.end()

    def next(self, group: int) -> int:
        symbol = next(self.symbols[group], None)
        require(symbol is not None, "a group has too few symbols")
        return symbol

    def end(self) -> None:
        """Refuse symbols that nobody has asked for."""
        require(all(next(symbols, None) is None for symbols in self.symbols), "a group has too many symbols")


def read_groups(stream: Bytes, numbers: list[int], given: dict[int, tuple]) -> list[list[int]]:
    """The symbols of each group, of which there are so many; some groups have given tables."""
    heads, counts = {}, {}
    for group, number in enumerate(numbers):
        if number:
            if group in given:
                shift, low, counts[group] = given[group]
                heads[group] = shift, low, len(counts[group]) - 1
                continue
            heads[group] = shift, low, size = stream.varint(), stream.signed(), stream.varint()
            require(shift <= MOST_SHIFT and 1 <= size <= MOST_SIZE, "the head of a group")
            require(-2**31 <= low << shift and low + size << shift <= 2**31, "a table outside 32 bits")
    own = len(heads) > len(counts)
    entries = sum(size + 1 for group, (_, _, size) in heads.items() if group not in given)
    require(entries <= 2**18 + 64 * sum(numbers), "the tables are too long")
    lowest_step = stream.signed() if own else 0
    require(abs(lowest_step) < COUNT_CODES, "the lowest step")
    step_counts = []
    for number in range(stream.varint() if own else 0):
        gap = stream.varint()
        require(gap < MOST_STEPS and (gap > 0 or number == 0), "the step table")
        step_counts += [0] * (gap + (number == 0) - 1) + [stream.count()]
    require(bool(step_counts) == own and len(step_counts) <= MOST_STEPS, "the step table")
    step_counts.append(0)
    escapes = stream.varint()
    length_counts = [stream.count() for _ in range(MOST_BITS + 1)] if escapes else []
    words = stream.varint()
    rans = Rans(list(struct.unpack(f"<{words}I", stream.take(4 * words))))

    for group, (_, _, size) in heads.items():
        if group in counts:
            continue
        steps = [lowest_step + place for place in rans.decode(step_counts, size + 1)]
        counts[group] = [count_of(code) for code in accumulate(steps)]
    indices = {group: rans.decode(counts[group], numbers[group]) for group in heads}
    require(sum(row.count(heads[group][2]) for group, row in indices.items()) == escapes, "the number of escapes")
    lengths = rans.decode(length_counts, escapes) if escapes else []
    rans.end()

    require(0 not in lengths, "an excess of no bits")
    rest = stream.bits([length - 1 for length in lengths])
    excesses = iter([1 << (length - 1) | low for length, low in zip(lengths, rest, strict=True)])
    symbols = [[] for _ in numbers]
    for group, (shift, low, size) in heads.items():
        values = [low + index if index < size else escaped(next(excesses), low, size) for index in indices[group]]
        lows = stream.bits([shift] * len(values)) if shift else [0] * len(values)
        symbols[group] = [(value << shift) + bits for value, bits in zip(values, lows, strict=True)]
        require(all(-2**31 <= symbol < 2**31 for symbol in symbols[group]), "a symbol of more than 32 bits")
    return symbols


def escaped(excess: int, low: int, size: int) -> int:
    """The value an excess stands for, below or above those the table holds."""
    return low + size + (excess - 1) // 2 if excess % 2 else low - excess // 2
