"""What a file holds and whether it is whole: `info` and `verify`."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from .container import ARCHIVE_VERSION, VERBATIM, Reader
from .decode import SlabDecoder, check_digest
from .errors import FormatError
from .progress import Progress, rising
from .slabs import stretches, thread_count
from .sources import ARCHIVE, Source, holds_archive, opened
from .volume import Volume


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
    progress = rising(progress)
    with opened(data) as file:
        if holds_archive(file):
            return _verify_archive(file, thread_count(threads), progress)
        try:
            reader = Reader(file)
            decoder = SlabDecoder(reader)
        except FormatError as error:
            return VerifyReport([str(error)], 0, [], [], "")
        digests = np.empty((*reader.header.frames_shape[:2], 32), dtype=np.uint8)
        problems, damaged = [], []
        for number, found in _each_slab(reader, decoder, thread_count(threads)):
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
        `first_slices` (where a codec with layers was given regions of interest, the first and last of each stretch of
        slices that come before others, of one priority after the other), `section_bytes`, `voxel_sha256` and
        `metadata`. Of an archive: `format_version`, `kind` ("archive"),
        `file_bytes`, `files` (their number), `files_bytes`, `files_without_image`, `ratio`, `series`, `volumes`,
        `section_bytes`, and with `phi` also `names`.

    Raises
    ------
    MedCompressError
        The file cannot be opened, is no `.mcz` file, or is damaged.
    """
    with opened(data) as file:
        if holds_archive(file):
            return _archive_info(file, phi)
        reader = Reader(file)
    header = reader.header
    voxels = math.prod(header.shape)
    voxel_bytes = voxels * header.dtype.itemsize
    spacing = Volume(np.zeros((1, 1, 1), np.uint8), reader.ijk_to_ras).spacing
    sequence = header.sequence and {"index_name": header.sequence.index_name, "unit": header.sequence.unit,
                                    "values": header.sequence.values}
    return {
        "format_version": reader.version,
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
        **_first_slices(reader),
        "section_bytes": reader.section_lengths,
        "voxel_sha256": reader.voxel_digest.hex(),
        "metadata": reader.metadata,
    }


def _first_slices(reader: Reader) -> dict:
    """The fact of that name, where it is one."""
    if reader.header.first is None:
        return {}
    found = []
    for group in reader.header.first.groups:
        chosen = np.zeros(reader.header.frames_shape[1], bool)
        for number in group:
            chosen[reader.grid.ranges(number)[1]] = True
        found.append(stretches(chosen))
    return {"first_slices": found}


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
    return {"format_version": ARCHIVE_VERSION, "kind": ARCHIVE, "file_bytes": length,
            "ratio": facts["files_bytes"] / length} | facts
