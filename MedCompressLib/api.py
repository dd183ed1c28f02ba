"""What users of the library call: read, write, open, compress, decompress, pack, unpack, verify, info.

Every function that can fail on what it is given raises a `MedCompressError` (a `ValueError`) with one sentence that
says what is wrong and what to do.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .codecs import Progress
from .container import MAGIC, START_LENGTH, VERBATIM, VERSION, Reader, is_archive
from .decode import SlabDecoder, StoredSlabs, check_digest, decode_volume, decodes_to
from .encode import encode_volume
from .errors import FormatError, MedCompressError, UnsupportedError
from .lazy import LazyVolume
from .quality import NearLossless
from .replacing import replacing
from .roi import RegionOfInterest
from .slabs import default_threads
from .volume import Volume

SUFFIX = ".mcz"
# DICOM files (PS3.10) begin with 128 bytes for any use, then this.
_DICOM_START, _DICOM_MAGIC = 128, b"DICM"

ARCHIVE = "archive"
_BYTES = (bytes, bytearray, memoryview)
Source = bytes | bytearray | memoryview | str | os.PathLike | BinaryIO


def compress(volume: Volume | LazyVolume | np.ndarray, codec: str = "auto", preset: str | None = None,
             progress: Progress | None = None, threads: int | None = None,
             quality: NearLossless | None = None, roi: RegionOfInterest | None = None,
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
    quality : NearLossless, optional
        What may be given up: no voxel is off by more than its `max_error`, which has been proven by decoding; `info`
        says what was reached. For integer voxels; "auto" then means the codec neural.
    roi : RegionOfInterest, optional
        Regions with bounds of their own, as a rule 0; `quality` counts for the rest.
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
    file = io.BytesIO()
    encode_volume(_as_volume(volume), file, codec, preset, _threads(threads), _rising(progress),
                  *_given(quality, roi), _model_bytes(model))
    return file.getvalue()


def decompress(data: Source, slices: slice | None = None, threads: int | None = None,
               progress: Progress | None = None) -> Volume:
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
    with _opened(data) as file:
        if _holds_archive(file):
            return _series_volume(file, data, None, slices, _threads(threads))
        return decode_volume(Reader(file), slices, _threads(threads), _rising(progress))


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
        with _opened(path) as file:
            return _series_volume(file, path, series_uid, None, _threads(threads))
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
    threads = _threads(threads)
    found = kind(data) if isinstance(data, (str, os.PathLike)) else SUFFIX
    if found == SUFFIX:
        file = _open_file(data)
        if _holds_archive(file):
            with file:
                return LazyVolume.of(_series_volume(file, data, series_uid, None, threads), threads)
        try:
            reader = Reader(file)
            header = reader.header
            return LazyVolume(StoredSlabs(reader, file), header.components, reader.ijk_to_ras, header.axes,
                              header.sequence, reader.metadata, threads)
        except BaseException as error:
            file.close()
            if isinstance(error, FormatError) and not isinstance(data, _BYTES):
                raise FormatError(f"{data}: {error}") from error
            raise
    if found in ("DICOM", ARCHIVE) or series_uid is not None:
        return LazyVolume.of(read(data, series_uid), threads)
    from .image_files import open_image
    return open_image(data, threads)


def write(path: str | os.PathLike, volume: Volume | LazyVolume | np.ndarray, codec: str = "auto",
          preset: str | None = None, progress: Progress | None = None, threads: int | None = None,
          overwrite: bool = False, verify: bool = True, quality: NearLossless | None = None,
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
    threads = _threads(threads)
    progress = _rising(progress)
    if is_image_file(path):
        if codec != "auto" or not all(option is None for option in (preset, quality, roi, model)):
            raise UnsupportedError(f"A codec, preset or quality is only for {SUFFIX} files, not for {path}.")
        write_image(path, volume, overwrite, progress)
        return
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
        With DICOM files, in subfolders too; or a single file. Series that are no volumes are archived as well.
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

    pack_folder(Path(folder), path, codec, preset, series_uid, others, deidentify, _rising(progress),
                _threads(threads), overwrite)


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

    with _opened(data) as file:
        return unpack_folder(file, Path(folder), _rising(progress), _threads(threads), overwrite)


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found.

    Attributes
    ----------
    problems : list of str
        One sentence for each thing that is wrong; empty when the file is whole.
    slabs : int
        How many slabs the file has.
    damaged_slabs : list of int
        Numbers of those that cannot be decoded; the slices of the others can still be had by
        `decompress(path, slices=...)`.
    damaged_slices : list of (int, int)
        First and last slice (k) of each of these.
    voxel_sha256 : str
        Hexadecimal digest of the decoded voxels, of an archive that of its files (FORMAT.md says of what); empty unless
        everything was decoded.
    """

    problems: list[str]
    slabs: int
    damaged_slabs: list[int]
    damaged_slices: list[tuple[int, int]]
    voxel_sha256: str

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(data: Source, threads: int | None = None, progress: Progress | None = None) -> VerifyReport:
    """Check every checksum of an `.mcz` file and decode everything, keeping a few slabs in memory at a time.

    Parameters
    ----------
    data : bytes-like, path or binary file
    threads, progress
        As in `compress`.

    Returns
    -------
    VerifyReport
        Damage is reported, not raised.

    Raises
    ------
    MedCompressError
        The file cannot be opened or read at all.
    """
    progress = _rising(progress)
    with _opened(data) as file:
        if _holds_archive(file):
            return _verify_archive(file, _threads(threads), progress)
        try:
            reader = Reader(file)
            decoder = SlabDecoder(reader)
        except FormatError as error:
            return VerifyReport([str(error)], 0, [], [], "")
        digests = np.empty((*reader.header.frames_shape[:2], 32), dtype=np.uint8)
        problems, damaged = [], []
        for number, found in _each_slab(reader, decoder, _threads(threads)):
            if isinstance(found, FormatError):
                problems.append(str(found))
                damaged.append(number)
            else:
                digests[reader.grid.ranges(number)] = found
            progress((number + 1) / len(reader.grid))
        if not problems:
            try:
                check_digest(reader, digests)
            except FormatError as error:
                problems.append(str(error))
        slices = [reader.grid.ranges(number)[1] for number in damaged]
        return VerifyReport(problems, len(reader.grid), damaged, [(part.start, part.stop - 1) for part in slices],
                            "" if problems else reader.voxel_digest.hex())


def info(data: Source, phi: bool = False) -> dict:
    """What an `.mcz` file holds, as plain JSON; no voxel is decoded, and neither model nor slabs are read.

    Parameters
    ----------
    data : bytes-like, path or binary file
    phi : bool
        Whether to tell of an archive what may identify the patient: names of files, UIDs, descriptions, the patient.

    Returns
    -------
    dict
        `format_version`, `file_bytes`, `voxel_bytes`, `ratio` (voxel bytes to file bytes), `bits_per_voxel` (of the
        whole file), `codec`, `preset`, `codec_config`, `quality`, `shape`, `axes`, `dtype`, `spacing_mm` (k, j, i),
        `ijk_to_ras`, `sequence`, `samples`, `slabs` (their count, size and how many hold the voxels as they are),
        `section_bytes`, `voxel_sha256` and `metadata`. Of an archive: `format_version`, `kind` ("archive"),
        `file_bytes`, `files` (their number), `files_bytes`, `files_without_image`, `ratio`, `series`, `volumes`,
        `section_bytes`, and with `phi` also `names`.

    Raises
    ------
    MedCompressError
        The file cannot be opened, is no `.mcz` file, or is damaged.
    """
    with _opened(data) as file:
        if _holds_archive(file):
            return _archive_info(file, phi)
        reader = Reader(file)
    header = reader.header
    voxels = math.prod(header.shape)
    voxel_bytes = voxels * header.dtype.itemsize
    spacing = Volume(np.zeros((1, 1, 1), np.uint8), reader.ijk_to_ras).spacing
    sequence = header.sequence and {"index_name": header.sequence.index_name, "unit": header.sequence.unit,
                                    "values": header.sequence.values}
    return {
        "format_version": VERSION,
        "file_bytes": reader.file_length,
        "voxel_bytes": voxel_bytes,
        "ratio": voxel_bytes / reader.file_length,
        "bits_per_voxel": 8 * reader.file_length / voxels,
        "codec": header.codec_id,
        "preset": header.preset,
        "codec_config": header.codec_config,
        "quality": header.quality,
        "shape": list(header.shape),
        "axes": header.axes,
        "dtype": header.dtype.name,
        "spacing_mm": list(spacing),
        "ijk_to_ras": reader.ijk_to_ras.tolist(),
        "sequence": sequence,
        "samples": header.samples_config,
        "slabs": {"count": len(reader.grid), "frames": header.slab_frames, "slices": header.slab_slices,
                  "stored_verbatim": int(np.count_nonzero(reader.index["storage"] == VERBATIM))},
        "section_bytes": reader.section_lengths,
        "voxel_sha256": reader.voxel_digest.hex(),
        "metadata": reader.metadata,
    }


def _each_slab(reader: Reader, decoder: SlabDecoder, threads: int) -> Iterator[tuple[int, np.ndarray | FormatError]]:
    """Every slab's number with the digests of its slices, or with what is wrong with it."""
    number = 0
    while number < len(reader.grid):
        # After an error the iterator is spent: go on behind the damaged slab with a new one.
        with closing(decoder.decode(range(number, len(reader.grid)), threads)) as results:
            try:
                for _, digests in results:
                    yield number, digests
                    number += 1
            except FormatError as error:
                yield number, error
                number += 1


@contextmanager
def _opened(data: Source) -> Iterator[BinaryIO]:
    """The bytes, the file of that name, or the open file itself, as a binary file."""
    if not isinstance(data, (*_BYTES, str, os.PathLike)) and hasattr(data, "read") and hasattr(data, "seek"):
        yield data
        return
    with _open_file(data) as file:
        try:
            yield file
        except FormatError as error:
            if isinstance(data, _BYTES):
                raise
            raise FormatError(f"{data}: {error}") from error


def _open_file(data: Source) -> BinaryIO:
    if isinstance(data, _BYTES):
        return io.BytesIO(data)
    if not isinstance(data, (str, os.PathLike)):
        raise UnsupportedError(f"Give the bytes of an {SUFFIX} file or its path, not {type(data).__name__}.")
    path = Path(data)
    if not path.exists():
        raise MedCompressError(f"There is no file {path}; check the path.")
    try:
        return path.open("rb")
    except OSError as error:
        raise MedCompressError(f"{path} cannot be read: {error.strerror or error}.") from error


def is_dicom(path: str | os.PathLike) -> bool:
    """Whether `read` would take a path for a DICOM file or a folder with DICOM files."""
    return kind(path) == "DICOM"


def _holds_archive(file: BinaryIO) -> bool:
    file.seek(0)
    return is_archive(file.read(START_LENGTH))


def _series_volume(file: BinaryIO, data: Source, series_uid: str | None, slices: slice | None, threads: int) -> Volume:
    from .dicom import read_files
    from .dicom_archive import Archive

    where = data if isinstance(data, (str, os.PathLike)) else "the archive"
    return read_files(Archive(file, threads).files, where, series_uid, slices)


def _verify_archive(file: BinaryIO, threads: int, progress: Progress) -> VerifyReport:
    from .dicom_archive import Archive

    slabs = 0
    try:
        archive = Archive(file, threads)
        slabs = sum(len(reader.grid) for readers in archive.volumes for reader in readers)
        for _ in archive.all_data(progress):
            pass
    except FormatError as error:
        return VerifyReport([str(error)], slabs, [], [], "")
    return VerifyReport([], slabs, [], [], archive.contents.digest.hex())


def _archive_info(file: BinaryIO, phi: bool) -> dict:
    from .dicom_archive import Archive, describe

    facts = describe(Archive(file, 1), phi)
    length = file.seek(0, io.SEEK_END)
    return {"format_version": VERSION, "kind": ARCHIVE, "file_bytes": length,
            "ratio": facts["files_bytes"] / length} | facts


def kind(path: str | os.PathLike) -> str:
    """".mcz", "archive", "DICOM" or, for all else, the ending of the name; the first three by content if possible."""
    path, start = Path(path), b""
    if not path.is_dir():
        with _opened(path) as file:
            start = file.read(_DICOM_START + len(_DICOM_MAGIC))
    if is_archive(start):
        return ARCHIVE
    if path.is_dir() or start[_DICOM_START:] == _DICOM_MAGIC or path.suffix.lower() == ".dcm":
        return "DICOM"
    return SUFFIX if start.startswith(MAGIC) else path.suffix.lower()


def _as_volume(volume: Volume | LazyVolume | np.ndarray) -> Volume | LazyVolume:
    if isinstance(volume, (Volume, LazyVolume)):
        return volume
    if isinstance(volume, np.ndarray):
        return Volume.from_array(volume)
    raise UnsupportedError(f"Give a Volume or a numpy array, not {type(volume).__name__}.")


def _given(quality: NearLossless | None,
           roi: RegionOfInterest | None) -> tuple[NearLossless | None, RegionOfInterest | None]:
    if quality is not None and not isinstance(quality, NearLossless):
        raise UnsupportedError(f"Give the quality as NearLossless(max_error), not {quality!r}.")
    if roi is not None and not isinstance(roi, RegionOfInterest):
        raise UnsupportedError(f"Give the region of interest as RegionOfInterest(labels), not {type(roi).__name__}.")
    return quality, roi


def _model_bytes(model: str | os.PathLike | None) -> bytes | None:
    if model is None:
        return None
    try:
        return Path(model).read_bytes()
    except OSError as error:
        raise UnsupportedError(f"The model {model} cannot be read: {error.strerror or error}.") from error


def _threads(threads: int | None) -> int:
    if threads is None:
        return default_threads()
    if type(threads) is not int or threads < 1:
        raise UnsupportedError(f"The number of threads must be a whole number above 0, not {threads!r}.")
    return threads


def _rising(progress: Progress | None) -> Progress:
    """A callback that may be called with anything and passes on only what is more than before."""
    highest = -1.0

    def report(fraction: float) -> None:
        nonlocal highest
        fraction = min(max(float(fraction), 0.0), 1.0)
        if fraction > highest:
            highest = fraction
            if progress is not None:
                progress(fraction)

    return report
