"""Samples from and to binary streams, without a second copy of the volume."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import math
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import FormatError

# Deflate cannot shrink by more than 1032 : 1.
_MAXIMUM_GZIP_RATIO = 1032
# Files to exchange want to be written fast; gzip's higher levels cost five times the time for a few per cent.
GZIP_LEVEL = 1
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


def write_gzip(file: BinaryIO, parts: Iterable[bytes | np.ndarray]) -> None:
    """Write bytes and the bytes of contiguous arrays as one gzip stream. It has no name and time in it, so that equal
    input gives equal files."""
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=GZIP_LEVEL, mtime=0) as stream:
        write_raw(stream, parts)


def write_raw(file: BinaryIO, parts: Iterable[bytes | np.ndarray]) -> None:
    """Write bytes and the bytes of contiguous arrays."""
    for part in parts:
        buffer = memoryview(part if isinstance(part, bytes) else part.reshape(-1).view(np.uint8))
        for start in range(0, len(buffer), _BLOCK):
            file.write(buffer[start:start + _BLOCK])
