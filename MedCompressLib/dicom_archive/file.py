"""The bytes of an archive: which section stands where. FORMAT.md, section 15, is its specification.

    fixed part   magic, version, kind, lengths and checksums of what follows, digest of the files
    catalogue    LZMA of a text: stacks, which images of which file are where in them, names, structures, values
    aside        bytes of values that LZMA does not make smaller
    volumes      `.mcz` files of volumes, one or two for each stack

Guarantees: memory is taken only for lengths that were held against the size of the file and a limit; every section has
passed its CRC-32C when it is used; whatever is wrong with the bytes, `FormatError` is raised.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO

from ..checksum import crc32c
from ..container import ARCHIVE, ARCHIVE_VERSION, MAGIC, VERSION, VOLUME, check_magic
from ..entropy.varint import ByteReader, write_varint
from ..errors import FormatError, MedCompressError, UnsupportedError
from .catalogue import FILE_LIMIT, TEXT_LIMIT, Entry, compress, decode_entries, encode_entries, expand
from .columns import read_integers, write_integers
from .elements import IMAGE
from .stacks import MEMBER_LIMIT, Stack

# magic, version, kind, catalogue CRC, catalogue length, text length, aside length, aside CRC, file length, digest of
# the files; then the CRC of all this.
_FIXED = struct.Struct("<8sHHIQQQIQ32s")
_CRC = struct.Struct("<I")
FIXED_LENGTH = _FIXED.size + _CRC.size
ASIDE_LIMIT = 1 << 34


@dataclass
class Contents:
    """What the catalogue says.

    Attributes
    ----------
    entries : list of Entry
    stacks : list of Stack
    images : dict of int to (int, int, int)
        For each entry with an `IMAGE` step: its stack, the first of its images in `Stack.slices`, and how many there
        are.
    digest : bytes
        SHA-256 of the SHA-256 of all files, one after the other.
    """

    entries: list[Entry]
    stacks: list[Stack]
    images: dict[int, tuple[int, int, int]]
    digest: bytes


def write_archive(file: BinaryIO, contents: Contents, volumes: list[bytes]) -> None:
    """Write a whole archive to an empty file that is open for writing."""
    out = bytearray()
    write_varint(out, len(contents.stacks))
    for stack in contents.stacks:
        stack.write(out)
    write_varint(out, len(contents.images))
    write_integers(out, [stack for stack, _, _ in contents.images.values()])
    write_integers(out, [count for _, _, count in contents.images.values()])
    text, aside = encode_entries(contents.entries)
    out += text
    for length, limit in ((len(out), TEXT_LIMIT), (len(aside), ASIDE_LIMIT)):
        if length > limit:
            raise UnsupportedError(f"The files hold {length} bytes beside their images; an archive takes {limit}. Make "
                                   "several archives.")
    catalogue = compress(bytes(out))
    length = FIXED_LENGTH + len(catalogue) + len(aside) + sum(map(len, volumes))
    fixed = _FIXED.pack(MAGIC, ARCHIVE_VERSION, ARCHIVE, crc32c(catalogue), len(catalogue), len(out), len(aside),
                        crc32c(aside), length, contents.digest)
    try:
        file.write(bytes(FIXED_LENGTH))  # zeros stand where the magic belongs until the file is whole
        for section in (catalogue, aside, *volumes):
            file.write(section)
        file.seek(0)
        file.write(fixed + _CRC.pack(crc32c(fixed)))
    except OSError as error:
        raise MedCompressError(f"The file cannot be written: {error.strerror or error}.") from error


def read_archive(file: BinaryIO) -> tuple[Contents, list[list[Window]], dict[str, int]]:
    """The catalogue, the volumes of each stack as files, and the lengths of the sections.

    Raises
    ------
    FormatError
        The file is no archive, or is truncated, damaged or beyond a limit.
    """
    whole = Window(file, 0, file.seek(0, io.SEEK_END))
    start = whole.read(FIXED_LENGTH)
    check_magic(start)
    if len(start) < FIXED_LENGTH:
        raise FormatError(f"The file is truncated: it has only {len(start)} bytes.")
    (_, version, kind, catalogue_crc, catalogue_length, text_length, aside_length, aside_crc, length,
     digest) = _FIXED.unpack(start[:_FIXED.size])
    if version > VERSION:
        raise FormatError(f"The file has version {version} of the format, this MedCompress reads up to {VERSION}; "
                          "update it.")
    if kind == VOLUME:
        raise FormatError("The file is a single volume, not an archive of files; restore it as an image file.")
    _check_crc(start[:_FIXED.size], _CRC.unpack(start[_FIXED.size:])[0], "fixed part")
    if (version, kind) != (ARCHIVE_VERSION, ARCHIVE):
        raise FormatError(f"The file has version {version}.{kind} of the format, which does not exist.")
    if length != whole.length:
        raise FormatError(f"The file should have {length} bytes and has {whole.length}: it was truncated or something "
                          "was added to it.")
    if text_length > TEXT_LIMIT or FIXED_LENGTH + catalogue_length + aside_length > length:
        raise FormatError("The file declares sections that do not fit into it or are beyond the format's limits.")
    catalogue, aside = whole.read(catalogue_length), whole.read(aside_length)
    _check_crc(catalogue, catalogue_crc, "catalogue")
    _check_crc(aside, aside_crc, "values")
    text = ByteReader(expand(catalogue, text_length))
    contents = _parse(text, memoryview(aside), digest)
    volumes, at = [], FIXED_LENGTH + catalogue_length + aside_length
    for stack in contents.stacks:
        mine = []
        for volume_length in stack.volume_lengths:
            mine.append(Window(file, at, volume_length))
            at += volume_length
        volumes.append(mine)
    if at != length:
        raise FormatError("The volumes in the archive's catalogue do not end at the end of the file.")
    return contents, volumes, {"fixed": FIXED_LENGTH, "catalogue": catalogue_length, "aside": aside_length,
                               "volumes": length - FIXED_LENGTH - catalogue_length - aside_length}


def _parse(text: ByteReader, aside: memoryview, digest: bytes) -> Contents:
    stacks = [Stack.read(text) for _ in range(text.varint(FILE_LIMIT))]
    count = text.varint(FILE_LIMIT)
    numbers, frames = read_integers(text, count), read_integers(text, count)
    entries = decode_entries(text, aside)
    if text.remaining:
        raise FormatError("The catalogue of the archive does not end where it should.")
    with_image = [number for number, entry in enumerate(entries) if any(step.kind == IMAGE for step in entry.steps)]
    if len(with_image) != count:
        raise FormatError("The archive is damaged: files and images in its catalogue do not fit together.")
    images, used = {}, [0] * len(stacks)
    for entry, number, many in zip(with_image, numbers, frames, strict=True):
        if not 0 <= number < len(stacks) or not 1 <= many <= MEMBER_LIMIT:
            raise FormatError("The archive is damaged: a file in its catalogue has an impossible image.")
        images[entry] = number, used[number], many
        used[number] += many
    if used != [len(stack.slices) for stack in stacks]:
        raise FormatError("The archive is damaged: files and stacks in its catalogue do not fit together.")
    return Contents(entries, stacks, images, digest)


class Window(io.RawIOBase):
    """A part of a file, as a file for reading.

    Parameters
    ----------
    file : binary file
    start, length : int
        Where the part is.
    """

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        super().__init__()
        self._file, self._start, self.length = file, start, length
        self._at = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.length}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.length - self._at)
        size = left if size < 0 else min(size, left)
        try:
            self._file.seek(self._start + self._at)
            data = self._file.read(size)
        except OSError as error:
            raise MedCompressError(f"The file cannot be read: {error.strerror or error}.") from error
        if len(data) != size:
            raise FormatError("The file became shorter while it was read.")
        self._at += size
        return data

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _check_crc(data: bytes, expected: int, what: str) -> None:
    if crc32c(data) != expected:
        raise FormatError(f"The file is damaged: the checksum of its {what} does not match.")
