"""Where a file comes from: bytes, a path or an open file; and what kind of file it is, by content where possible."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .container import MAGIC, START_LENGTH, is_archive
from .errors import FormatError, MedCompressError, UnsupportedError

SUFFIX = ".mcz"
# DICOM files (PS3.10) begin with 128 bytes for any use, then this.
_DICOM_START, _DICOM_MAGIC = 128, b"DICM"

ARCHIVE = "archive"
BYTES = (bytes, bytearray, memoryview)
Source = bytes | bytearray | memoryview | str | os.PathLike | BinaryIO


@contextmanager
def opened(data: Source) -> Iterator[BinaryIO]:
    """The bytes, the file of that name, or the open file itself, as a binary file."""
    if not isinstance(data, (*BYTES, str, os.PathLike)) and hasattr(data, "read") and hasattr(data, "seek"):
        yield data
        return
    with open_file(data) as file:
        try:
            yield file
        except FormatError as error:
            if isinstance(data, BYTES):
                raise
            raise FormatError(f"{data}: {error}") from error


def open_file(data: Source) -> BinaryIO:
    if isinstance(data, BYTES):
        return io.BytesIO(data)
    if not isinstance(data, (str, os.PathLike)):
        raise UnsupportedError(f"Give the bytes of an {SUFFIX} file or its path, not {type(data).__name__}.")
    path = Path(data)
    if not path.exists():
        raise MedCompressError(f"There is no file {path}; check the path.")
    if not path.is_file() and not path.is_dir():  # opening it could wait for ever
        raise MedCompressError(f"{path} is a pipe, a socket or a device, which cannot be searched; give a file.")
    try:
        return path.open("rb")
    except OSError as error:
        raise MedCompressError(f"{path} cannot be read: {error.strerror or error}.") from error


def holds_archive(file: BinaryIO) -> bool:
    file.seek(0)
    return is_archive(file.read(START_LENGTH))


def kind(path: str | os.PathLike) -> str:
    """".mcz", "archive", "DICOM" or, for all else, the ending of the name; the first three by content if possible."""
    path, start = Path(path), b""
    if not path.is_dir():
        with opened(path) as file:
            start = file.read(_DICOM_START + len(_DICOM_MAGIC))
    if is_archive(start):
        return ARCHIVE
    if path.is_dir() or start[_DICOM_START:] == _DICOM_MAGIC or path.suffix.lower() == ".dcm":
        return "DICOM"
    return SUFFIX if start.startswith(MAGIC) else path.suffix.lower()


def is_dicom(path: str | os.PathLike) -> bool:
    """Whether `read` would take a path for a DICOM file or a folder with DICOM files."""
    return kind(path) == "DICOM"
