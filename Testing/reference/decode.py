"""Section 13: how to decode."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import container, nagoor, neural, progressive, raw, runs, wavelet
from .checksums import voxel_digest
from .refuse import require
from .samples import SampleMap

CODECS = {"raw": raw, "wavelet": wavelet, "runs": runs, "neural": neural, "nagoor": nagoor, "progressive": progressive}


@dataclass
class Decoded:
    """What a file holds."""

    voxels: np.ndarray
    axes: str
    ijk_to_ras: np.ndarray
    sequence: dict | None
    metadata: dict


def decode(data: bytes) -> Decoded:
    """Decode a whole file, or raise `RefusedError`."""
    file = container.read(data)
    header = file.header
    voxels = to_axes(decode_frames(file), header)
    return Decoded(voxels, header["axes"], file.ijk_to_ras, header.get("sequence"), file.metadata)


def preview(data: bytes, reduction: int, budget: int) -> np.ndarray:
    """Voxels (k, j, i) of a file with layers at 1 / 2^reduction of the size, from `budget` of its bytes (10.6)."""
    codec = container.read(data, [], 0).header["codec"]
    wanted = [0, *(number for number, (level, _) in enumerate(codec["config"]["layers"], 1) if level >= reduction)]
    file = container.read(data, wanted, budget)
    sample_map = SampleMap(file.header["samples"])
    frames, slices, rows, columns = container.frames_shape(file.header)
    small = np.empty((frames, slices, -(-rows >> reduction), -(-columns >> reduction)), file.header["dtype"])
    for slab in file.slabs:
        shape = (*small[slab.frames, slab.slices].shape[:2], rows, columns)
        samples = progressive.preview_slab(codec["config"], file.model, slab.chunks, shape, reduction)
        small[slab.frames, slab.slices] = sample_map.voxels(samples, b"")
    return small[0]


def decode_frames(file: container.File) -> np.ndarray:
    """The voxels as an array (frames, k, j, i)."""
    sample_map = SampleMap(file.header["samples"])
    codec = set_up(file, sample_map.maximum)
    frames = np.empty(container.frames_shape(file.header), file.header["dtype"])
    for slab in file.slabs:
        part = decode_slab(file, slab, sample_map, codec, frames[slab.frames, slab.slices].shape)
        require(voxel_digest(part)[:8] == slab.digest, "a slab has other voxels than it should")
        frames[slab.frames, slab.slices] = part
    require(voxel_digest(frames) == file.voxel_digest, "the volume has other voxels than it should")
    return frames


def set_up(file: container.File, maximum: int) -> Callable:
    """The codec as a function of payload (or chunks), shape and perhaps regions of a slab, which returns samples."""
    name, config = file.header["codec"]["id"], file.header["codec"]["config"]
    require(name in CODECS, "an unknown codec")
    regions, own = (where.get("regions", []) for where in (file.header["quality"], config))
    require(not regions or name in ("neural", "wavelet"), "regions for a codec that has none")
    require(isinstance(own, list) and len(own) == len(regions), "regions in the header or in the configuration only")
    layers = file.header.get("layers", 1)
    if name == "progressive":
        return progressive.set_up(config, file.model, maximum, layers)
    require(layers == 1, "layers for a codec that has none")
    return CODECS[name].set_up(config, file.model, maximum)


def decode_slab(file: container.File, slab: container.Slab, sample_map: SampleMap, codec: Callable,
                shape: tuple) -> np.ndarray:
    """Voxels of a slab (section 7)."""
    dtype = np.dtype(file.header["dtype"])
    if slab.storage == 1:
        size = int(np.prod(shape)) * dtype.itemsize
        payload = b"".join(slab.chunks)
        require(len(payload) == size and not slab.residue, "voxels as they are, of another length")
        return np.frombuffer(payload, dtype.newbyteorder("<")).reshape(shape).astype(dtype)
    coded = slab.chunks if file.header["codec"]["id"] == "progressive" else slab.chunks[0]
    if "regions" in file.header["quality"]:
        regions = runs.decode_slab(slab.residue, (1, *shape[1:]))
        require(bool((regions < len(file.header["quality"]["regions"])).all()), "a region that there is not")
        samples, residue = codec(coded, shape, np.broadcast_to(regions, shape)), b""
    else:
        samples, residue = codec(coded, shape), slab.residue
    require(bool(((samples >= 0) & (samples <= sample_map.maximum)).all()), "a sample out of range")
    return sample_map.voxels(samples, residue)


def to_axes(frames: np.ndarray, header: dict) -> np.ndarray:
    """From (frames, k, j, i) to the axes of the volume: frame number t * components + c goes to (t, ..., c)."""
    length = dict(zip(header["axes"], header["shape"], strict=True))
    times, components = length.get("t", 1), length.get("c", 1)
    return np.moveaxis(frames.reshape(times, components, *frames.shape[1:]), 1, -1).reshape(header["shape"])
