"""What a folder of DICOM files holds, from headers alone."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import MedCompressError

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


def scan(folder: Path) -> tuple[list[Series], dict[Path, str]]:
    """Image series in a folder and its subfolders (or in one file), and why the other files were left out."""
    found: dict[str, Series] = {}
    skipped: dict[Path, str] = {}
    seen: dict[str, Path] = {}
    for path in _files(folder):
        try:
            header = _header(path)
        except OSError as error:
            header = f"cannot be read: {error.strerror or error}"
        if isinstance(header, str):
            skipped[path] = header
            continue
        uid = str(header.get("SOPInstanceUID") or "")
        if uid and uid in seen:
            skipped[path] = f"another copy of {seen[uid].name}"
            continue
        seen[uid] = path
        _add(found, header, path)
    ordered = sorted(found.values(), key=lambda one: (one.number is None, one.number or 0, one.uid))
    return ordered, skipped


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise MedCompressError(f"There is no folder {folder}; check the path.")
    return [Path(where) / name for where, folders, names in os.walk(folder) if not folders.sort()
            for name in sorted(names) if not name.startswith(".") and name.upper() != "DICOMDIR"]


def _header(path: Path):
    """The few elements needed here, or the reason why the file is no image."""
    import pydicom

    with path.open("rb") as file:
        start = file.read(132)
    if start[128:] != b"DICM" and start[:2] not in (b"\x02\0", b"\x08\0"):  # the latter: files without preamble
        return "not DICOM"
    try:
        header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=_TAGS)
        if not header.get("Rows") or not header.get("Columns"):
            return "not an image"
        int(header.get("NumberOfFrames") or 1)
    except OSError:
        raise
    except Exception as error:  # pydicom raises whatever its parser meets
        return f"damaged: {error}"
    return header


def _add(found: dict[str, Series], header, path: Path) -> None:
    uid = str(header.get("SeriesInstanceUID") or "")
    frames, components = int(header.get("NumberOfFrames") or 1), int(header.get("SamplesPerPixel") or 1)
    size = (int(header.Rows), int(header.Columns), *[components] * (components > 1))
    if uid not in found:
        number = header.get("SeriesNumber")
        found[uid] = Series(uid, str(header.get("Modality") or ""), str(header.get("SeriesDescription") or "").strip(),
                            None if number in (None, "") else int(number), shape=(0, *size))
    series = found[uid]
    series.paths.append(path)
    same = series.shape is not None and series.shape[1:] == size
    series.shape = (series.shape[0] + frames, *size) if same else None
