"""From a `Volume` to the bytes of an `.mcz` file, slab by slab.

    voxels -> SampleMap -> Codec -> Writer

Guarantees: the same bytes with any number of threads; beside the volume itself, memory for a few slabs; no slab is
larger than its voxels as they are, nor are all of them with the codec's model larger than with the codec "raw": then
that is what the volume is stored with. What the codec "neural" makes very small is stored with "wavelet" where that is
smaller still.
"""

from __future__ import annotations

import io
import os
from contextlib import closing
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from .background import with_constant_background
from .checksum import combined_digest, slice_digests
from .codecs import Codec, Progress, codec_ids, get_codec, has_previews
from .codecs.raw import RawCodec
from .container import CODED, VERBATIM, StoredSlab, Writer
from .errors import UnsupportedError
from .header import First, Header, check_grid
from .lazy import LazyArray, LazyVolume
from .lossy_slabs import fit_regions, prove
from .quality import ConstantBackground, Quality, Target
from .roi import RegionOfInterest
from .samples import SampleMap
from .slabs import SlabGrid, SlabSequence, ordered_map
from .targets import TARGET_CODEC, encode_target
from .volume import Volume

# Label maps have few distinct values in long runs along a row. On 22 volumes, neighbours in a row differ at 0.1 to 2 %
# of the voxels in label maps, and at 40 to 98 % in images of most kinds; but also at 5 % in an image mostly empty.
LABEL_CHANGES = 0.1
LABEL_VALUES = 4096
_PROBED_SLICES = 16
_TRIED_VOXELS = 1 << 20

_BOUNDED_CODEC = "neural"
_MODEL_CODEC = "neural"

_SIMPLE_CODEC = "wavelet"

# Share of the work, for the progress callback.
_FITTED = 0.2


def choose_codec(voxels: np.ndarray | LazyArray) -> str:
    """The codec "auto" stands for: "runs" for label maps and the like, "wavelet" for everything else.

    Parameters
    ----------
    voxels : (frames, k, j, i) array
        Up to 16 slices, spread evenly over the volume, are looked at. Where they look like labels, both codecs are
        tried on some slices in its middle.
    """
    frames, slices = voxels.shape[:2]
    planes = np.linspace(0, frames * slices - 1, min(_PROBED_SLICES, frames * slices)).astype(int)
    probe = np.stack([np.asarray(voxels[divmod(plane, slices)]) for plane in planes])
    probe = probe.view(f"u{probe.dtype.itemsize}")     # a NaN equals itself here
    changes = np.count_nonzero(probe[..., 1:] != probe[..., :-1]) / probe.size
    if changes > LABEL_CHANGES or len(np.unique(probe)) > LABEL_VALUES:
        return "wavelet"
    tried = min(slices, _PROBED_SLICES, max(1, _TRIED_VOXELS // probe[0].size))
    first = (slices - tried) // 2
    block = np.asarray(voxels[frames // 2:frames // 2 + 1, first:first + tried])
    samples = SampleMap.fit([block])
    mapped = [samples.forward(block)[0]]
    sizes = {}
    for codec_id in ("runs", "wavelet"):
        codec_class = get_codec(codec_id)
        codec = codec_class.fit(mapped, samples.maximum, next(iter(codec_class.presets)), (1.0, 1.0, 1.0))
        sizes[codec_id] = len(codec.encode(mapped[0])) + len(codec.model)
    return min(sizes, key=sizes.get)


def chosen(codec: str, preset: str | None, voxels: np.ndarray | LazyArray,
           model: bytes | None = None) -> tuple[type[Codec], str]:
    """The codec class and the name of the preset for what the user asked for ("auto" and None: the defaults)."""
    if model is not None and codec not in ("auto", _MODEL_CODEC):
        raise UnsupportedError(f"The codec {codec!r} uses no model; a model is for the codec {_MODEL_CODEC!r}.")
    if model is not None:
        codec = _MODEL_CODEC
    if codec not in ("auto", *codec_ids()):
        raise UnsupportedError(f"There is no codec {codec!r}; use one of auto, {', '.join(codec_ids())}.")
    codec_class = get_codec(choose_codec(voxels) if codec == "auto" else codec)
    if preset is None:
        return codec_class, next(iter(codec_class.presets))
    if not isinstance(preset, str) or preset not in codec_class.presets:
        raise UnsupportedError(f"The codec {codec_class.codec_id!r} has no preset {preset!r}; use one of "
                               f"{', '.join(codec_class.presets)}.")
    return codec_class, preset


def encode_volume(volume: Volume | LazyVolume, file: BinaryIO, codec: str, preset: str | None, threads: int,
                  progress: Progress, quality: Quality | None = None,
                  roi: RegionOfInterest | None = None, model: bytes | None = None) -> None:
    """Write a volume to an empty binary file that is open for writing and seeking.

    Parameters
    ----------
    volume : Volume or LazyVolume
        Each slab is taken several times: to choose the sample map, to fit the codec and to be encoded.
    file : binary file
    codec : str
        An id, or "auto".
    preset : str, optional
        A key of the codec's presets; by default the first.
    threads : int
    progress : callable
        Called in this thread with a fraction in [0, 1]; may raise to cancel.
    quality : NearLossless, Target or ConstantBackground, optional
        Lossless without it. With one of the first two the coded slabs are kept in memory until the last one is done,
        because the header before them says what was reached.
    roi : RegionOfInterest, optional
        Where other bounds than that of `quality` count, or what it leaves as it is; what a file with layers begins
        with.
    model : bytes, optional
        A model file for the codec "neural" to start from.

    Raises
    ------
    UnsupportedError
        No such codec or preset, the volume is beyond a limit of the format, or codec or volume cannot have the quality.
    """
    told, first = {"kind": "lossless"}, roi
    if isinstance(quality, ConstantBackground):
        volume, reached = with_constant_background(volume, roi, quality.value)
        if reached["changed_voxels"]:
            told = {"kind": "constant-background", "value": quality.value, "reached": reached}
        quality = roi = None
    voxels = volume.as_frames()
    if isinstance(quality, Target):
        if model is not None:
            raise UnsupportedError(f"A model is for the codec {_MODEL_CODEC!r}, which has no targets of size or PSNR.")
        encode_target(volume, voxels, file, *chosen(codec if codec != "auto" else TARGET_CODEC, preset, voxels),
                      threads, progress, quality, roi,
                      lambda volume, file: encode_volume(volume, file, codec, preset, threads, lambda fraction: None))
        return
    if quality is not None and (quality.max_error or roi is not None):
        if _encode_bounded_volume(volume, voxels, file, codec, preset, threads, progress, quality.max_error, roi,
                                  model):
            return
    elif roi is not None and not has_previews(codec):
        raise UnsupportedError("A region of interest needs a quality for what lies outside, as in "
                               "quality=NearLossless(20), or the codec 'progressive', whose files begin with it; "
                               "without both everything is lossless.")
    _encode_exactly(volume, voxels, file, codec, preset, threads, progress, model, told, first)


def _encode_exactly(volume: Volume | LazyVolume, voxels: np.ndarray | LazyArray, file: BinaryIO, codec: str,
                    preset: str | None, threads: int, progress: Progress, model: bytes | None, told: dict,
                    first: RegionOfInterest | None = None) -> None:
    """Write a file that decodes to these very voxels, and says `told` of their quality; where it has layers, with the
    slabs of a region first."""
    codec_class, preset = chosen(codec, preset, voxels, model)
    grid = SlabGrid.choose(voxels.shape, codec_class.slab_slices)
    check_grid(grid, UnsupportedError)  # before any work is done
    progress(0.0)
    samples = SampleMap.fit(SlabSequence(voxels, grid))
    mapped = SlabSequence(voxels, grid, lambda slab: samples.forward(slab)[0])
    codec_class.prepare(voxels.size)
    fitted = codec_class.fit(mapped, samples.maximum, preset, volume.spacing,
                             lambda fraction: progress(_FITTED * fraction), **_model_option(model))
    raw = RawCodec.for_maximum(samples.maximum)
    groups = _slabs_of(first, grid, volume.spacing) if first and codec_class.previews else ()

    def write(codec: Codec, preset: str) -> bool:
        """Write the whole file with this codec; whether that pays, so that "raw" would not be smaller."""
        header = Header(volume.shape, volume.dtype, volume.axes, volume.sequence, codec.codec_id, codec.get_config(),
                        preset, samples.get_config(), told, grid.frames, grid.slices, codec.n_layers,
                        First(codec.overview_layers, groups) if groups and codec.n_layers > 1 else None)
        writer = Writer(file, header, volume.ijk_to_ras, volume.metadata, codec.model, codec.format_version)
        gained = -len(codec.model)
        digests = np.empty((*voxels.shape[:2], 32), dtype=np.uint8)
        encoded = ordered_map(lambda slab: _encode(slab, samples, codec, raw), SlabSequence(voxels, grid), threads)
        with closing(encoded) as results:
            for number, (stored, plain_length, digests[grid.ranges(number)]) in enumerate(results):
                writer.append(stored)
                gained += plain_length - stored.length
                progress(_FITTED + (1 - _FITTED) * (number + 1) / len(grid))
        writer.finish(combined_digest(digests))
        return gained >= 0

    if not write(fitted, preset):
        file.seek(0)
        file.truncate()
        write(raw, next(iter(raw.presets)))
    elif codec_class.codec_id == _MODEL_CODEC and is_simple(file.seek(0, os.SEEK_END), voxels.size):
        simple = io.BytesIO()
        _encode_exactly(volume, voxels, simple, _SIMPLE_CODEC, None, threads, lambda fraction: progress(1.0), None,
                        told)
        if len(simple.getbuffer()) < file.tell():
            file.seek(0)
            file.truncate()
            file.write(simple.getbuffer())


def is_simple(length: int, n_voxels: int) -> bool:
    """Whether a file of the codec "neural" of that length may be larger than one of "wavelet".

    It was smaller on every image seen; on constant volumes, ramps and the like, what it must say about itself weighs
    more than what it saves.
    """
    return length < n_voxels // 8 + (1 << 14)


def _slabs_of(regions: RegionOfInterest, grid: SlabGrid,
              spacing: tuple[float, float, float]) -> tuple[tuple[int, ...], ...]:
    """The slabs that hold voxels of each priority, the highest first, each slab once."""
    left = {number: grid.ranges(number)[1] for number in range(len(grid))}
    groups = []
    for slices in regions.slices_by_priority(grid.shape[1:], spacing):
        groups.append(tuple(number for number, part in left.items() if slices[part].any()))
        for number in groups[-1]:
            del left[number]
    return tuple(filter(None, groups))


def _model_option(model: bytes | None) -> dict[str, bytes]:
    return {} if model is None else {"model": model}


def _encode_bounded_volume(volume: Volume | LazyVolume, voxels: np.ndarray | LazyArray, file: BinaryIO, codec: str,
                           preset: str | None, threads: int, progress: Progress, max_error: int,
                           roi: RegionOfInterest | None, model: bytes | None) -> bool:
    """Write a near-lossless file; False, with nothing written, where no voxel may be off at all."""
    codec_class, preset = chosen(codec if codec != "auto" else _BOUNDED_CODEC, preset, voxels, model)
    if not codec_class.near_lossless:
        raise UnsupportedError(f"The codec {codec_class.codec_id!r} is lossless only; use {_BOUNDED_CODEC!r} for a "
                               "bound on the error.")
    grid = SlabGrid.choose(voxels.shape, codec_class.slab_slices)
    check_grid(grid, UnsupportedError)
    regions, max_errors = (None, [max_error]) if roi is None else roi.regions(voxels.shape[1:], volume.spacing,
                                                                             max_error)
    progress(0.0)
    plain = SlabSequence(voxels, grid)
    samples, bound = SampleMap.fit_bounded(plain, max(max_errors))
    if not bound.max_error:
        return False
    if regions is not None:
        bound = replace(bound, regions=tuple(allowed >> samples.zeros for allowed in max_errors))
    mapped = SlabSequence(voxels, grid, lambda slab: samples.forward(slab)[0])
    codec_class.prepare(voxels.size)
    fitted = codec_class.fit(mapped, samples.maximum, preset, volume.spacing,
                             lambda fraction: progress(_FITTED * fraction), bound, **_model_option(model))
    if regions is not None:
        fit_regions(fitted, mapped, grid, regions, len(max_errors))

    def payload_of(_number: int, slab: np.ndarray, here: np.ndarray | None) -> bytes:
        return fitted.encode(samples.forward(slab)[0], here)

    proven = prove(plain, grid, fitted, samples, regions, max_errors, payload_of, threads,
                   lambda fraction: progress(_FITTED + (1 - _FITTED) * fraction))
    quality = {"kind": "near-lossless", "max_error": max(max_errors), "reached": proven.reached}
    if regions is not None:
        quality["regions"] = max_errors
    header = Header(volume.shape, volume.dtype, volume.axes, volume.sequence, fitted.codec_id, fitted.get_config(),
                    preset, samples.get_config(), quality, grid.frames, grid.slices)
    writer = Writer(file, header, volume.ijk_to_ras, volume.metadata, fitted.model, fitted.format_version)
    writer.write_all(proven.slabs, proven.digest)
    return True


def _encode(slab: np.ndarray, samples: SampleMap, codec: Codec, raw: RawCodec) -> tuple[StoredSlab, int, np.ndarray]:
    """A slab as it is stored, how long it would be with the codec "raw", and the digests of its slices."""
    digests = slice_digests(slab)
    digest = combined_digest(digests)[:8]
    mapped, residue = samples.forward(slab)
    chunks = codec.encode_layers(mapped)
    stored = StoredSlab(b"".join(chunks), residue, CODED, digest, tuple(map(len, chunks)))
    if stored.length > slab.nbytes:
        plain = slab.astype(slab.dtype.newbyteorder("<"), copy=False).tobytes()
        stored = StoredSlab(plain, b"", VERBATIM, digest, (len(plain), *[0] * (len(chunks) - 1)))
    return stored, min(raw.size(slab.size) + len(residue), slab.nbytes), digests
