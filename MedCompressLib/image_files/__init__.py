"""Image files in and out: NRRD, NHDR, NIfTI, MHA, MHD and NPY.

MetaImage goes through SimpleITK. NRRD and NIfTI are read and written here, because SimpleITK changes what has to stay
exact: it zeroes NaN and infinity in NIfTI, turns rescaled NIfTI integers into floats, makes sheared NIfTI grids
orthogonal, takes the voxels of a `.nii` of the same name for those of a `.nii.gz`, splits NRRD directions into length
and unit vector (the last bit of the geometry is lost), refuses NRRD with both a list and a vector axis, and cannot
write a list axis at all. What a format cannot hold exactly is refused.

Every reader puts the file's own header fields into `Volume.metadata` under the format's name ("NRRD", "NIfTI",
"MetaImage"); the writer of the same format puts back those that still fit.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from ..codecs import Progress
from ..errors import MedCompressError, UnsupportedError
from ..lazy import LazyVolume
from ..replacing import replacing_together
from ..slabs import thread_count
from ..volume import Volume

_MODULES = {".nrrd": ".nrrd", ".nhdr": ".nrrd", ".nii": ".nifti", ".nii.gz": ".nifti", ".mha": ".metaimage",
            ".mhd": ".metaimage", ".npy": ".numpy_file"}

SUFFIXES = tuple(_MODULES)


def is_image_file(path: str | os.PathLike) -> bool:
    """Whether the name ends like one of the formats that `read_image` and `write_image` know."""
    return _suffix(Path(path)) is not None


def read_image(path: str | os.PathLike) -> Volume:
    """Read an NRRD, NHDR, NIfTI, MHA, MHD or NPY file.

    Parameters
    ----------
    path : str or Path
        The image file; for NHDR and MHD the header file.

    Returns
    -------
    Volume
        Its voxels as they are stored. NIfTI's scaling is applied where it is exact in integers (slope and intercept are
        whole numbers) and otherwise left in the metadata.

    Raises
    ------
    FormatError
        The file is damaged or not of the format that its name says.
    UnsupportedError
        The file holds something that a `Volume` cannot hold exactly; the message gives the reason.
    MedCompressError
        The file cannot be opened.
    """
    with _module_to_read(Path(path)) as module:
        return module.read(Path(path))


def open_image(path: str | os.PathLike, threads: int) -> LazyVolume:
    """Open a file that `read_image` reads. Where its voxels lie there as they are, only the slabs asked for are read.

    Parameters
    ----------
    path : str or Path
    threads : int
        How many slabs are read at a time.
    """
    with _module_to_read(Path(path)) as module:
        lazy = module.open_plain(Path(path), threads) if hasattr(module, "open_plain") else None
        return LazyVolume.of(module.read(Path(path)), threads) if lazy is None else lazy


def write_image(path: str | os.PathLike, volume: Volume | LazyVolume, overwrite: bool = False,
                progress: Progress | None = None, threads: int | None = None) -> None:
    """Write an NRRD, NHDR, NIfTI, MHA, MHD or NPY file, the format chosen by the name.

    `read_image` returns the same voxels, type and matrix. Old files are replaced by whole ones, which keep their
    permissions, where a symbolic link points to; and not at all when writing fails. NHDR and MHD have a second file for
    the voxels beside the header, of the same name with `.raw.gz` or `.zraw`.

    Parameters
    ----------
    path : str or Path
        The file to write.
    volume : Volume or LazyVolume
        What to write. Of a lazy one, a few slabs are in memory at a time, but for MetaImage and for NIfTI with
        components, which need it whole.
    overwrite : bool
        Whether existing files may be replaced.
    progress : callable, optional
        Called with a fraction in [0, 1]; may raise to cancel.
    threads : int, optional
        How many threads compress (NRRD, NHDR and NIfTI); by default one per processor, at most 8. The bytes do not
        depend on it.

    Raises
    ------
    UnsupportedError
        The format cannot hold this volume; the message gives the reason.
    MedCompressError
        The file exists, or cannot be written.
    """
    path = Path(path)
    threads = thread_count(threads)
    module = _module_for(path)
    paths = [path.parent / name for name in module.file_names(path.name)]
    with replacing_together(paths, overwrite) as folder:
        module.write(folder / path.name, volume, progress or (lambda fraction: None), threads)
        if not all((folder / one.name).is_file() for one in paths):
            raise UnsupportedError(f"A file cannot be written under the name {path.name}; choose a plainer one.")


@contextmanager
def _module_to_read(path: Path) -> Iterator[ModuleType]:
    """The module for a file that exists; what the system reports while it reads comes out as one sentence."""
    module = _module_for(path)
    if not path.is_file():
        raise MedCompressError(f"There is no file {path}; check the path.")
    try:
        yield module
    except OSError as error:
        raise MedCompressError(f"{path} cannot be read: {error.strerror or error}.") from error
    except MemoryError as error:
        raise MedCompressError(f"{path} does not fit into the memory of this machine.") from error


def _suffix(path: Path) -> str | None:
    name = path.name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix) and name != suffix), None)


def _module_for(path: Path) -> ModuleType:
    suffix = _suffix(path)
    if suffix is None:
        raise UnsupportedError(f"{path.name} is not named like an image file; the endings known here are "
                               f"{', '.join(SUFFIXES)}.")
    return importlib.import_module(_MODULES[suffix], __name__)
