"""A column: the values that one element has in the files of a series, one after the other, coded compactly.

Most columns are constant. Many of the others count: positions, instance numbers, times, the last part of a UID, the
names of the files. Such texts are cut into numbers and what stands between; where that is the same in all values, each
number is a column of integers, of which the differences are coded. Everything is undone and compared before it is
used; whatever does not come back as it was is stored as it is.
"""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Callable
from decimal import Decimal

from ..entropy.varint import ByteReader, write_signed, write_varint
from ..errors import FormatError

CONSTANT, PLAIN, NUMBERS, OPAQUE = range(4)
# How a number is written: with as many digits as there are, with a fixed number of digits (leading zeros), as a decimal
# of a fixed number of places, as a decimal without zeros at its end.
_SHORTEST, _PADDED, _FIXED_POINT, _STRIPPED_POINT = range(4)

VALUE_LIMIT = 1 << 32
COUNT_LIMIT = 1 << 28
_NUMBER_LIMIT = 1 << 62
_PADS = (b"", b" ", b"\0")
# Values that hardly get smaller, as compressed images do not, do not go through LZMA.
_OPAQUE_BYTES, _OPAQUE_SHARE = 4096, 0.99

_DIGITS = re.compile(rb"\d{1,17}|\D+")
_DECIMALS = re.compile(rb"-?\d{1,9}(?:\.\d{1,17})?(?![\d.])|[^\d-]+|.", re.DOTALL)
_DECIMAL = re.compile(rb"-?\d{1,9}(?:\.\d{1,17})?")


def encode_column(values: list[bytes], opaque: bytearray) -> bytes:
    """Code values, at least one; bytes that would not get smaller are appended to `opaque` instead."""
    out = bytearray()
    if all(value == values[0] for value in values):
        if not _incompressible(values[:1]):
            out.append(CONSTANT)
            write_varint(out, len(values[0]))
            return bytes(out + values[0])
    elif (numbers := _best_numbers(values)) is not None:
        return bytes([NUMBERS]) + numbers
    kind = OPAQUE if _incompressible(values) else PLAIN
    out.append(kind)
    lengths = [len(value) for value in values]
    write_integers(out, lengths)
    return bytes(out) + _put(b"".join(values), kind, opaque)


def decode_column(reader: ByteReader, count: int, take_opaque: Callable[[int], bytes]) -> list[bytes]:
    """The `count` values again. `take_opaque(n)` returns the next n of the bytes that were put aside."""
    kind = reader.varint(OPAQUE)
    if kind == CONSTANT:
        return [bytes(reader.take(reader.varint(VALUE_LIMIT)))] * count
    if kind == NUMBERS:
        return _decode_numbers(reader, count)
    lengths = read_integers(reader, count)
    if any(not 0 <= length <= VALUE_LIMIT for length in lengths):
        raise FormatError("The archive is damaged: it declares a value of impossible length.")
    take = take_opaque if kind == OPAQUE else reader.take
    return [bytes(take(length)) for length in lengths]


def _put(data: bytes, kind: int, opaque: bytearray) -> bytes:
    if kind == PLAIN:
        return data
    opaque += data
    return b""


def _incompressible(values: list[bytes]) -> bool:
    data = b"".join(values)
    most = _OPAQUE_SHARE * len(data)
    return (len(data) >= _OPAQUE_BYTES and len(zlib.compress(data, 1)) > most
            and len(lzma.compress(data, preset=0)) > most)


# Numbers in texts -------------------------------------------------------------------------------------------------
def _best_numbers(values: list[bytes]) -> bytes | None:
    """The shorter of the two ways to see numbers in texts, if one applies and beats the texts themselves."""
    if max(map(len, values)) > 1024:
        return None
    best, least = None, len(zlib.compress(b"".join(values), 9)) + 1
    for pattern in (_DIGITS, _DECIMALS):
        coded = _encode_numbers(values, pattern)
        if coded is not None and (size := len(zlib.compress(coded, 9))) < least:
            best, least = coded, size
    return best


def _encode_numbers(values: list[bytes], pattern: re.Pattern) -> bytes | None:
    for pad, character in enumerate(_PADS):
        texts = [_unpadded(value, character) for value in values]
        rows = [pattern.findall(text) for text in texts]
        if len({len(row) for row in rows}) != 1 or not rows[0]:
            continue
        out = bytearray([pad])
        write_varint(out, len(rows[0]))
        if all(_encode_part(list(part), pattern is _DECIMALS, out) for part in zip(*rows, strict=True)) \
                and _decode_numbers(ByteReader(out), len(values)) == values:
            return bytes(out)
    return None


def _unpadded(value: bytes, character: bytes) -> bytes:
    return value[:-1] if character and value.endswith(character) and len(value) % 2 == 0 else value


def _encode_part(part: list[bytes], decimals: bool, out: bytearray) -> bool:
    """Append the code of one part of the texts: a separator (style 0) or numbers (style + 1)."""
    if all(text == part[0] for text in part):
        out.append(0)
        write_varint(out, len(part[0]))
        out += part[0]
        return True
    if decimals:
        if not all(_DECIMAL.fullmatch(text) for text in part):
            return False
        places = [len(text.partition(b".")[2]) for text in part]
        style, detail = (_FIXED_POINT if len(set(places)) == 1 else _STRIPPED_POINT), max(places)
        numbers = [int(Decimal(text.decode()).scaleb(detail)) for text in part]
    else:
        if not all(text.isdigit() for text in part):
            return False
        widths = {len(text) for text in part}
        style, detail = (_PADDED, widths.pop()) if len(widths) == 1 else (_SHORTEST, 0)
        numbers = [int(text) for text in part]
    if any(abs(number) >= _NUMBER_LIMIT >> 2 for number in numbers):
        return False
    out.append(style + 1)
    write_varint(out, detail)
    write_integers(out, numbers)
    return True


def _decode_numbers(reader: ByteReader, count: int) -> list[bytes]:
    pad = _PADS[reader.varint(len(_PADS) - 1)]
    texts = [b""] * count
    for _ in range(reader.varint(1 << 10)):
        style = reader.varint(_STRIPPED_POINT + 1)
        if style == 0:
            separator = bytes(reader.take(reader.varint(1 << 10)))
            texts = [text + separator for text in texts]
            continue
        detail = reader.varint(64)
        numbers = read_integers(reader, count)
        texts = [text + _written(number, style - 1, detail) for text, number in zip(texts, numbers, strict=True)]
    return [text + pad if pad and len(text) % 2 else text for text in texts]


def _written(number: int, style: int, detail: int) -> bytes:
    if style == _SHORTEST:
        return b"%d" % number
    if style == _PADDED:
        return b"%0*d" % (detail, number)
    digits = b"%0*d" % (detail + 1, abs(number))
    whole, fraction = digits[:len(digits) - detail], digits[len(digits) - detail:]
    if style == _STRIPPED_POINT:
        fraction = fraction.rstrip(b"0")
    return (b"-" if number < 0 else b"") + whole + (b"." + fraction if fraction else b"")


# Integers ---------------------------------------------------------------------------------------------------------
def write_integers(out: bytearray, numbers: list[int]) -> None:
    """Append integers as they are, as differences, or as differences of those: whatever gives the smallest numbers.

    All must be below 2**60 in magnitude.
    """
    first = _differences(numbers)
    rows = (numbers, first, first[:1] + _differences(first[1:]))
    order = min(range(len(rows)), key=lambda order: sum(number.bit_length() for number in rows[order]))
    out.append(order)
    for number in rows[order]:
        write_signed(out, number)


def _differences(row: list[int]) -> list[int]:
    return [after - before for before, after in zip([0, *row], row, strict=False)]


def read_integers(reader: ByteReader, count: int) -> list[int]:
    """The `count` integers that `write_integers` wrote."""
    order = reader.varint(2)
    row = [reader.signed(_NUMBER_LIMIT) for _ in range(count)]
    if order == 2:
        row = row[:1] + _sums(row[1:])
    return _sums(row) if order else row


def _sums(row: list[int]) -> list[int]:
    total, out = 0, []
    for number in row:
        total += number
        out.append(total)
    return out
