"""DICOM series in, through pydicom: `list_series` tells what a folder holds, `read_series` makes a `Volume` of one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import FormatError, MedCompressError, SeveralSeriesError, UnsupportedError
from ..rescale import rescaled
from ..slabs import slice_bounds
from ..volume import Volume
from .folder import Series, candidates, files_in, scan
from .frames import Frame, damage_reported, frames_of, plain
from .geometry import arrange, matrix_of
from .pixels import decode_file

__all__ = ["Series", "SeveralSeriesError", "list_series", "read_series"]

_KEPT = ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "Modality", "SeriesDescription",
         "SeriesNumber", "PatientPosition", "PhotometricInterpretation", "BitsStored", "PixelPaddingValue",
         "PixelPaddingRangeLimit", "RescaleType", "Units", "WindowCenter", "WindowWidth", "ImageType",
         "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def list_series(folder: str | Path) -> list[Series]:
    """The image series in a folder and its subfolders, from the headers of the files alone.

    Files that are no DICOM images or cannot be read are left out; one warning counts them and gives the reasons.

    Parameters
    ----------
    folder : str or Path
        A folder, or a single DICOM file.

    Returns
    -------
    list of Series
        Ordered by series number.

    Raises
    ------
    MedCompressError
        There is no such folder, or it cannot be read.
    """
    series, skipped = scan(candidates(files_in(Path(folder))))
    _report(skipped, folder)
    return series


def read_series(folder: str | Path, series_uid: str | None = None) -> Volume:
    """Read one DICOM series.

    Slices are ordered by their position along the slice normal, so that the matrix is right-handed. Evenly shifted
    slices (a tilted gantry) give a sheared matrix. Several images at each position give a sequence. Stored values are
    rescaled where that is exact in integers and otherwise left as they are; `metadata["DICOM"]["rescale"]` tells.

    Parameters
    ----------
    folder : str or Path
        A folder, searched with its subfolders but not for hidden files, or a single DICOM file.
    series_uid : str, optional
        Series Instance UID; needed when the folder has several series.

    Returns
    -------
    Volume
        With the headers that identify the series as plain JSON in `metadata["DICOM"]`.

    Raises
    ------
    SeveralSeriesError
        No series was chosen and there are several.
    UnsupportedError
        The series is not a volume; the message gives the reason.
    FormatError
        A file of the series is damaged.
    MedCompressError
        There is no such folder or series.
    """
    return read_files(files_in(Path(folder)), folder, series_uid)


def read_files(files: Iterable, where: str | os.PathLike, series_uid: str | None = None,
               slices: slice | None = None) -> Volume:
    """Read one series among files, as `read_series` does.

    Parameters
    ----------
    files : iterable of Path
        Or of what `folder.scan` takes instead.
    where : str or Path
        What messages call the place where they are.
    series_uid : str, optional
    slices : slice, optional
        Which slices (k) of the volume, understood as in indexing; the pixel data of no other file is read.
    """
    series, skipped = scan(candidates(files))
    _report(skipped, where)
    chosen = _choose(series, series_uid, where)
    try:
        return _read(chosen, slices)
    except OSError as error:
        raise MedCompressError(f"{where} cannot be read: {error.strerror or error}.") from error
    except MemoryError as error:
        raise MedCompressError(f"The series in {where} does not fit into the memory of this machine.") from error


def _report(skipped: dict[Path, str], folder: str | Path) -> None:
    if not skipped:
        return
    shown = [f"{path.name} ({reason})" for path, reason in list(skipped.items())[:5]]
    more = f" and {len(skipped) - len(shown)} more" if len(skipped) > len(shown) else ""
    plural = "s were" if len(skipped) > 1 else " was"
    warnings.warn(f"{len(skipped)} file{plural} left out of {folder}: {', '.join(shown)}{more}.", stacklevel=3)


def _choose(series: list[Series], series_uid: str | None, folder: str | Path) -> Series:
    if not series:
        raise MedCompressError(f"There are no DICOM images in {folder}.")
    if series_uid is None and len(series) == 1:
        return series[0]
    listing = "\n".join(f"  {one}" for one in series)
    if series_uid is None:
        raise SeveralSeriesError(f"There are {len(series)} series in {folder}; choose one by its UID (series_uid):\n"
                                 f"{listing}", series)
    found = [one for one in series if one.uid == series_uid]
    if not found:
        raise MedCompressError(f"There is no series {series_uid} in {folder}; it has:\n{listing}")
    return found[0]


def _read(series: Series, slices: slice | None) -> Volume:
    first, frames = None, []
    for path in series.paths:
        dataset = _dataset(path, pixels=False)
        frames += frames_of(dataset, path)
        first = first if first is not None else dataset
    _check_uids(frames)
    order, sequence = arrange(frames)
    ordered = [frames[index] for index in order]
    repeats = 1 if sequence is None else len(sequence.values)
    matrix, deviation = matrix_of(ordered, repeats)
    if slices is not None:
        count = len(ordered) // repeats
        start, stop = slice_bounds(slices, count)
        ordered = [ordered[repeat * count + k] for repeat in range(repeats) for k in range(start, stop)]
        matrix[:3, 3] += start * matrix[:3, 2]
    voxels, file_facts = _voxels(ordered)
    voxels, rescale = _rescale(voxels, ordered)
    axes = "kji" if voxels.ndim == 3 else "kjic"
    if sequence is not None:
        voxels, axes = voxels.reshape(len(sequence.values), -1, *voxels.shape[1:]), "t" + axes
    with damage_reported(ordered[0].path):
        kept = {name: plain(first[name].value) for name in _KEPT if first.get(name) not in (None, "")}
    kept |= _identity(ordered) | file_facts | {"rescale": rescale, "largestPositionDeviation": deviation}
    return Volume(voxels, matrix, axes, sequence, {"DICOM": kept})


def _check_uids(frames: list[Frame]) -> None:
    """Refuse different images that claim to be one at the same place: nothing tells which of them is right."""
    paths: dict[tuple, Path] = {}
    for frame in frames:
        other = paths.setdefault((frame.instance_uid, frame.place), frame.path)
        if frame.instance_uid and other is not frame.path:
            raise UnsupportedError(f"{other.name} and {frame.path.name} have the same SOP Instance UID and position, "
                                   "but their images differ; remove the one that is wrong.")


def _dataset(path: Path, pixels: bool):
    import pydicom

    with damage_reported(path), path.open("rb") as file:
        return pydicom.dcmread(file, force=True, stop_before_pixels=not pixels)


def _voxels(frames: list[Frame]) -> tuple[np.ndarray, dict]:
    """Stored values, (frames, rows, columns) or with components last, read file by file."""
    places: dict[Path, list[int]] = {}
    for place, frame in enumerate(frames):
        places.setdefault(frame.path, []).append(place)
    voxels, facts = None, {}
    for path, mine in places.items():
        with damage_reported(path):
            decoded, facts = decode_file(_dataset(path, pixels=True), path)
        if len(decoded) <= max(frames[place].index for place in mine):
            raise FormatError(f"{path.name} is damaged: it has fewer frames than its header declares.")
        if len(places) == 1 and [frame.index for frame in frames] == list(range(len(decoded))):
            return decoded, facts
        if voxels is None:
            voxels = np.empty((len(frames), *decoded.shape[1:]), decoded.dtype)
        if decoded.shape[1:] != voxels.shape[1:] or decoded.dtype != voxels.dtype:
            raise UnsupportedError(f"The images of this series differ in size or type; {path.name} has "
                                   f"{decoded.shape[1:]} {decoded.dtype}, the first {voxels.shape[1:]} {voxels.dtype}.")
        for place in mine:
            voxels[place] = decoded[frames[place].index]
    return voxels, facts


def _rescale(voxels: np.ndarray, frames: list[Frame]) -> tuple[np.ndarray, dict]:
    """Voxels rescaled where that is exact, and the record from which the stored values come back."""
    slopes, intercepts = [frame.slope for frame in frames], [frame.intercept for frame in frames]
    same = len(set(slopes)) == 1 and len(set(intercepts)) == 1
    record = {"slope": slopes[0] if same else slopes, "intercept": intercepts[0] if same else intercepts,
              "storedType": voxels.dtype.name}
    result = rescaled(voxels, slopes, intercepts)
    neutral = same and (slopes[0], intercepts[0]) == (1.0, 0.0)
    return (voxels if result is None else result), record | {"applied": result is not None or neutral}


def _identity(frames: list[Frame]) -> dict:
    """UIDs and numbers in the order of the slices, one per image file; frame numbers too for multi-frame files."""
    files = list({frame.path: frame for frame in frames}.values())
    identity = {"instanceUIDs": [frame.instance_uid for frame in files],
                "instanceNumbers": [frame.instance_number for frame in files]}
    if len(files) < len(frames):
        position = {frame.path: index for index, frame in enumerate(files)}
        identity["frames"] = [[position[frame.path], frame.index + 1] for frame in frames]
    return identity
