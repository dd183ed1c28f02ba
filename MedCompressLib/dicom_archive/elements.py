"""From the bytes of a DICOM file to its structure and its values, and back to the very same bytes.

The *structure* is a list of `Step`s: which element follows which, how its header is written, what is nested in what.
The *values* are the byte runs between, one for each step that has one. Files of a series mostly share one structure,
and their values differ in few places (see `columns`). Nothing is interpreted beyond what is needed to find the borders
of elements, so nothing can be lost: `parse` keeps everything that it does not understand as one value, to the end of
the file.

Encoding rules: DICOM PS3.5, sections 7.1 to 7.5, and A.4 for encapsulated pixel data.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import FormatError

# What a step is: an element with a value; a sequence or item with its length; one without; the end of either; bytes
# without a header; an element whose value is an image in a stack, followed by what stands behind the image.
LEAF, OPEN, OPEN_UNDEFINED, CLOSE, BARE, IMAGE = range(6)
HAS_VALUE = (LEAF, BARE, IMAGE)

DEPTH_LIMIT = 32
_UNDEFINED = 0xFFFFFFFF
_MAGIC, _MAGIC_AT = b"DICM", 128
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_TRANSFER_SYNTAX = (0x0002, 0x0010)
_PIXEL_DATA = (0x7FE0, 0x0010)
# Pixel Data, Float Pixel Data, Double Float Pixel Data.
PIXEL_DATA = (_PIXEL_DATA, (0x7FE0, 0x0008), (0x7FE0, 0x0009))
_BIG_ENDIAN, _DEFLATED = b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"


@dataclass(frozen=True)
class Step:
    """One step of a structure.

    Attributes
    ----------
    kind : int
        `LEAF`, `OPEN`, `OPEN_UNDEFINED`, `CLOSE`, `BARE` or `IMAGE`.
    header : bytes
        Tag, and where the file has them the value representation and two reserved bytes; empty for `CLOSE` and `BARE`.
    wide : bool
        Whether the length after the header takes four bytes, not two.
    big : bool
        Whether numbers are big-endian.
    """

    kind: int
    header: bytes = b""
    wide: bool = False
    big: bool = False

    @property
    def tag(self) -> tuple[int, int]:
        """Group and element."""
        order = "big" if self.big else "little"
        return int.from_bytes(self.header[:2], order), int.from_bytes(self.header[2:4], order)

    def length_field(self, length: int) -> bytes:
        """The length as the file has it."""
        return length.to_bytes(4 if self.wide else 2, "big" if self.big else "little")


_CLOSE = Step(CLOSE)
_BARE = Step(BARE)


def parse(data: bytes) -> tuple[list[Step], list[bytes]]:
    """Structure and values of a file; for anything that is not DICOM, the whole of it as one value.

    Guarantees that `rebuild` of the result equals `data`.
    """
    steps, values = _Parser(data).run()
    try:
        same = rebuild(steps, values) == data
    except (FormatError, OverflowError):
        same = False
    return (steps, values) if same else ([_BARE], [data])


def has_pixel_data(steps: list[Step]) -> bool:
    """Whether a file has pixel data, outside all sequences, and that to its end."""
    depth = 0
    for place, step in enumerate(steps):
        if depth == 0 and step.kind in (LEAF, OPEN_UNDEFINED) and step.tag in PIXEL_DATA:
            if step.kind == LEAF:
                return True
            end = next(later for later in range(place, len(steps)) if steps[later].kind == CLOSE)
            return steps[end - 1].kind == LEAF and steps[end - 1].tag == _SEQUENCE_END
        depth += (step.kind in (OPEN, OPEN_UNDEFINED)) - (step.kind == CLOSE)
    return False


def rebuild(steps: list[Step], values: list[bytes]) -> bytes:
    """The bytes of a file.

    Raises
    ------
    FormatError
        The steps do not close what they open, or a length does not fit into its field.
    """
    out = bytearray()
    opened: list[tuple[Step, int]] = []
    remaining = iter(values)
    for step in steps:
        if step.kind == CLOSE:
            if not opened:
                raise FormatError("The structure of a DICOM file closes a sequence that it did not open.")
            container, start = opened.pop()
            if container.kind == OPEN:
                field = _length_field(container, len(out) - start)
                out[start - len(field):start] = field
            continue
        out += step.header
        if step.kind in (OPEN, OPEN_UNDEFINED):
            if not step.wide:
                raise FormatError("The structure of a DICOM file has a sequence with a short length.")
            out += step.length_field(_UNDEFINED)
            opened.append((step, len(out)))
            continue
        value = next(remaining)
        if step.kind != BARE:
            out += _length_field(step, len(value))
        out += value
    if opened:
        raise FormatError("The structure of a DICOM file leaves a sequence open.")
    return bytes(out)


def _length_field(step: Step, length: int) -> bytes:
    if length > (_UNDEFINED - 1 if step.wide else 0xFFFF):
        raise FormatError("A value in a DICOM file is longer than its header can say.")
    return step.length_field(length)


class _Parser:
    """Walks through one file; stops where it does not understand."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._explicit, self._big = True, False
        self._steps: list[Step] = []
        self._values: list[bytes] = []
        # For every open sequence or item: its end (None where undefined) and its kind, see `_Open`.
        self._open: list[_Open] = []

    def run(self) -> tuple[list[Step], list[bytes]]:
        if self._data[_MAGIC_AT:_MAGIC_AT + len(_MAGIC)] == _MAGIC:
            self._add(_BARE, self._take(_MAGIC_AT + len(_MAGIC)))
            self._file_meta()
        if not self._deflated():
            self._guess_explicit()
            while self._element():
                pass
        while self._open:  # cut off within: `parse` finds out that the lengths are wrong
            self._close()
        if self._at < len(self._data):
            self._add(_BARE, self._data[self._at:])
        return self._steps, self._values

    def _file_meta(self) -> None:
        """Group 2 is always explicit, little endian."""
        while self._data[self._at:self._at + 2] == b"\x02\0" and self._element():
            pass
        self._big = self._syntax() == _BIG_ENDIAN

    def _syntax(self) -> bytes:
        """The transfer syntax; empty where none is given."""
        values = iter(self._values)
        for step in self._steps:
            value = next(values) if step.kind in HAS_VALUE else b""
            if step.kind == LEAF and step.tag == _TRANSFER_SYNTAX:
                return value.rstrip(b"\0 ")
        return b""

    def _deflated(self) -> bool:
        return self._syntax() == _DEFLATED

    def _guess_explicit(self) -> None:
        """The first element shows whether value representations are written, whatever the file says of itself."""
        self._explicit = _is_vr(self._data[self._at + 4:self._at + 6])

    def _element(self) -> bool:
        """Take the next element or end of one; False where there is none that is understood."""
        while self._open and self._open[-1].end is not None and self._at >= self._open[-1].end:
            if self._at > self._open[-1].end:
                return False
            self._close()
        header = self._header()
        if header is None:
            return False
        step, length, vr = header
        inside = self._open[-1] if self._open else None
        if step.tag in (_ITEM_END, _SEQUENCE_END):
            if inside is None or inside.end is not None or length or (step.tag == _ITEM_END) != inside.is_item:
                return False
            self._skip_header(step)
            self._add(step, b"")
            self._close()
            return True
        is_item = step.tag == _ITEM
        if is_item != (inside is not None and not inside.is_item):
            return False  # items stand in sequences, all else elsewhere
        nested = inside.holds_items_of_elements if is_item else self._is_sequence(step, length, vr)
        end = self._at + len(step.header) + (4 if step.wide else 2) + length
        limit = len(self._data) if inside is None or inside.end is None else inside.end
        if length != _UNDEFINED and end > limit:
            return False
        if not nested:
            if length == _UNDEFINED:
                return False
            self._skip_header(step)
            self._add(step, self._take(length))
            return True
        if len(self._open) >= DEPTH_LIMIT:
            return False
        kind = OPEN_UNDEFINED if length == _UNDEFINED else OPEN
        self._skip_header(step)
        self._steps.append(Step(kind, step.header, step.wide, step.big))
        explicit_before = self._explicit
        if vr == b"UN":
            self._explicit = False  # PS3.5 6.2.2: of unknown representation means implicit within
        fragments = not is_item and step.tag == _PIXEL_DATA
        self._open.append(_Open(None if length == _UNDEFINED else end, is_item, not fragments, explicit_before))
        return True

    def _is_sequence(self, step: Step, length: int, vr: bytes) -> bool:
        if length == _UNDEFINED or vr == b"SQ":
            return True
        if self._explicit:
            return False
        start = self._at + len(step.header) + 4
        item = b"\xff\xfe\xe0\x00" if self._big else b"\xfe\xff\x00\xe0"
        return length >= 8 and self._data[start:start + 4] == item

    def _header(self) -> tuple[Step, int, bytes] | None:
        """The header here, the length it declares, and the value representation if it has one."""
        start = self._data[self._at:self._at + 12]
        if len(start) < 8:
            return None
        order = "big" if self._big else "little"
        delimits = int.from_bytes(start[:2], order) == _ITEM[0]
        vr = start[4:6] if self._explicit and not delimits else b""
        if vr and not _is_vr(vr):
            return None
        wide = not vr or vr in _LONG_VRS
        size = 8 if vr and wide else 6 if vr else 4
        field = start[size:size + (4 if wide else 2)]
        if len(field) < (4 if wide else 2):
            return None
        return Step(LEAF, start[:size], wide, self._big), int.from_bytes(field, order), vr

    def _skip_header(self, step: Step) -> None:
        self._at += len(step.header) + (4 if step.wide else 2)

    def _take(self, length: int) -> bytes:
        self._at += length
        return self._data[self._at - length:self._at]

    def _add(self, step: Step, value: bytes) -> None:
        self._steps.append(step)
        self._values.append(value)

    def _close(self) -> None:
        self._explicit = self._open.pop().explicit_before
        self._steps.append(_CLOSE)


@dataclass(frozen=True)
class _Open:
    end: int | None
    is_item: bool
    holds_items_of_elements: bool  # not so where the items are fragments of pixel data
    explicit_before: bool


def _is_vr(text: bytes) -> bool:
    return len(text) == 2 and all(ord("A") <= letter <= ord("Z") for letter in text)
