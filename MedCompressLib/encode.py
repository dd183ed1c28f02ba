"""From a `Volume` to the bytes of an `.mcz` file, slab by slab.

    voxels -> SampleMap -> Codec -> Writer

Guarantees: the same bytes with any number of threads; beside the volume itself, memory for a few slabs; no slab is
larger than its voxels as they are, nor are all of them with the codec's model larger than with the codec "raw": then
that is what the volume is stored with.
"""

from __future__ import annotations

from contextlib import closing
from typing import BinaryIO

import numpy as np

from .checksum import combined_digest, slice_digests
from .codecs import Codec, Progress, codec_ids, get_codec
from .codecs.raw import RawCodec
from .container import CODED, VERBATIM, StoredSlab, Writer
from .errors import UnsupportedError
from .header import Header, check_grid
from .lazy import LazyArray, LazyVolume
from .samples import SampleMap
from .slabs import SlabGrid, SlabSequence, ordered_map
from .volume import Volume

# Label maps are integers with few distinct values in long runs along a row. On 22 volumes, neighbours in a row differ
# at 0.1 to 2 % of the voxels in label maps, and at 40 to 98 % in images of every modality.
LABEL_CHANGES = 0.1
LABEL_VALUES = 4096
_PROBED_SLICES = 16

# Share of the work, for the progress callback.
_FITTED = 0.2


def choose_codec(voxels: np.ndarray | LazyArray) -> str:
    """The codec "auto" stands for: "runs" for label maps, "wavelet" for everything else.

    Parameters
    ----------
    voxels : (frames, k, j, i) array
        Up to 16 slices, spread evenly over the volume, are looked at.
    """
    if voxels.dtype.kind not in "iu":
        return "wavelet"
    frames, slices = voxels.shape[:2]
    planes = np.linspace(0, frames * slices - 1, min(_PROBED_SLICES, frames * slices)).astype(int)
    probe = np.stack([voxels[divmod(plane, slices)] for plane in planes])
    changes = np.count_nonzero(probe[..., 1:] != probe[..., :-1]) / probe.size
    if changes > LABEL_CHANGES or len(np.unique(probe)) > LABEL_VALUES:
        return "wavelet"
    return "runs"


def chosen(codec: str, preset: str | None, voxels: np.ndarray | LazyArray) -> tuple[type[Codec], str]:
    """The codec class and the name of the preset for what the user asked for ("auto" and None: the defaults)."""
    if codec not in ("auto", *codec_ids()):
        raise UnsupportedError(f"There is no codec {codec!r}; use one of auto, {', '.join(codec_ids())}.")
    codec_class = get_codec(choose_codec(voxels) if codec == "auto" else codec)
    if preset is None:
        return codec_class, next(iter(codec_class.presets))
    if preset not in codec_class.presets:
        raise UnsupportedError(f"The codec {codec_class.codec_id!r} has no preset {preset!r}; use one of "
                               f"{', '.join(codec_class.presets)}.")
    return codec_class, preset


def encode_volume(volume: Volume | LazyVolume, file: BinaryIO, codec: str, preset: str | None, threads: int,
                  progress: Progress) -> None:
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

    Raises
    ------
    UnsupportedError
        No such codec or preset, or the volume is beyond a limit of the format.
    """
    voxels = volume.as_frames()
    codec_class, preset = chosen(codec, preset, voxels)
    grid = SlabGrid.choose(voxels.shape, codec_class.slab_slices)
    check_grid(grid, UnsupportedError)  # before any work is done
    progress(0.0)
    samples = SampleMap.fit(SlabSequence(voxels, grid))
    mapped = SlabSequence(voxels, grid, lambda slab: samples.forward(slab)[0])
    fitted = codec_class.fit(mapped, samples.maximum, preset, volume.spacing,
                             lambda fraction: progress(_FITTED * fraction))
    raw = RawCodec.for_maximum(samples.maximum)

    def write(codec: Codec, preset: str) -> bool:
        """Write the whole file with this codec; whether that pays, so that "raw" would not be smaller."""
        header = Header(volume.shape, volume.dtype, volume.axes, volume.sequence, codec.codec_id, codec.get_config(),
                        preset, samples.get_config(), {"kind": "lossless"}, grid.frames, grid.slices)
        writer = Writer(file, header, volume.ijk_to_ras, volume.metadata, codec.model)
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


def _encode(slab: np.ndarray, samples: SampleMap, codec: Codec, raw: RawCodec) -> tuple[StoredSlab, int, np.ndarray]:
    """A slab as it is stored, how long it would be with the codec "raw", and the digests of its slices."""
    digests = slice_digests(slab)
    digest = combined_digest(digests)[:8]
    mapped, residue = samples.forward(slab)
    stored = StoredSlab(codec.encode(mapped), residue, CODED, digest)
    if stored.length > slab.nbytes:
        stored = StoredSlab(slab.astype(slab.dtype.newbyteorder("<"), copy=False).tobytes(), b"", VERBATIM, digest)
    return stored, min(raw.size(slab.size) + len(residue), slab.nbytes), digests
