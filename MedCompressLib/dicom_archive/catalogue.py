"""The catalogue of an archive: names, structures and values of its files, coded together.

All values that stand at the same place of the structure make a column (`columns`), whatever file they are of; the
columns follow each other in one text that LZMA compresses. So an element that is the same in all files costs nothing
but its first occurrence, and one that counts costs a few bytes for all files together.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..entropy.varint import ByteReader, write_varint
from ..errors import FormatError, UnsupportedError
from .columns import decode_column, encode_column
from .elements import CLOSE, HAS_VALUE, IMAGE, OPEN, OPEN_UNDEFINED, Step

TEXT_LIMIT = 1 << 31
FILE_LIMIT = 1 << 20
VALUE_COUNT_LIMIT = 1 << 26
# Of all values of one file together, which a column may hold but once.
FILE_BYTES_LIMIT = 1 << 33
_STEP_LIMIT = 1 << 24

# Raw LZMA1 with an end mark; `lc` is 4 because the text is bytes of mixed kinds without any alignment.
_FILTERS = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 25, "lc": 4, "lp": 0,
             "pb": 0}]
_HEADER_SIZES = (0, 4, 6, 8)


@dataclass
class Entry:
    """One file of an archive.

    Attributes
    ----------
    name : bytes
        Path within the archived folder, parts divided by "/".
    steps : list of Step
    values : list of bytes
        One for each step that has one; of an `IMAGE` step what follows the image.
    crc : int
        CRC-32C of the file.
    """

    name: bytes
    steps: list[Step]
    values: list[bytes] = field(repr=False)
    crc: int


def encode_entries(entries: list[Entry]) -> tuple[bytes, bytes]:
    """The text (not yet compressed) that describes files, and the bytes put aside because they do not get smaller."""
    if sum(len(entry.values) for entry in entries) > VALUE_COUNT_LIMIT or len(entries) > FILE_LIMIT:
        raise UnsupportedError("There are more DICOM elements than one archive may hold; make several archives.")
    structures: dict[tuple[Step, ...], int] = {}
    chosen = [structures.setdefault(tuple(entry.steps), len(structures)) for entry in entries]
    # Values of the items of a sequence belong in one column where items are alike, as the frames of an enhanced file
    # are, and in a column for each item where only files are.
    candidates = [_encode(entries, list(structures), chosen, by_item) for by_item in (False, True)]
    return min(candidates, key=lambda candidate: len(compress(candidate[0])) + len(candidate[1]))


def decode_entries(text: ByteReader, opaque: memoryview) -> list[Entry]:
    """The files again.

    Raises
    ------
    FormatError
        The text does not describe files.
    """
    count = text.varint(FILE_LIMIT)
    by_item = bool(text.varint(1))
    structures = _read_structures(text)
    aside = ByteReader(opaque)

    def column(length: int) -> list[bytes]:
        return decode_column(text, length, aside.take) if length else []

    names, crcs, chosen = column(count), column(count), column(count)
    if any(len(crc) != 4 for crc in crcs):
        raise FormatError("The archive is damaged: a checksum in its catalogue is not one.")
    numbers = [int.from_bytes(number, "little") for number in chosen]
    if any(number >= len(structures) for number in numbers):
        raise FormatError("The archive is damaged: a file in its catalogue has no structure.")
    uses = [0] * len(structures)
    for number in numbers:
        uses[number] += 1
    lengths: dict[tuple, int] = {}
    keys = [list(_keys(steps, by_item)) for steps in structures]
    if sum(len(mine) * used for mine, used in zip(keys, uses, strict=True)) > VALUE_COUNT_LIMIT:
        raise FormatError("The archive declares more DICOM elements than the format allows.")
    for mine, used in zip(keys, uses, strict=True):
        for key in mine:
            lengths[key] = lengths.get(key, 0) + used
    columns = {key: iter(column(length)) for key, length in lengths.items()}
    if aside.remaining:
        raise FormatError("The archive is damaged: its catalogue leaves some of its bytes without a place.")
    entries = []
    for name, number, crc in zip(names, numbers, crcs, strict=True):
        values = [next(columns[key]) for key in keys[number]]
        if sum(map(len, values)) > FILE_BYTES_LIMIT:
            raise FormatError("The archive declares a file that is larger than the format allows.")
        entries.append(Entry(name, structures[number], values, int.from_bytes(crc, "little")))
    return entries


def compress(text: bytes) -> bytes:
    """LZMA as FORMAT.md has it."""
    return lzma.compress(text, format=lzma.FORMAT_RAW, filters=_FILTERS)


def expand(data: bytes, length: int) -> bytes:
    """The inverse of `compress`, for a text of known length."""
    try:
        decoder = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_FILTERS)
        text = decoder.decompress(data, max_length=length + 1)
    except lzma.LZMAError as error:
        raise FormatError(f"The catalogue of the archive cannot be expanded: {error}.") from None
    if len(text) != length or not decoder.eof or decoder.unused_data:
        raise FormatError("The catalogue of the archive does not have the length that the file states.")
    return text


def _encode(entries: list[Entry], structures: list[tuple[Step, ...]], chosen: list[int],
            by_item: bool) -> tuple[bytes, bytes]:
    out, opaque = bytearray(), bytearray()
    write_varint(out, len(entries))
    out.append(by_item)
    _write_structures(out, structures)
    if entries:
        out += encode_column([entry.name for entry in entries], opaque)
        out += encode_column([entry.crc.to_bytes(4, "little") for entry in entries], opaque)
        out += encode_column([number.to_bytes(4, "little") for number in chosen], opaque)
    columns: dict[tuple, list[bytes]] = {}
    keys = [list(_keys(steps, by_item)) for steps in structures]
    for mine in keys:
        columns |= {key: [] for key in mine if key not in columns}
    for entry, number in zip(entries, chosen, strict=True):
        for key, value in zip(keys[number], entry.values, strict=True):
            columns[key].append(value)
    for values in columns.values():
        out += encode_column(values, opaque)
    return bytes(out), bytes(opaque)


def _keys(steps: list[Step] | tuple[Step, ...], by_item: bool) -> Iterator[tuple]:
    """The column of each value: the headers it stands in and its own; with `by_item` the numbers of items too."""
    path: list[tuple[bytes, int]] = []
    places: list[int] = [0]
    for step in steps:
        if step.kind == CLOSE:
            path.pop()
            places.pop()
            continue
        if step.kind in HAS_VALUE:
            yield (*path, (step.header, step.kind == IMAGE))
        if step.kind in (OPEN, OPEN_UNDEFINED):
            path.append((step.header, places[-1] if by_item else 0))
            places[-1] += 1
            places.append(0)


def _write_structures(out: bytearray, structures: list[tuple[Step, ...]]) -> None:
    write_varint(out, len(structures))
    for steps in structures:
        write_varint(out, len(steps))
        out += bytes(step.kind | _HEADER_SIZES.index(len(step.header)) << 3 | step.wide << 5 | step.big << 6
                     for step in steps)
        out += b"".join(step.header for step in steps)


def _read_structures(text: ByteReader) -> list[list[Step]]:
    structures = []
    for _ in range(text.varint(FILE_LIMIT)):
        codes = bytes(text.take(text.varint(_STEP_LIMIT)))
        depth, steps = 0, []
        for code in codes:
            kind = code & 7
            if code >> 7 or kind > IMAGE:
                raise FormatError("The archive is damaged: a structure in its catalogue has an unknown step.")
            depth += (kind in (OPEN, OPEN_UNDEFINED)) - (kind == CLOSE)
            if depth < 0:
                raise FormatError("The archive is damaged: a structure in its catalogue closes what is not open.")
            header = bytes(text.take(_HEADER_SIZES[code >> 3 & 3]))
            steps.append(Step(kind, header, bool(code >> 5 & 1), bool(code >> 6 & 1)))
        structures.append(steps)
    return structures
