"""From the files of a folder to an archive."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..checksum import crc32c
from ..codecs import Progress
from ..encode import encode_volume
from ..errors import MedCompressError, UnsupportedError
from .archive import Archive
from .catalogue import FILE_LIMIT, Entry
from .elements import IMAGE, Step, parse, rebuild
from .file import Contents, write_archive
from .images import Image, find_image, split
from .stacks import Stack, group, in_slices, order, volume_of

# Shares of the work, for the progress callback.
_READ, _CODED = 0.1, 0.6


def pack(files: dict[str, Path], file: BinaryIO, codec: str, preset: str | None, threads: int,
         progress: Progress) -> None:
    """Write an archive of files and prove that each comes back byte for byte.

    Parameters
    ----------
    files : dict of str to Path
        Name in the archive, parts divided by "/", and where the file is.
    file : binary file
        Empty, open for reading and writing.
    codec, preset, threads
        As in `api.compress`, for the images.
    progress : callable
        Called in this thread with a fraction in [0, 1]; may raise to cancel.

    Raises
    ------
    MedCompressError
        A file cannot be read, or changed meanwhile.
    UnsupportedError
        No such codec or preset, or more than an archive can hold.
    """
    if len(files) > FILE_LIMIT:
        raise UnsupportedError(f"An archive holds at most {FILE_LIMIT} files, not {len(files)}; make several.")
    entries, found, pixels, digests = [], {}, {}, hashlib.sha256()
    for number, (name, path) in enumerate(files.items()):
        data = read_whole(path)
        digests.update(hashlib.sha256(data).digest())
        steps, values = parse(data)
        image = find_image(steps, values)
        if image is not None:
            found[number] = image
            pixels[number] = values[image.value][:image.frames * image.layout.frame_bytes]
            steps, values = _without_image(steps, values, image)
        entries.append(Entry(os.fsencode(name), steps, values, crc32c(data)))
        progress(_READ * (number + 1) / len(files))
    total = sum(map(len, pixels.values()))
    groups, done = group(found), 0
    stacks, volumes = [], []
    for members in groups:
        share = sum(len(pixels[number]) for number in members) / total

        def report(fraction: float, start: float = done / total, share: float = share) -> None:
            progress(_READ + (_CODED - _READ) * (start + share * fraction))

        stack, coded = _stack(members, entries, found, pixels, (codec, preset, threads), report)
        stacks.append(stack)
        volumes += coded
        done += sum(len(pixels[number]) for number in members)
        for number in members:
            del pixels[number]
    images = _places(groups, found)
    write_archive(file, Contents(entries, stacks, images, digests.digest()), volumes)
    _prove(file, files, threads, lambda fraction: progress(_CODED + (1 - _CODED) * fraction))


def read_whole(path: Path) -> bytes:
    """The bytes of a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise MedCompressError(f"{path} cannot be read: {error.strerror or error}.") from error


def _without_image(steps: list[Step], values: list[bytes], image: Image) -> tuple[list[Step], list[bytes]]:
    """The structure with a place for the image, and the values with what follows the image in its stead."""
    rest = values[image.value][image.frames * image.layout.frame_bytes:]
    return ([*steps[:image.step], replace(steps[image.step], kind=IMAGE), *steps[image.step + 1:]],
            [*values[:image.value], rest, *values[image.value + 1:]])


def _stack(members: list[int], entries: list[Entry], found: dict[int, Image], pixels: dict[int, bytes],
           how: tuple[str, str | None, int], progress: Progress) -> tuple[Stack, list[bytes]]:
    """A stack and its coded volumes."""
    layout = found[members[0]].layout
    words = np.concatenate([layout.words(pixels[number]) for number in members])
    headers = [rebuild(entries[number].steps[:found[number].step], entries[number].values[:found[number].value])
               for number in members]
    slices, repeats, matrix = order(words, headers, [found[number].frames for number in members])
    parts = split(in_slices(words, slices), layout)
    arrays = [parts.samples] if parts.others is None else [parts.samples, parts.others]
    coded = []
    for number, array in enumerate(arrays):
        volume_file = io.BytesIO()
        codec, preset, threads = how if number == 0 else ("auto", None, how[2])
        encode_volume(volume_of(array, repeats, matrix), volume_file, codec, preset, threads,
                      lambda fraction, number=number: progress((number + fraction) / len(arrays)))
        coded.append(volume_file.getvalue())
    return Stack(layout, slices, repeats, parts.stored, parts.high, parts.zeros, list(map(len, coded))), coded


def _places(groups: list[list[int]], found: dict[int, Image]) -> dict[int, tuple[int, int, int]]:
    """For each file with images: its stack, its first image there, how many; in the order of files."""
    places = {}
    for stack, members in enumerate(groups):
        first = 0
        for number in members:
            places[number] = stack, first, found[number].frames
            first += found[number].frames
    return dict(sorted(places.items()))


def _prove(file: BinaryIO, files: dict[str, Path], threads: int, progress: Progress) -> None:
    archive = Archive(file, threads)
    if archive.names != list(files):
        raise MedCompressError("The archive does not name its files as they are named, so it was discarded; please "
                               "report this as an error of MedCompress.")
    for path, data in zip(files.values(), archive.all_data(progress), strict=True):
        if read_whole(path) != data:
            raise MedCompressError(f"{path} does not come back from the archive as it is now: it changed while it was "
                                   "archived, or MedCompress is in error. The archive was discarded.")
