"""Section 13: how to decode."""

from dataclasses import dataclass

import numpy as np

from . import container, nagoor, neural, progressive, raw, runs, wavelet
from .checksums import voxel_digest
from .refuse import require
from .samples import SampleMap

CODECS = {"raw": raw, "wavelet": wavelet, "runs": runs, "neural": neural, "nagoor": nagoor}


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
    frames = np.empty(container.frames_shape(file.header), file.header["dtype"])
    for slab in file.slabs:
        part = decode_slab(file, slab, sample_map, frames[slab.frames, slab.slices].shape)
        require(voxel_digest(part)[:8] == slab.digest, "a slab has other voxels than it should")
        frames[slab.frames, slab.slices] = part
    require(voxel_digest(frames) == file.voxel_digest, "the volume has other voxels than it should")
    return frames


def decode_slab(file: container.File, slab: container.Slab, sample_map: SampleMap, shape: tuple) -> np.ndarray:
    """Voxels of a slab (section 7)."""
    dtype = np.dtype(file.header["dtype"])
    codec = file.header["codec"]
    require(codec["id"] in CODECS or codec["id"] == "progressive", "an unknown codec")
    if slab.storage == 1:
        size = int(np.prod(shape)) * dtype.itemsize
        payload = b"".join(slab.chunks)
        require(len(payload) == size and not slab.residue, "voxels as they are, of another length")
        return np.frombuffer(payload, dtype.newbyteorder("<")).reshape(shape).astype(dtype)
    if codec["id"] == "progressive":
        samples = progressive.decode_slab(codec["config"], file.model, sample_map.maximum, slab.chunks, shape)
        require(bool(((samples >= 0) & (samples <= sample_map.maximum)).all()), "a sample out of range")
        return sample_map.voxels(samples, slab.residue)
    require(len(slab.chunks) == 1, "layers for a codec that has none")
    parameters = codec["config"], file.model, sample_map.maximum, slab.chunks[0], shape
    residue = slab.residue
    if "regions" in file.header["quality"]:
        require(codec["id"] in ("neural", "wavelet"), "regions for a codec that has none")
        require(len(codec["config"].get("regions", [])) == len(file.header["quality"]["regions"]), "other regions")
        regions = runs.decode_slab({}, b"", 0, residue, (1, *shape[1:]))
        require(bool((regions < len(file.header["quality"]["regions"])).all()), "a region that there is not")
        samples, residue = CODECS[codec["id"]].decode_slab(*parameters, np.broadcast_to(regions, shape)), b""
    else:
        samples = CODECS[codec["id"]].decode_slab(*parameters)
    require(bool(((samples >= 0) & (samples <= sample_map.maximum)).all()), "a sample out of range")
    return sample_map.voxels(samples, residue)


def to_axes(frames: np.ndarray, header: dict) -> np.ndarray:
    """From (frames, k, j, i) to the axes of the volume: frame number t * components + c goes to (t, ..., c)."""
    length = dict(zip(header["axes"], header["shape"], strict=True))
    times, components = length.get("t", 1), length.get("c", 1)
    return np.moveaxis(frames.reshape(times, components, *frames.shape[1:]), 1, -1).reshape(header["shape"])
