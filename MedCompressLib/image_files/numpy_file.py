"""NPY files (`.npy`), the format of `numpy.save`: voxels and nothing else, so a volume with more is not written."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..codecs import Progress
from ..errors import FormatError, UnsupportedError
from ..lazy import LazyVolume
from ..volume import SequenceAxis, Volume
from .plain import PlainSlabs, pieces


def file_names(name: str) -> list[str]:
    """The files that `write` makes."""
    return [name]


def read(path: Path) -> Volume:
    """Read an NPY file as `Volume.from_array` takes its array; see `MedCompressLib.image_files.read_image`."""
    return Volume.from_array(np.array(_mapped(path)))


def open_plain(path: Path, threads: int) -> LazyVolume | None:
    """The file for reading slab by slab; None when its voxels do not lie there in C order."""
    array = _mapped(path)
    if not (array.flags.c_contiguous and array.dtype.isnative):
        return None
    volume = Volume.from_array(array)  # which looks at no voxel
    shape = volume.frames, *volume.shape[volume.axes.index("k"):][:3], volume.components
    return LazyVolume(PlainSlabs([(path, array.offset)], array.dtype, shape), volume.components, volume.ijk_to_ras,
                      volume.axes, volume.sequence, {}, threads)


def write(path: Path, volume: Volume | LazyVolume, progress: Progress, threads: int) -> None:
    """Write an NPY file; see `MedCompressLib.image_files.write_image`. Nothing is compressed."""
    lost = {"matrix": not np.array_equal(volume.ijk_to_ras, np.eye(4)), "metadata": bool(volume.metadata),
            "sequence axis": "t" in volume.axes
            and volume.sequence != SequenceAxis.evenly_spaced("frame", "", volume.frames, 0, 1)}
    if any(lost.values()):
        raise UnsupportedError(f"NPY holds voxels only, the {' and the '.join(key for key in lost if lost[key])} of "
                               "this volume would be lost; write NRRD instead.")
    likeness = Volume.from_array(np.zeros([min(length, 5) for length in volume.shape], np.uint8))
    if likeness.axes != volume.axes:
        raise UnsupportedError(f"NPY does not name its axes, and {volume.axes!r} would be read as {likeness.axes!r}; "
                               "write NRRD instead.")
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": np.lib.format.dtype_to_descr(
            volume.dtype.newbyteorder("<")), "fortran_order": False, "shape": volume.shape})
        for piece in pieces(volume, progress):
            piece.tofile(file)


def _mapped(path: Path) -> np.memmap:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise FormatError(f"{path.name} is not a readable NPY file of numbers: it is damaged or truncated, or holds "
                          "Python objects.") from error
