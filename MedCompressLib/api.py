"""What users of the library call: read, write, open, compress, decompress, preview, pack, unpack,
verify, info.

Every function that can fail on what it is given raises a `MedCompressError` (a `ValueError`) with one sentence that
says what is wrong and what to do.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .container import Reader
from .decode import StoredSlabs, decode_volume, decodes_to
from .errors import FormatError, MedCompressError, UnsupportedError
from .inspection import VerifyReport, info, verify
from .lazy import LazyVolume
from .partial import preview_volume
from .progress import Progress, rising
from .quality import Quality
from .replacing import replacing
from .roi import RegionOfInterest
from .slabs import thread_count
from .sources import ARCHIVE, BYTES, SUFFIX, Source, holds_archive, is_dicom, kind, open_file, opened
from .volume import Volume

__all__ = ["ARCHIVE", "SUFFIX", "VerifyReport", "compress", "decompress", "info", "is_dicom", "kind", "open", "pack",
           "preview", "read", "unpack", "verify", "write"]

_NO_SERIES = "A file with one volume has no series to choose; leave out the series."
_NO_ARCHIVE = "An archive has no previews; compress the volume alone, with the codec 'progressive'."


def compress(volume: Volume | LazyVolume | np.ndarray, codec: str = "auto", preset: str | None = None,
             progress: Progress | None = None, threads: int | None = None,
             quality: Quality | None = None, roi: RegionOfInterest | None = None,
             model: str | os.PathLike | None = None) -> bytes:
    """Compress a volume, without loss unless `quality` allows some.

    Parameters
    ----------
    volume : Volume, LazyVolume or ndarray
        An array is taken as `Volume.from_array` takes it: (k, j, i), (k, j, i, components) or (t, k, j, i), of the
        eight integer types, float32 or float64.
    codec : str
        "auto" (runs for label maps, wavelet for everything else), or the id of a codec: see `codecs.codec_ids`.
    preset : str, optional
        One of the codec's presets, see its `presets`; the first by default.
    progress : callable, optional
        Called in this thread with a fraction from 0 to 1 that never falls; what it raises stops the work and comes out
        here.
    threads : int, optional
        How many threads work; by default one per processor, at most 8. The bytes do not depend on it.
    quality : NearLossless, TargetRatio, TargetBitrate, TargetPSNR or ConstantBackground, optional
        What may be given up. `NearLossless`: no voxel is off by more than its `max_error`, which has been proven by
        decoding; for integer voxels; "auto" then means the codec neural. The targets, of size or fidelity: codec
        wavelet ("auto" too); stored without loss where that is not larger. `ConstantBackground`: one value around the
        regions `roi`, with any codec. `info` says what was reached.
    roi : RegionOfInterest, optional
        Regions with bounds of their own, as a rule 0; `quality` counts for the rest, which `NearLossless(0)` keeps
        exact. With the codec progressive the slabs that hold them come first in the file, after a coarse view of
        all; then no `quality` is needed.
    model : path, optional
        A model file that `MedCompressLib.training.train` wrote, for the codec neural to start from. What decoding needs
        of it travels in the result.

    Returns
    -------
    bytes
        An `.mcz` file. Without a `quality`, `decompress` returns a Volume that equals `volume` in every voxel (NaN
        payloads and negative zeros too), in type, shape, matrix, axes, sequence and metadata.

    Raises
    ------
    MedCompressError
        Something that is no volume, an unknown codec or preset, or a volume beyond the limits of the format.
    """
    from .encode import encode_volume  # what only reads starts without it

    file = io.BytesIO()
    encode_volume(_as_volume(volume), file, codec, preset, thread_count(threads), rising(progress),
                  *_given(quality, roi), _model_bytes(model))
    return file.getvalue()


def decompress(data: Source, slices: slice | None = None, threads: int | None = None,
               progress: Progress | None = None, reduction: int = 0, budget: int | float | None = None,
               series_uid: str | None = None) -> Volume:
    """Restore the volume of an `.mcz` file, or some slices of it; of an archive, that of its series.

    Parameters
    ----------
    data : bytes-like, path or binary file
        The file's bytes, where it is, or the file itself, open for reading and seeking.
    slices : slice, optional
        Which slices (k), understood as in indexing: `slice(40, 56)`, `slice(-10, None)`. Only the slabs that hold them
        are read and decoded; the matrix of the result says where they lie.
    threads, progress
        As in `compress`.
    reduction, budget
        A smaller or coarser volume instead, as in `preview`; the file must be whole all the same.
    series_uid : str, optional
        Of an archive with several series, which one.

    Returns
    -------
    Volume
        Every voxel has been checked against the digest that was taken before compression.

    Raises
    ------
    FormatError
        The bytes are no `.mcz` file, or are damaged. No voxel of a damaged slab is ever returned.
    MedCompressError
        No such file, or no such slices.
    """
    approximate = reduction != 0 or budget is not None
    if approximate and slices is not None:
        raise UnsupportedError("Slices are restored exactly, so there is no reduction or budget for them.")
    with opened(data) as file:
        if holds_archive(file):
            if approximate:
                raise UnsupportedError(_NO_ARCHIVE)
            return _series_volume(file, data, series_uid, slices, thread_count(threads))
        if series_uid is not None:
            raise UnsupportedError(_NO_SERIES)
        if approximate:
            return preview_volume(Reader(file), reduction, budget, thread_count(threads), rising(progress))
        return decode_volume(Reader(file), slices, thread_count(threads), rising(progress))


def preview(data: Source, reduction: int = 0, budget: int | float | None = None, threads: int | None = None,
            progress: Progress | None = None) -> Volume:
    """The best volume from a part of a file of the codec "progressive", which may be cut off anywhere.

    Parameters
    ----------
    data : bytes-like, path or binary file
        A whole file, or the beginning of one, for as long as that holds what stands before the first slab.
    reduction : int
        Rows and columns at 1 / 2**reduction of their number. Only what this size needs is read.
    budget : int or float, optional
        Read at most so many bytes; a float from 0.0 to 1.0 is a share of the whole file's bytes.
    threads, progress
        As in `compress`.

    Returns
    -------
    Volume
        Its matrix belongs to its size. Unless it is exact, which it is with all bytes and no reduction,
        `metadata["preview"]` says of how many bytes it was made, and which slices are exact all the same.

    Raises
    ------
    FormatError
        The bytes are no `.mcz` file, are damaged, or are cut off before the first slab.
    MedCompressError
        The file's codec has no previews or not so small ones, or the budget is too small for any.
    """
    with opened(data) as file:
        if holds_archive(file):
            raise UnsupportedError(_NO_ARCHIVE)
        return preview_volume(Reader(file, truncated=True), reduction, budget, thread_count(threads), rising(progress))


def read(path: str | os.PathLike, series_uid: str | None = None, threads: int | None = None,
         progress: Progress | None = None) -> Volume:
    """Read an `.mcz` file, an image file (NRRD, NHDR, NIfTI, MHA, MHD, NPY), a DICOM file or a folder with a series.

    `.mcz` and DICOM files are known by their content, whatever their name.

    Parameters
    ----------
    path : str or path
    series_uid : str, optional
        Which series, when a DICOM folder or an archive holds several (`dicom.list_series` names them).
    threads, progress
        As in `compress`; for `.mcz` files.

    Raises
    ------
    MedCompressError
        No such file, an unknown or damaged format, several series to choose from, or something that a `Volume` cannot
        hold exactly.
    """
    path = Path(path)
    found = kind(path)
    if found == "DICOM":
        from .dicom import read_series
        return read_series(path, series_uid)
    if found == ARCHIVE:
        with opened(path) as file:
            return _series_volume(file, path, series_uid, None, thread_count(threads))
    if series_uid is not None:
        raise UnsupportedError(f"{path} is not DICOM, so there is no series to choose in it.")
    if found == SUFFIX:
        return decompress(path, threads=threads, progress=progress)
    from .image_files import read_image
    return read_image(path)


def open(data: Source, series_uid: str | None = None, threads: int | None = None) -> LazyVolume:
    """Open a file for reading parts of it: a volume that may be far larger than memory.

        with mc.open("microct.mcz") as volume:
            middle = volume[1000]                    # decodes one slab
            thin = volume[::8, ::8, ::8]
            mc.write("microct.nrrd", volume)         # holds a few slabs at a time

    Parameters
    ----------
    data : bytes-like or path
        The bytes of an `.mcz` file, or anything that `read` reads. `.mcz` files and uncompressed NRRD, NHDR, MHA, MHD
        and NPY files are read slab by slab; all others are read whole now, and served from memory.
    series_uid
        As in `read`.
    threads : int, optional
        How many slabs are read or decoded at a time; by default one per processor, at most 8.

    Returns
    -------
    LazyVolume
        Indexed like a numpy array; `write` and `compress` take it like a `Volume`.

    Raises
    ------
    MedCompressError
        What `read` raises. Damage inside a slab is raised as `FormatError` when that slab is asked for.
    """
    threads = thread_count(threads)
    found = kind(data) if isinstance(data, (str, os.PathLike)) else SUFFIX
    if not isinstance(data, (str, os.PathLike)) or found == SUFFIX:
        file = open_file(data)
        if holds_archive(file):
            with file:
                return LazyVolume.of(_series_volume(file, data, series_uid, None, threads), threads)
        try:
            if series_uid is not None:
                raise UnsupportedError(_NO_SERIES)
            reader = Reader(file)
            header = reader.header
            return LazyVolume(StoredSlabs(reader, file), header.components, reader.ijk_to_ras, header.axes,
                              header.sequence, reader.metadata, threads)
        except BaseException as error:
            file.close()
            if isinstance(error, FormatError) and not isinstance(data, BYTES):
                raise FormatError(f"{data}: {error}") from error
            raise
    if found in ("DICOM", ARCHIVE) or series_uid is not None:
        return LazyVolume.of(read(data, series_uid), threads)
    from .image_files import open_image
    return open_image(data, threads)


def write(path: str | os.PathLike, volume: Volume | LazyVolume | np.ndarray, codec: str = "auto",
          preset: str | None = None, progress: Progress | None = None, threads: int | None = None,
          overwrite: bool = False, verify: bool = True, quality: Quality | None = None,
          roi: RegionOfInterest | None = None, model: str | os.PathLike | None = None) -> None:
    """Compress a volume into an `.mcz` file, or write it as NRRD, NIfTI, MetaImage or NPY where the name ends so.

    The file takes its name only when it is whole, on the disk and (with `verify`) has been decoded again and found
    equal to `volume`; until then, and when anything goes wrong or is cancelled, an old file of that name stays as it
    was. The new file is written beside it, in the same folder.

    Parameters
    ----------
    path : str or path
        By custom it ends in `.mcz`. With one of the endings in `image_files.SUFFIXES` the volume is written in that
        format, for which there is neither codec nor preset to choose.
    volume, codec, preset, progress, threads, quality, roi, model
        As in `compress`.
    overwrite : bool
        Whether an existing file may be replaced.
    verify : bool
        Decode what was written and compare, before the old file is replaced.

    Raises
    ------
    MedCompressError
        The file exists or cannot be written, or what `compress` raises.
    """
    from .image_files import is_image_file, write_image

    volume = _as_volume(volume)
    threads = thread_count(threads)
    progress = rising(progress)
    if is_image_file(path):
        if codec != "auto" or not all(option is None for option in (preset, quality, roi, model)):
            raise UnsupportedError(f"A codec, preset or quality is only for {SUFFIX} files, not for {path}.")
        write_image(path, volume, overwrite, progress, threads)
        return
    from .encode import encode_volume

    share = 0.6 if verify else 1.0
    with replacing(path, overwrite) as file:
        encode_volume(volume, file, codec, preset, threads, lambda fraction: progress(share * fraction),
                      *_given(quality, roi), _model_bytes(model))
        if verify and not decodes_to(Reader(file), volume, threads,
                                     lambda fraction: progress(share + (1 - share) * fraction)):
            raise MedCompressError("What was written does not decode to the same volume, so it was discarded; please "
                                   "report this as an error of MedCompress.")


def pack(folder: str | os.PathLike, path: str | os.PathLike, codec: str = "auto", preset: str | None = None,
         series_uid: str | None = None, others: str = "keep", deidentify: bool = False,
         progress: Progress | None = None, threads: int | None = None, overwrite: bool = False) -> None:
    """Archive the files of a folder: images as volumes through a codec, and every other byte of every file.

    The archive takes its name only when each file has been restored from it and found to be the same, byte for byte.
    Its volume is read like that of any `.mcz` file (`read`, `decompress`), without unpacking.

    Parameters
    ----------
    folder : str or path
        With DICOM files, in subfolders too; or a single file. Series that are no volumes are archived as well, and
        hidden files; links are followed.
    path : str or path
        By custom it ends in `.mcz`.
    codec, preset, progress, threads
        As in `compress`.
    series_uid : str, optional
        Archive only the files of this series.
    others : str
        What to do with files that are no DICOM images that can be read: "keep" them, byte for byte too, or "refuse"
        the folder and name them.
    deidentify : bool
        Archive de-identified copies, by the basic profile of DICOM PS3.15 (through the package dicom-anonymizer), under
        new names. What is burned into the pixels stays.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    MedCompressError
        There is nothing to archive, a file cannot be read, or what `write` raises.
    """
    from .dicom_archive import pack_folder

    pack_folder(Path(folder), path, codec, preset, series_uid, others, deidentify, rising(progress),
                thread_count(threads), overwrite)


def unpack(data: Source, folder: str | os.PathLike, progress: Progress | None = None, threads: int | None = None,
           overwrite: bool = False) -> list[str]:
    """Restore the files of an archive, byte for byte. None of them appears before all have been proven.

    Parameters
    ----------
    data : bytes-like, path or binary file
    folder : str or path
        Where to write them; it is made if it is not there.
    progress, threads
        As in `compress`.
    overwrite : bool
        Whether files that exist may be replaced.

    Returns
    -------
    list of str
        Their names, with folders, in `folder`.

    Raises
    ------
    FormatError
        The file is no archive, or is damaged.
    MedCompressError
        A file exists, or the folder cannot be written.
    """
    from .dicom_archive import unpack_folder

    with opened(data) as file:
        return unpack_folder(file, Path(folder), rising(progress), thread_count(threads), overwrite)


def _as_volume(volume: Volume | LazyVolume | np.ndarray) -> Volume | LazyVolume:
    if isinstance(volume, (Volume, LazyVolume)):
        return volume
    if isinstance(volume, np.ndarray):
        return Volume.from_array(volume)
    raise UnsupportedError(f"Give a Volume or a numpy array, not {type(volume).__name__}.")


def _given(quality: Quality | None,
           roi: RegionOfInterest | None) -> tuple[Quality | None, RegionOfInterest | None]:
    if quality is not None and not isinstance(quality, Quality):
        raise UnsupportedError("Give the quality as NearLossless, TargetRatio, TargetBitrate, TargetPSNR or "
                               f"ConstantBackground, not {quality!r}.")
    if roi is not None and not isinstance(roi, RegionOfInterest):
        raise UnsupportedError(f"Give the region of interest as RegionOfInterest(labels), not {type(roi).__name__}.")
    return quality, roi


def _model_bytes(model: str | os.PathLike | None) -> bytes | None:
    if model is None:
        return None
    try:
        return Path(model).read_bytes()
    except TypeError:
        raise UnsupportedError(f"Give the model as the path of its file, not as {type(model).__name__}.") from None
    except OSError as error:
        raise UnsupportedError(f"The model {model} cannot be read: {error.strerror or error}.") from error


def _series_volume(file: BinaryIO, data: Source, series_uid: str | None, slices: slice | None, threads: int) -> Volume:
    from .dicom import read_files
    from .dicom_archive import Archive

    where = data if isinstance(data, (str, os.PathLike)) else "the archive"
    return read_files(Archive(file, threads).files, where, series_uid, slices)
