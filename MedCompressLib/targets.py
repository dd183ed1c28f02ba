"""From a `Volume` to an `.mcz` file of a wanted size or fidelity.

The step of the quantiser is found on a sample of the volume first, then on the whole; a handful of encodings are
enough, since the logarithms of size and error are nearly straight lines over that of the step. What the file then says
was reached has been measured on what it decodes to.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import BinaryIO

import numpy as np

from .codecs import Codec, Progress, get_codec
from .container import Writer
from .errors import UnsupportedError
from .header import Header, check_grid
from .lazy import LazyArray, LazyVolume
from .lossy_slabs import fit_regions, prove
from .quality import SampleStep, Target
from .roi import RegionOfInterest
from .samples import SampleMap
from .slabs import SlabGrid, SlabSequence, ordered_map
from .step_search import Goal, Search
from .volume import Volume

TARGET_CODEC = "wavelet"

_TRIALS, _ENCODINGS = 6, 8
_FINEST, _COARSEST = 2.0**-5, 4.0         # steps looked at: in samples, and in parts of the range
_LEAST_RANGE = 2.0**-17                    # of the step, in parts of the range: coefficients have 32 bits
_OCTAVES = 0.7                             # weights fitted to a step so far away are fitted again
_SLACK = 1.5                               # lossless may turn out so much smaller than the sample says
_FITTED, _PROVEN = 0.3, 0.9                # shares of the work, for the progress callback

Lossless = Callable[["Volume | LazyVolume", BinaryIO], None]


def encode_target(volume: Volume | LazyVolume, voxels: np.ndarray | LazyArray, file: BinaryIO,
                  codec_class: type[Codec], preset: str, threads: int, progress: Progress, target: Target,
                  roi: RegionOfInterest | None, lossless: Lossless) -> None:
    """Write a volume to an empty file that meets the target; without loss where that is not larger.

    Parameters
    ----------
    volume, file, threads, progress
        As in `encode_volume`.
    voxels : (frames, k, j, i) array
        Of the volume.
    codec_class : Codec class
    preset : str
        One of its presets.
    target : Target
    roi : RegionOfInterest, optional
        What it takes comes on top of the target, which is for what the rest would take alone.
    lossless : callable
        Writes a volume to an empty file without loss.

    Raises
    ------
    UnsupportedError
        A codec without targets, voxels that cannot have one, or no file is small enough.
    """
    if not codec_class.lossy:
        raise UnsupportedError(f"The codec {codec_class.codec_id!r} has no targets of size or PSNR; use "
                               f"{TARGET_CODEC!r} for them.")
    grid = SlabGrid.choose(voxels.shape, codec_class.lossy_slab_slices)
    check_grid(grid, UnsupportedError)
    codec_class.prepare(voxels.size)
    progress(0.0)
    plain = SlabSequence(voxels, grid)
    regions, bounds = None, []
    if roi is not None:
        if voxels.dtype.kind == "f":
            raise UnsupportedError(f"A region of interest needs integer voxels, and these are {voxels.dtype.name}.")
        regions, bounds = roi.regions(voxels.shape[1:], volume.spacing, None)
    job = _Job(volume, plain, grid, SampleMap.fit_linear(plain), preset, target, threads, regions, bounds)
    goal = Goal.of(target, voxels, job.samples.maximum)
    if _fits_without_loss(job, goal, lossless):
        lossless(volume, file)
        if goal.file_bytes is None or file.seek(0, io.SEEK_END) <= goal.file_bytes:
            return
        _empty(file)
    best, nearest = _search(job, goal, codec_class, lambda fraction: progress(_PROVEN * fraction))
    if goal.file_bytes is None and (best is None or _may_be_smaller(job, best, lossless)):
        lossless(volume, file)
        if best is None or file.seek(0, io.SEEK_END) <= best.file_bytes:
            return
        _empty(file)
    if best is None:
        raise UnsupportedError(f"No file of this volume is so small; the smallest would take {nearest.file_bytes} "
                               f"bytes, {goal.file_bytes:.0f} are asked for.")
    _write(job, best, file, lambda fraction: progress(_PROVEN + (1 - _PROVEN) * fraction))
    if roi is not None and _lossless_bytes(job, lossless) <= file.seek(0, io.SEEK_END):  # as where they are everything
        _empty(file)
        lossless(volume, file)


@dataclass(frozen=True)
class _Job:
    """What stays the same from trial to trial."""

    volume: Volume | LazyVolume
    plain: SlabSequence
    grid: SlabGrid
    samples: SampleMap
    preset: str
    target: Target
    threads: int
    regions: np.ndarray | None
    bounds: list[int | None]

    @property
    def voxels(self) -> int:
        return math.prod(self.grid.shape)

    @property
    def mapped(self) -> SlabSequence:
        return SlabSequence(self.volume.as_frames(), self.grid, self.samples.nearest)

    def header(self, codec: Codec, reached: dict) -> Header:
        quality = {"kind": "lossy", "target": asdict(self.target), "reached": reached}
        if codec.regions:
            quality["regions"] = self.bounds
        volume = self.volume
        return Header(volume.shape, volume.dtype, volume.axes, volume.sequence, codec.codec_id, codec.get_config(),
                      self.preset, self.samples.get_config(), quality, self.grid.frames, self.grid.slices)

    def writer(self, file: BinaryIO, codec: Codec, reached: dict) -> Writer:
        return Writer(file, self.header(codec, reached), self.volume.ijk_to_ras, self.volume.metadata, codec.model,
                      codec.format_version)

    def overhead(self, codec: Codec) -> int:
        """Bytes of a file without its payloads, with the longest numbers that may turn out to be reached."""
        file = io.BytesIO()
        fraction = 1.234567891e-05
        error = int(self.samples.maximum * self.samples.unit) if self.samples.dtype.kind in "iu" else fraction
        self.writer(file, codec, {"max_error": error, "peak": error, "psnr_db": 123.4567891, "rmse": fraction,
                                  "changed_voxels": self.voxels, "voxels": self.voxels})
        return len(file.getvalue())


@dataclass(frozen=True)
class _Encoded:
    """A whole volume as it was encoded once."""

    codec: Codec
    payloads: list[bytes]
    file_bytes: int
    squared_error: float


def _fits_without_loss(job: _Job, goal: Goal, lossless: Lossless) -> bool:
    """Whether a file without loss is likely to be no larger than it may be, from a sample."""
    if job.samples.maximum == 0:
        return True
    return goal.file_bytes is not None and _lossless_bytes(job, lossless) <= _SLACK * goal.file_bytes


def _may_be_smaller(job: _Job, best: _Encoded, lossless: Lossless) -> bool:
    return _lossless_bytes(job, lossless) <= _SLACK * best.file_bytes


def _lossless_bytes(job: _Job, lossless: Lossless) -> float:
    """About what a file without loss takes."""
    sample = get_codec(TARGET_CODEC).sampled(job.plain)
    file = io.BytesIO()
    lossless(Volume(sample, axes="tkji") if len(sample) > 1 else Volume(sample[0]), file)
    return len(file.getvalue()) * job.voxels / sample.size


def _search(job: _Job, goal: Goal, codec_class: type[Codec],
            progress: Progress) -> tuple[_Encoded | None, _Encoded]:
    """The encoding nearest to the goal that meets it, if any does, and the one nearest to it of all."""
    ends = (max(_FINEST, job.samples.maximum * _LEAST_RANGE), _COARSEST * max(1, job.samples.maximum))
    codec, step, slope = _fit(job, goal, codec_class, ends, lambda fraction: progress(_FITTED * fraction))
    search = Search(goal, *ends, slope)
    best = nearest = None
    for number in range(_ENCODINGS):
        trial = _encode_all(job, codec.at_step(step), lambda fraction, number=number: progress(
            _FITTED + (1 - _FITTED) * min(1.0, (number + fraction) / 4)))
        distance = goal.distance(trial.file_bytes, trial.squared_error)
        search.add(step, distance)
        if nearest is None or abs(distance) < nearest[0]:
            nearest = abs(distance), trial
        if goal.kept(distance) and (best is None or abs(distance) < best[0]):
            best = abs(distance), trial
        step = search.next()
        if step is None:
            break
    return best and best[1], nearest[1]


def _fit(job: _Job, goal: Goal, codec_class: type[Codec], ends: tuple[float, float],
         progress: Progress) -> tuple[Codec, float, float]:
    """A codec fitted to a sample of the volume, the step that meets the goal there, and the slope around it."""
    sample = codec_class.sampled(job.mapped)

    def distance(codec: Codec) -> float:
        payload, decoded = codec.encode_measured(sample)
        error = (decoded - sample.astype(np.float64)).ravel()
        return goal.distance(job.overhead(codec) + len(payload) * job.voxels / sample.size,
                             error @ error / sample.size)

    if goal.file_bytes:
        bits = min(8 * goal.file_bytes / job.voxels, 24)
        step = 4 * float(np.abs(np.diff(sample, axis=3)).mean() if sample.shape[3] > 1 else 1) * 2.0**-bits
    else:
        step = math.sqrt(15 * goal.squared_error)
    step = min(max(step, ends[0]), ends[1])
    for attempt in range(2):
        codec = codec_class.fit([sample], job.samples.maximum, job.preset, job.volume.spacing,
                                lambda fraction, attempt=attempt: progress((attempt + 0.8 * fraction) / 2),
                                SampleStep(step))
        search, fitted_at = Search(goal, *ends), step
        for _ in range(_TRIALS):
            search.add(step, distance(codec.at_step(step)))
            further = search.next()
            if further is None:
                break
            step = further
        if abs(math.log2(step / fitted_at)) < _OCTAVES:
            break
    return codec, step, search.slope


def _encode_all(job: _Job, codec: Codec, progress: Progress) -> _Encoded:
    def encode(slab: np.ndarray) -> tuple[bytes, float]:
        payload, decoded = codec.encode_measured(slab)
        error = (decoded - slab.astype(np.float64)).ravel()
        return payload, float(error @ error)

    payloads, squares = [], 0.0
    with closing(ordered_map(encode, job.mapped, job.threads)) as results:
        for payload, square in results:
            payloads.append(payload)
            squares += square
            progress(len(payloads) / len(job.grid))
    return _Encoded(codec, payloads, job.overhead(codec) + sum(map(len, payloads)),
                    squares / job.voxels)


def _write(job: _Job, encoded: _Encoded, file: BinaryIO, progress: Progress) -> None:
    """Write the file, with what was measured on what it decodes to."""
    codec, regions = encoded.codec, job.regions
    if regions is not None:
        codec = codec.with_regions([None if bound is None else bound // int(job.samples.unit) for bound in job.bounds])
        fit_regions(codec, job.mapped, job.grid, regions, len(job.bounds))

    def payload_of(number: int, slab: np.ndarray, here: np.ndarray | None) -> bytes:
        payload = encoded.payloads[number]
        return payload if here is None else codec.add_layer(payload, job.samples.nearest(slab), here)

    proven = prove(job.plain, job.grid, codec, job.samples, regions, job.bounds or [None], payload_of, job.threads,
                   progress)
    job.writer(file, codec, proven.reached).write_all(proven.slabs, proven.digest)


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()
