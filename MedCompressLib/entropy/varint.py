"""Integers of varying size: seven bits a byte, least significant first, the top bit set on all but the last (LEB128).

Signed integers are folded first (0, -1, 1, -2, ... become 0, 1, 2, 3, ...).
"""

from __future__ import annotations

from ..errors import FormatError


def write_varint(out: bytearray, value: int) -> None:
    """Append `value` (0 or more)."""
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def write_signed(out: bytearray, value: int) -> None:
    """Append `value` of either sign."""
    write_varint(out, 2 * value if value >= 0 else -2 * value - 1)


class ByteReader:
    """Takes integers and byte runs off the front of `data`; raises FormatError when they are not there."""

    def __init__(self, data: bytes | memoryview):
        self._data = memoryview(data)
        self._at = 0

    @property
    def remaining(self) -> int:
        return len(self._data) - self._at

    def varint(self, limit: int) -> int:
        """The next integer; FormatError when it is above `limit`."""
        value = shift = 0
        while True:
            if self._at >= len(self._data) or shift > 63:
                raise FormatError("The compressed data is damaged: a number in it is cut off or too long.")
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if value > limit:
            raise FormatError(f"The compressed data is damaged: it declares {value} where {limit} is the most.")
        return value

    def signed(self, limit: int) -> int:
        """The next signed integer; FormatError when its magnitude is above `limit`."""
        folded = self.varint(2 * limit)
        return folded >> 1 if folded & 1 == 0 else -(folded + 1 >> 1)

    def take(self, count: int) -> memoryview:
        """The next `count` bytes."""
        if count > self.remaining:
            raise FormatError(f"The compressed data is damaged: {count} bytes are declared, {self.remaining} are left.")
        taken = self._data[self._at:self._at + count]
        self._at += count
        return taken
