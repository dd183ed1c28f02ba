"""What a folder of DICOM files holds, from headers alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import MedCompressError
from .copies import KnownImages

# How the reason begins why a file was left out that is the copy of another.
COPY = "another copy"
_TAGS = ["SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "Rows", "Columns",
         "SamplesPerPixel", "NumberOfFrames"]


@dataclass
class Series:
    """One series of images.

    Attributes
    ----------
    uid : str
        Series Instance UID; empty when the files have none.
    modality, description : str
    number : int or None
        Series Number.
    paths : list of Path
        Its files, copies of the same image left out.
    shape : tuple of int, or None
        (images, rows, columns), and components if there are several; None when the images differ.
    """

    uid: str
    modality: str
    description: str
    number: int | None
    paths: list[Path] = field(default_factory=list)
    shape: tuple[int, ...] | None = None

    @property
    def number_of_files(self) -> int:
        """How many files the series has."""
        return len(self.paths)

    def __str__(self) -> str:
        size = "x".join(str(count) for count in self.shape) if self.shape else "images of several sizes"
        return (f"{self.uid or '(no UID)'}  {self.modality or 'unknown modality'}  {self.description!r}  "
                f"{self.number_of_files} files  {size}")


def scan(files: Iterable[Path]) -> tuple[list[Series], dict[Path, str]]:
    """Image series among files, and why the others were left out.

    Parameters
    ----------
    files : iterable of Path
        Or of anything else that has a `name`, `is_file` and `open` like a path, and that tells itself from the others.
    """
    found: dict[str, Series] = {}
    skipped: dict[Path, str] = {}
    known = KnownImages()
    for path in files:
        try:
            _add(found, path, known)
        except OSError as error:
            skipped[path] = f"cannot be read: {error.strerror or error}"
        except _NoImageError as error:
            skipped[path] = str(error)
        except Exception as error:  # pydicom raises whatever its parser meets
            skipped[path] = f"damaged: {' '.join(str(error).split())}"
    ordered = sorted(found.values(), key=lambda one: (one.number is None, one.number or 0, one.uid))
    return ordered, skipped


class _NoImageError(Exception):
    """Why a file is not an image of a series."""


def files_in(folder: Path) -> list[Path]:
    """Every file in a folder and its subfolders, or the one file; "9.dcm" comes before "10.dcm". Links are followed.

    Raises
    ------
    MedCompressError
        There is no such folder, a folder cannot be read, or a link leads back to a folder that it is in.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise MedCompressError(f"There is no folder {folder}; check the path.")

    def refuse(error: OSError) -> None:
        raise MedCompressError(f"{error.filename} cannot be read: {error.strerror or error}.") from error

    paths = []
    for where, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        inside = [one for one in (Path(where), *Path(where).parents) if one.is_relative_to(folder)]
        for link in (Path(where) / name for name in folders if os.path.islink(Path(where) / name)):
            if any(link.samefile(one) for one in inside):
                raise MedCompressError(f"The link {link} leads back to a folder that it is in; remove it.")
        paths += [Path(where) / name for name in names]
    return sorted(paths, key=lambda path: [_natural(part) for part in path.relative_to(folder).parts])


def candidates(files: Iterable[Path]) -> list[Path]:
    """Those that may be images of a series: hidden files and directories of media are none, unless one is given alone.

    Parameters
    ----------
    files : iterable of Path
        Or of what `scan` takes instead.
    """
    files = list(files)
    return [path for path in files
            if len(files) == 1 or (not path.name.startswith(".") and path.name.upper() != "DICOMDIR")]


def _natural(text: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdecimal() and part.isascii() else (1, part)
            for part in re.split(r"(\d+)", text) if part]


def _add(found: dict[str, Series], path: Path, known: KnownImages) -> None:
    """Add one file to its series."""
    header = _header(path)
    instance, uid = str(header.get("SOPInstanceUID") or ""), str(header.get("SeriesInstanceUID") or "")
    frames, components = int(header.get("NumberOfFrames") or 1), int(header.get("SamplesPerPixel") or 1)
    size = (int(header.Rows), int(header.Columns), *[components] * (components > 1))
    original = known.copy_of(path, instance)
    if original is not None:
        raise _NoImageError(f"{COPY} of {original.name}")
    if uid not in found:
        number = str(header.get("SeriesNumber") or "").strip()
        found[uid] = Series(uid, str(header.get("Modality") or ""), str(header.get("SeriesDescription") or "").strip(),
                            int(number) if number.isdecimal() else None, shape=(0, *size))
    series = found[uid]
    series.paths.append(path)
    same = series.shape is not None and series.shape[1:] == size
    series.shape = (series.shape[0] + frames, *size) if same else None


def _header(path: Path):
    """The few elements needed here."""
    import pydicom

    if not path.is_file():  # to open a pipe would wait for somebody to write to it
        raise _NoImageError("not a regular file")
    with path.open("rb") as file:
        start = file.read(132)
        if start[128:] != b"DICM" and start[:2] not in (b"\x02\0", b"\x08\0"):  # the latter: files without preamble
            raise _NoImageError("not DICOM")
        file.seek(0)
        header = pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=_TAGS)
    if not header.get("Rows") or not header.get("Columns"):
        raise _NoImageError("not an image")
    return header
