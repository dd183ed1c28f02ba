"""Samples from and to binary streams, without a second copy of the volume."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import math
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import FormatError
from ..slabs import ordered_map

# Deflate cannot shrink by more than 1032 : 1.
_MAXIMUM_GZIP_RATIO = 1032
# Files to exchange want to be written fast; gzip's higher levels cost five times the time for a few per cent.
GZIP_LEVEL = 1
_GZIP_HEADER = b"\x1f\x8b\x08\0" + bytes(4) + b"\x04\xff"  # no name and no time; fastest; any system
_DEFLATE_END = b"\x03\0"  # an empty last block
# What one thread deflates at a time, without what came before: 32 times the window, so that little is lost.
_DEFLATED_ALONE = 1 << 20
_BLOCK = 1 << 24
_MAXIMUM_SURPLUS = 1 << 20


def check_declared_size(needed: int, available: int, encoding: str, path: Path) -> None:
    """Raise FormatError when a file of `available` bytes cannot hold the `needed` bytes that its header declares."""
    ratio = {"raw": 1, "gzip": _MAXIMUM_GZIP_RATIO}.get(encoding, math.inf)
    if needed > available * ratio:
        raise FormatError(f"{path.name} is truncated: its header declares {needed} bytes of voxels, more than the "
                          f"{available} bytes of the file can hold.")


@contextlib.contextmanager
def opened(file: BinaryIO, encoding: str) -> Iterator[BinaryIO]:
    """The stream of decoded bytes that starts where `file` stands."""
    wrap = {"raw": None, "gzip": lambda: gzip.GzipFile(fileobj=file, mode="rb"), "bzip2": lambda: bz2.BZ2File(file)}
    make = wrap[encoding]
    if make is None:
        yield file
    else:
        with make() as stream:
            yield stream


def read_into(stream: BinaryIO, samples: np.ndarray, path: Path) -> None:
    """Fill a contiguous array from a stream of bytes.

    Raises
    ------
    FormatError
        The stream ends too early or is damaged.
    """
    buffer = memoryview(samples.reshape(-1).view(np.uint8))
    position = 0
    with damage_reported(path):
        while position < len(buffer):
            count = stream.readinto(buffer[position:])
            if not count:
                raise FormatError(f"{path.name} is truncated: {len(buffer)} bytes of voxels are declared, "
                                  f"{position} are there.")
            position += count
        if isinstance(stream, gzip.GzipFile | bz2.BZ2File):
            # The check sum stands at the end, and damage before may have moved the end.
            if len(stream.read(_MAXIMUM_SURPLUS)) == _MAXIMUM_SURPLUS:
                raise FormatError(f"{path.name} is damaged: it holds more than the {len(buffer)} bytes of voxels that "
                                  "its header declares.")


def inflate_into(file: BinaryIO, samples: np.ndarray, path: Path) -> None:
    """Fill a contiguous array from a zlib stream.

    Raises
    ------
    FormatError
        The stream is damaged or is not exactly as long as the array.
    """
    buffer = memoryview(samples.reshape(-1).view(np.uint8))
    inflater = zlib.decompressobj(wbits=47)  # a zlib or a gzip header
    position = 0
    with damage_reported(path):
        while not inflater.eof:
            block = inflater.unconsumed_tail or file.read(_BLOCK)
            if not block:
                raise FormatError(f"{path.name} is truncated: its compressed voxels end too early.")
            data = inflater.decompress(block, _BLOCK)
            if position + len(data) > len(buffer):
                raise FormatError(f"{path.name} is damaged: it holds more voxels than its header declares.")
            buffer[position:position + len(data)] = data
            position += len(data)
    if position < len(buffer):
        raise FormatError(f"{path.name} is truncated: {len(buffer)} bytes of voxels are declared, not {position}.")


def skip(stream: BinaryIO, count: int, path: Path) -> None:
    """Read and forget `count` bytes."""
    with damage_reported(path):
        while count > 0:
            block = stream.read(min(count, _BLOCK))
            if not block:
                raise FormatError(f"{path.name} is truncated: it ends before the voxels begin.")
            count -= len(block)


@contextlib.contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turn what the decompressors raise into one sentence."""
    try:
        yield
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise FormatError(f"{path.name} is damaged or truncated: {error}.") from error
    except OSError as error:
        if error.errno is None:  # bz2 reports damage this way
            raise FormatError(f"{path.name} is damaged: {error}.") from error
        raise


def write_gzip(file: BinaryIO, parts: Iterable[bytes | np.ndarray], threads: int) -> None:
    """Write bytes and the bytes of contiguous arrays as one gzip stream (RFC 1952, of one member), deflated by several
    threads. Equal bytes give equal files, in whatever parts they come and however many threads there are."""
    file.write(_GZIP_HEADER)
    check_sum = size = 0

    def counted() -> Iterator[memoryview]:
        nonlocal check_sum, size
        for block in _blocks(parts, _DEFLATED_ALONE):
            check_sum, size = zlib.crc32(block, check_sum), size + len(block)
            yield block

    with contextlib.closing(ordered_map(_deflated, counted(), threads)) as blocks:
        for block in blocks:
            file.write(block)
    file.write(_DEFLATE_END + struct.pack("<LL", check_sum, size % (1 << 32)))


def write_raw(file: BinaryIO, parts: Iterable[bytes | np.ndarray]) -> None:
    """Write bytes and the bytes of contiguous arrays."""
    for part in parts:
        file.write(_bytes_of(part))


def _deflated(block: memoryview) -> bytes:
    """Deflate blocks that end at a whole byte, and after which more can follow."""
    deflater = zlib.compressobj(GZIP_LEVEL, wbits=-zlib.MAX_WBITS)
    return deflater.compress(block) + deflater.flush(zlib.Z_FULL_FLUSH)


def _blocks(parts: Iterable[bytes | np.ndarray], length: int) -> Iterator[memoryview]:
    """The same bytes in blocks of equal length, but for the last."""
    rest = bytearray()
    for part in parts:
        buffer = _bytes_of(part)
        start = min(length - len(rest), len(buffer)) if rest else 0
        rest += buffer[:start]
        if len(rest) == length:
            yield memoryview(rest)
            rest = bytearray()
        if not rest:
            end = start + (len(buffer) - start) // length * length
            yield from (buffer[place:place + length] for place in range(start, end, length))
            rest = bytearray(buffer[end:])
    if rest:
        yield memoryview(rest)


def _bytes_of(part: bytes | np.ndarray) -> memoryview:
    return memoryview(part if isinstance(part, bytes) else part.reshape(-1).view(np.uint8))
