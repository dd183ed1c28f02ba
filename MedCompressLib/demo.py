"""The demonstration: a real scan through every codec and back, beside gzip NRRD as 3D Slicer writes it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .api import info, read, write
from .codecs import codec_ids, get_codec
from .encode import choose_codec
from .errors import MedCompressError
from .volume import Volume

_LINE = "{:<20} {:>13} {:>8} {:>15} {:>11} {:>10}   {}"
HEADING = _LINE.format("", "bytes", "ratio", "bits per voxel", "write MB/s", "read MB/s", "").rstrip()


@dataclass(frozen=True)
class Result:
    """One way of storing a volume: file size in bytes, seconds to write and to read it, and whether it came back."""

    name: str
    size: int
    write_seconds: float
    read_seconds: float
    identical: bool


def run(path: Path | None = None, series_uid: str | None = None) -> bool:
    """Print the table for a scan, by default the one of `sample_scan`; returns whether everything came back."""
    path = path or sample_scan()
    volume = read(path, series_uid)
    print(f"{path.name or path}: {' x '.join(map(str, volume.shape))} voxels ({volume.axes}) of {volume.dtype}, "
          f"{volume.voxels.nbytes / 1e6:.1f} MB\n\n{HEADING}", flush=True)
    identical = True
    with tempfile.TemporaryDirectory(prefix="medcompress-") as folder:
        for measure in measurements(volume, Path(folder)):
            result = measure()
            print(row(result, volume.voxels), flush=True)
            identical &= result.identical
    return identical


def sample_scan() -> Path:
    """The functional MR scan (two frames of an echo-planar sequence) among nibabel's own test data."""
    try:
        import nibabel
    except ModuleNotFoundError:
        raise MedCompressError("The demonstration scan comes with the package nibabel, which is not installed; install "
                               "it (pip install nibabel) or name a scan of your own.") from None
    return Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz"


def measurements(volume: Volume, folder: Path) -> list[Callable[[], Result]]:
    """What is to be measured: gzip NRRD, then each codec that suits the volume and is installed."""
    measures = [lambda: measure_gzip_nrrd(volume, folder / "gzip.nrrd")]
    is_label_map = choose_codec(volume.as_frames()) == "runs"
    for codec_id in codec_ids(research=False):
        if codec_id == "raw" or (codec_id == "runs" and not is_label_map):
            continue
        try:
            get_codec(codec_id)
        except ModuleNotFoundError:
            continue
        measures.append(lambda codec_id=codec_id: measure_codec(volume, codec_id, folder / f"{codec_id}.mcz"))
    return measures


def measure_codec(volume: Volume, codec_id: str, path: Path) -> Result:
    """Write and read an `.mcz` file with the codec's first preset."""
    start = time.perf_counter()
    write(path, volume, codec_id, verify=False)  # it is verified below, and gzip NRRD is not verified either
    written = time.perf_counter()
    again = read(path)
    done = time.perf_counter()
    return Result(f"MedCompress {info(path)['codec']}", path.stat().st_size, written - start, done - written,
                  again.equals(volume))


def measure_gzip_nrrd(volume: Volume, path: Path) -> Result:
    """Write and read a gzip NRRD file with ITK, which is what 3D Slicer does."""
    import SimpleITK

    frames = volume.as_frames()
    image = SimpleITK.GetImageFromArray(frames[0] if len(frames) == 1 else frames, isVector=False)
    start = time.perf_counter()
    SimpleITK.WriteImage(image, str(path), useCompression=True)
    written = time.perf_counter()
    again = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    done = time.perf_counter()
    identical = again.dtype == frames.dtype and again.tobytes() == np.ascontiguousarray(frames).tobytes()
    return Result("gzip NRRD", path.stat().st_size, written - start, done - written, identical)


def row(result: Result, voxels: np.ndarray) -> str:
    """One line of the table; speeds are of the voxels in memory, files included."""
    megabytes = voxels.nbytes / 1e6
    cells = (result.name, f"{result.size:,}", f"{voxels.nbytes / result.size:.2f}",
             f"{8 * result.size / voxels.size:.3f}", f"{megabytes / result.write_seconds:.3g}",
             f"{megabytes / result.read_seconds:.3g}", f"identical: {'yes' if result.identical else 'NO'}")
    return _LINE.format(*cells)
