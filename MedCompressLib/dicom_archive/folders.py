"""Between folders on the disk and archives: nothing appears under its name before it is whole."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from ..codecs import Progress
from ..dicom import list_series
from ..dicom.folder import COPY, candidates, files_in, scan
from ..errors import FormatError, MedCompressError, UnsupportedError
from ..replacing import replacing, replacing_files
from .archive import Archive
from .deidentify import deidentified
from .elements import has_pixel_data, parse
from .names import check_names_for_windows
from .packing import pack, read_whole

# What becomes of files that are no DICOM images that can be read.
KEEP, REFUSE = "keep", "refuse"
WINDOWS = os.name == "nt"


def pack_folder(folder: Path, path: str | os.PathLike, codec: str, preset: str | None, series_uid: str | None,
                others: str, deidentify: bool, progress: Progress, threads: int, overwrite: bool) -> None:
    """Write the archive `path` of the files in `folder`; see `api.pack`."""
    if others not in (KEEP, REFUSE):
        raise UnsupportedError(f"Other files are either kept ({KEEP!r}) or refused ({REFUSE!r}), not {others!r}.")
    paths = files_in(folder)
    special = next((one for one in paths if one.exists() and not one.is_file()), None)
    if special is not None:
        raise UnsupportedError(f"{special} is a pipe, a socket or a device, which has no bytes to archive; remove it.")
    root = folder if folder.is_dir() else folder.parent
    output = Path(os.path.realpath(path))
    paths = [one for one in paths if Path(os.path.realpath(one)) != output]
    if series_uid is not None:
        paths = _of_series(folder, series_uid)
    if others == REFUSE:
        _refuse_others(paths)
    if not paths:
        raise UnsupportedError(f"There is no file to archive in {folder}; check the folder.")
    files = {one.relative_to(root).as_posix(): one for one in paths}
    with replacing(path, overwrite) as file, tempfile.TemporaryDirectory() as temporary:
        if deidentify:
            files = deidentified(paths, Path(temporary))
        pack(files, file, codec, preset, threads, progress)


def unpack_folder(file: BinaryIO, folder: Path, progress: Progress, threads: int, overwrite: bool) -> list[str]:
    """Write all files of an archive into a folder; see `api.unpack`."""
    archive = Archive(file, threads)
    if WINDOWS:
        check_names_for_windows(archive.names)
    with replacing_files(folder, archive.names, overwrite) as temporary:
        for name, data in zip(archive.names, archive.all_data(progress), strict=True):
            with open(temporary / name, "xb") as restored:  # there is one where case does not tell names apart
                restored.write(data)
    return archive.names


def describe(archive: Archive, phi: bool) -> dict:
    """What an archive holds, as plain JSON; names and UIDs, which may tell the patient, only with `phi`."""
    series, others = scan(candidates(archive.files))
    copies = sum(reason.startswith(COPY) for reason in others.values())
    sizes = archive.sizes()
    described = []
    for one in series:
        facts = {"modality": one.modality, "files": one.number_of_files, "shape": one.shape and list(one.shape)}
        if phi:
            facts |= {"uid": one.uid, "number": one.number, "description": one.description, "patient": _patient(one)}
        described.append(facts)
    facts = {
        "files": len(archive),
        "files_bytes": sum(sizes),
        "files_without_image": len(archive) - copies - sum(one.number_of_files for one in series),
        "series": described,
        "volumes": [{"shape": list(reader.header.shape), "dtype": reader.header.dtype.name,
                     "codec": reader.header.codec_id, "preset": reader.header.preset, "bytes": reader.file_length}
                    for readers in archive.volumes for reader in readers],
        "section_bytes": archive.section_lengths,
    }
    return facts | ({"names": archive.names} if phi else {})


def _patient(series) -> dict:
    import pydicom

    with series.paths[0].open("rb") as file:
        header = pydicom.dcmread(file, force=True, stop_before_pixels=True)
    names = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate",
             "StudyDescription", "AccessionNumber", "InstitutionName", "ReferringPhysicianName")
    return {name: str(header.get(name)) for name in names if header.get(name) not in (None, "")}


def _of_series(folder: Path, series_uid: str) -> list[Path]:
    """Its files, with further copies of the same images."""
    import pydicom

    series = list_series(folder)
    if series_uid not in [one.uid for one in series]:
        listing = "\n".join(f"  {one}" for one in series)
        raise MedCompressError(f"There is no series {series_uid} in {folder}; it has:\n{listing}")

    def belongs(path: Path) -> bool:
        try:
            header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
            return str(header.get("SeriesInstanceUID") or "") == series_uid
        except Exception:  # pydicom raises whatever its parser meets; such a file is of no series
            return False

    return [path for path in files_in(folder) if belongs(path)]


def _refuse_others(paths: list[Path]) -> None:
    """Raise FormatError, naming them, where there are files that cannot be read as DICOM images."""
    _, skipped = scan(paths)
    skipped = {path: reason for path, reason in skipped.items() if not reason.startswith(COPY)}
    for path in paths:
        if path not in skipped and not has_pixel_data(parse(read_whole(path))[0]):
            skipped[path] = "truncated: it has no pixel data or not all of it"
    if skipped:
        listing = "; ".join(f"{path.name} ({reason})" for path, reason in skipped.items())
        raise FormatError(f"{len(skipped)} of {len(paths)} files are no DICOM images that can be read: {listing}. "
                          "Remove them, or let them be kept as they are.")
