"""Section 15: archives, from the bytes to the files they hold."""

import hashlib
import lzma
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, islice

import numpy as np

from . import container
from .checksums import crc32c
from .decode import decode_frames
from .entropy import Bytes
from .refuse import RefusedError, require

FIXED = struct.Struct("<8s HH I QQQ I Q 32s I")
MOST_TEXT, MOST_ASIDE, MOST_FILES, MOST_VALUES = 2**31, 2**34, 2**20, 2**26
MOST_PARTS, MOST_SAME, MOST_DIGITS, MOST_INTEGER = 1024, 1024, 64, 2**62
LZMA = [{"id": lzma.FILTER_LZMA1, "lc": 4, "lp": 0, "pb": 0, "dict_size": 2**25}]
LEAF, OPEN, OPEN_UNDEFINED, CLOSE, BARE, IMAGE = range(6)
HEADER_SIZES = (0, 4, 6, 8)
PADS = (b"", b" ", b"\0")


def restore(data: bytes) -> dict[str, bytes]:
    """The files of an archive by their names, or `RefusedError`."""
    require(data[:8] == container.MAGIC and len(data) >= FIXED.size, "the fixed part is missing")
    (_, version, kind, catalogue_crc, catalogue_length, text_length, aside_length, aside_crc, file_length, digest,
     fixed_crc) = FIXED.unpack_from(data)
    require((version, kind) == (1, container.ARCHIVE), "this version or kind is unknown")
    require(fixed_crc == crc32c(data[:FIXED.size - 4]) and file_length == len(data), "the fixed part is damaged")
    require(text_length <= MOST_TEXT and aside_length <= MOST_ASIDE, "a section beyond its limit")
    rest = Bytes(data[FIXED.size:])
    catalogue, aside = rest.take(catalogue_length), rest.take(aside_length)
    require(crc32c(catalogue) == catalogue_crc and crc32c(aside) == aside_crc, "a section is damaged")
    text = Text(Bytes(unpack(catalogue, text_length)), Bytes(aside))
    images = [stack.images(rest) for stack in text.stacks]
    rest.end()
    files = {}
    for name, checksum, file in text.files(images):
        require(crc32c(file) == checksum, "a file has another checksum")
        files[name] = file
    require(not any(next(left, None) for left in images), "an image without a file")
    require(hashlib.sha256(b"".join(hashlib.sha256(file).digest() for file in files.values())).digest() == digest,
            "the files are others than they should be")
    return files


def unpack(catalogue: bytes, length: int) -> bytes:
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=LZMA)
    try:
        text = decompressor.decompress(catalogue, length + 1)
    except lzma.LZMAError as error:
        raise RefusedError(f"no LZMA: {error}") from error
    require(len(text) == length and decompressor.eof and not decompressor.unused_data, "a text of another length")
    return text


def integers(text: Bytes, number: int) -> list[int]:
    """Integers(n)."""
    order = text.varint()
    require(order <= 2, "differences of an unknown order")
    values = [text.signed() for _ in range(number)]
    require(all(-MOST_INTEGER <= value <= MOST_INTEGER for value in values), "an integer beyond the limit")
    if order == 2:
        values = [*values[:1], *accumulate(values[1:])]
    return list(accumulate(values)) if order else values


@dataclass
class Step:
    """A step of a structure."""

    kind: int
    header: bytes
    wide: bool
    big: bool

    @property
    def has_value(self) -> bool:
        return self.kind in (LEAF, BARE, IMAGE)

    def length(self, number: int) -> bytes:
        require(number < 2**(32 if self.wide else 16), "a length beyond its field")
        return number.to_bytes(4 if self.wide else 2, "big" if self.big else "little")


class Stack:
    """Images of one layout."""

    def __init__(self, text: Bytes):
        self.size, kind, self.big, self.planar, self.samples = text.take(5)
        require(self.size in (1, 2, 4, 8) and kind <= 2 and 1 <= self.samples <= 4, "the layout of images")
        self.dtype = f"{'uif'[kind]}{self.size}"
        self.rows, self.columns, _, _ = (text.varint() for _ in range(4))
        self.slices = integers(text, text.varint())
        self.repeats, self.bits, self.highest, self.zeros, volumes = (text.varint() for _ in range(5))
        require(volumes in (1, 2), "the number of volumes")
        self.lengths = [text.varint() for _ in range(volumes)]
        self.count = max(self.slices, default=-1) + 1
        require(self.slices and self.repeats > 0 and self.count % self.repeats == 0, "the slices of a stack")

    def images(self, rest: Bytes) -> Iterator[bytes]:
        """The images in the order of their slices; the volumes are taken from the bytes at once."""
        depth = self.count // self.repeats
        volumes = [decode_frames(container.read(rest.take(length))) for length in self.lengths]
        shape = self.repeats * self.samples, depth, self.rows, self.columns
        require(all(volume.shape == shape for volume in volumes), "a volume of another shape")
        require(volumes[0].dtype == self.dtype and volumes[-1].dtype.kind in (volumes[0].dtype.kind, "u"), "its type")
        words = self.words(*volumes).reshape(self.repeats, self.samples, *shape[1:])
        return (self.image(words[place // depth, :, place % depth]) for place in self.slices)

    def words(self, volume: np.ndarray, extra: np.ndarray | None = None) -> np.ndarray:
        """The words of all images, in the shape of the volume."""
        words = volume.view(f"u{self.size}")
        if self.bits == 8 * self.size:
            return words
        if self.zeros:
            words = words & words.dtype.type((1 << self.bits) - 1)
        words = words << words.dtype.type(self.highest + 1 - self.bits)
        return words if extra is None else words ^ extra

    def image(self, words: np.ndarray) -> bytes:
        """The bytes of an image, given as words (samples, rows, columns)."""
        ordered = words if self.planar else np.moveaxis(words, 0, -1)
        return ordered.astype(ordered.dtype.newbyteorder(">" if self.big else "<")).tobytes()


class Text:
    """What the catalogue says, with the values that stand aside."""

    def __init__(self, text: Bytes, aside: Bytes):
        self.stacks = [Stack(text) for _ in range(text.varint())]
        image_steps = text.varint()
        self.image_steps = list(zip(integers(text, image_steps), integers(text, image_steps), strict=True))
        count = text.varint()
        require(count <= MOST_FILES, "too many files")
        self.by_item = text.varint()
        require(self.by_item <= 1, "keys of an unknown kind")
        structures = [read_structure(text) for _ in range(text.varint())]
        names, checksums, numbers = (read_column(text, aside, count) for _ in range(3)) if count else ([], [], [])
        self.names = [name.decode("utf-8", "surrogateescape") for name in names]
        self.checksums = [int.from_bytes(checksum, "little") for checksum in checksums]
        require(all(int.from_bytes(number, "little") < len(structures) for number in numbers), "an unknown structure")
        self.structures = [structures[int.from_bytes(number, "little")] for number in numbers]
        check_names(self.names)

        sizes = {key: 0 for structure in structures for key in self.keys(structure)}
        for structure in self.structures:
            for key in self.keys(structure):
                sizes[key] += 1
        require(sum(sizes.values()) <= MOST_VALUES, "too many values")
        self.columns = {key: iter(read_column(text, aside, size)) for key, size in sizes.items() if size}
        text.end()
        aside.end()

    def keys(self, structure: list[Step]) -> list[tuple]:
        """The key of each value of a structure."""
        keys, path, opened = [], [], [0]
        for step in structure:
            if step.kind in (OPEN, OPEN_UNDEFINED):
                path.append((step.header, opened[-1] if self.by_item else 0))
                opened[-1] += 1
                opened.append(0)
            elif step.kind == CLOSE:
                path.pop()
                opened.pop()
            else:
                keys.append((*path, step.header, step.kind == IMAGE))
        return keys

    def files(self, images: list[Iterator[bytes]]) -> Iterator[tuple[str, int, bytes]]:
        """Name, checksum and bytes of each file."""
        image_steps = iter(self.image_steps)
        for name, checksum, structure in zip(self.names, self.checksums, self.structures, strict=True):
            values = [next(self.columns[key]) for key in self.keys(structure)]
            yield name, checksum, rebuild(structure, iter(values), image_steps, images)
        require(next(image_steps, None) is None, "an image step too many")


def check_names(names: list[str]) -> None:
    taken = set(names)
    require(len(taken) == len(names), "a name is repeated")
    for name in names:
        parts = name.split("/")
        require(not {"", ".", ".."} & set(parts) and "\0" not in name, "a name that leads elsewhere")
        require(not any("/".join(parts[:n]) in taken for n in range(1, len(parts))), "a name that is a folder too")


def read_structure(text: Bytes) -> list[Step]:
    codes = text.take(text.varint())
    require(all(code < 128 for code in codes), "an unknown bit of a step")
    steps = [Step(code & 7, text.take(HEADER_SIZES[code >> 3 & 3]), bool(code & 32), bool(code & 64)) for code in codes]
    depth = images = 0
    for step in steps:
        require(step.kind <= IMAGE, "an unknown step")
        require(step.kind != IMAGE or depth == 0, "an image within an open step")
        images += step.kind == IMAGE
        depth += (step.kind in (OPEN, OPEN_UNDEFINED)) - (step.kind == CLOSE)
        require(depth >= 0 and images <= 1, "steps that close what is not open, or two images")
    require(depth == 0, "an open step is not closed")
    return steps


def rebuild(structure: list[Step], values: Iterator[bytes], image_steps: Iterator[tuple[int, int]],
            images: list[Iterator[bytes]]) -> bytes:
    """The bytes of a file."""
    open_steps: list[Step] = []
    parts = [b""]  # outside, and of each open step
    for step in structure:
        if step.kind in (OPEN, OPEN_UNDEFINED):
            open_steps.append(step)
            parts.append(b"")
        elif step.kind == CLOSE:
            opened, inside = open_steps.pop(), parts.pop()
            length = opened.length(len(inside)) if opened.kind == OPEN else b"\xff" * 4
            parts[-1] += opened.header + length + inside
        elif step.kind == BARE:
            parts[-1] += next(values)
        else:
            value = next(values)
            if step.kind == IMAGE:
                stack, number = next(image_steps)
                require(0 <= stack < len(images), "an unknown stack")
                own = list(islice(images[stack], max(number, 0)))
                require(len(own) == number, "an image that its stack does not have")
                value = b"".join(own) + value
            parts[-1] += step.header + step.length(len(value)) + value
    return parts[0]


def read_column(text: Bytes, aside: Bytes, number: int) -> list[bytes]:
    """A column of values."""
    kind = text.varint()
    if kind == 0:
        return [text.take(text.varint())] * number
    if kind in (1, 3):
        source = text if kind == 1 else aside
        return [source.take(length) for length in integers(text, number)]
    require(kind == 2, "a column of an unknown kind")
    pad = text.varint()
    require(pad < len(PADS), "an unknown pad")
    count = text.varint()
    require(count <= MOST_PARTS, "too many parts")
    parts = [read_part(text, number) for _ in range(count)]
    values = [b"".join(row) for row in zip(*parts, strict=True)] if parts else [b""] * number
    return [value + PADS[pad] if len(value) % 2 else value for value in values]


def read_part(text: Bytes, number: int) -> list[bytes]:
    """A part of values that are numbers."""
    kind, parameter = text.varint(), text.varint()
    if kind == 0:
        require(parameter <= MOST_SAME, "too many bytes that are the same")
        return [text.take(parameter)] * number
    require(kind <= 4 and parameter <= MOST_DIGITS, "a part of an unknown kind")
    values = integers(text, number)
    if kind == 1:
        return [str(value).encode() for value in values]
    if kind == 2:
        return [str(value).zfill(parameter).encode() for value in values]
    return [decimal(value, parameter, kind == 4).encode() for value in values]


def decimal(value: int, digits: int, trimmed: bool) -> str:
    """The value divided by 10^digits, with or without zeros at the end."""
    text = str(abs(value)).zfill(digits + 1)
    whole, fraction = text[:len(text) - digits], text[len(text) - digits:]
    fraction = fraction.rstrip("0") if trimmed else fraction
    return ("-" if value < 0 else "") + whole + ("." + fraction if fraction else "")
