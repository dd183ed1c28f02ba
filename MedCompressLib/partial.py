"""A volume from a part of a file: from its first bytes, or in a smaller size.

    first layers of all slabs -> Codec -> SampleMap -> voxels near the true ones

Guarantees: a layer that is used has passed its checksum; the result says in its metadata that it is a preview, of how
many bytes; with every byte and no reduction it is the volume itself, checked like any other.
"""

from __future__ import annotations

import numpy as np

from .checksum import combined_digest, slice_digests
from .codecs import Progress
from .codecs.raw import RawCodec
from .container import VERBATIM, Reader
from .decode import SlabDecoder, decode_volume, verbatim_voxels
from .errors import UnsupportedError
from .slabs import ordered_map, stretches
from .volume import Volume

_BATCH_VOXELS = 1 << 21      # slabs of a small size are decoded together, for fewer steps in Python

MARK = "preview"
"""Key of the metadata that tells a preview from the volume itself."""


def preview_volume(reader: Reader, reduction: int, budget: int | float | None, threads: int,
                   progress: Progress) -> Volume:
    """The best volume that some of a file's bytes allow.

    Parameters
    ----------
    reader : Reader
        Of a whole or a truncated file.
    reduction : int
        Rows and columns at 1 / 2**reduction of their number; layers that only finer sizes need are not read.
    budget : int or float, optional
        At most so many bytes are read, those before the first slab among them; or that share of the whole file.
    threads : int
    progress : callable

    Returns
    -------
    Volume
        `metadata["preview"]` has `reduction`, `bytes` (used), `file_bytes` (of the whole file), `layers` (how many
        each slab has at least) and `exact_slices`: the first and last of each stretch of slices (k) whose voxels have
        been held against their digest.

    Raises
    ------
    UnsupportedError
        The codec has no layers, or not so many sizes; or too small a budget.
    """
    decoder = SlabDecoder(reader)
    codec = decoder.codec
    if not codec.previews:
        if codec.codec_id == RawCodec.codec_id:
            raise UnsupportedError("The file holds its samples as they are, as where no codec makes them smaller; it "
                                   "has no previews, so decode it whole.")
        raise UnsupportedError(f"The file is coded with {codec.codec_id!r}, which has no previews; compress with the "
                               "codec 'progressive' for them.")
    if type(reduction) is not int or not 0 <= reduction <= codec.max_reduction:
        raise UnsupportedError(f"The reduction must be a whole number from 0 to {codec.max_reduction} for this file, "
                               f"not {reduction!r}.")
    if budget is None:
        budget = reader.file_length
    if type(budget) is float and 0 <= budget <= 1:
        budget = int(budget * reader.file_length)
    if type(budget) is not int or budget < reader.slabs_start:
        raise UnsupportedError(f"The budget must be a whole number of bytes, for this file at least "
                               f"{reader.slabs_start}, not {budget!r}.")
    if reduction == 0 and min(budget, reader.available) >= reader.file_length:
        return decode_volume(reader, None, threads, progress)
    layers = codec.layers_for(reduction)
    chosen, used = _choose(reader, layers, budget)
    frames, k_count, rows, columns = reader.header.frames_shape
    scale = 1 << reduction
    small = (-(-rows // scale), -(-columns // scale))
    voxels = np.empty((frames, k_count, *small), reader.header.dtype)
    exact = np.zeros((frames, k_count), bool)
    codec.prepare(voxels.size * len(layers))             # every layer goes over the voxels of its size once

    def decode(numbers: list[int]) -> list[np.ndarray]:
        shape = reader.grid.slab_shape(numbers[0])
        slabs = [{layer: reader.read_chunk(layer, number) for layer in chosen[number]} for number in numbers]
        if reader.index["storage"][numbers[0]] == VERBATIM and 0 in slabs[0]:
            return [verbatim_voxels(chunks[0], shape, reader.header.dtype)[..., ::scale, ::scale] for chunks in slabs]
        return [decoder.samples.inverse_near(samples) for samples in codec.decode_layers(slabs, shape, reduction)]

    batches = _batches(reader, chosen, max(1, _BATCH_VOXELS * len(reader.grid) // voxels.size))
    if voxels.size <= _BATCH_VOXELS:
        threads = 1                      # whose steps are too short for several: they would wait for the interpreter
    decoded = ordered_map(decode, batches, threads)
    for count, (numbers, parts) in enumerate(zip(batches, decoded, strict=True), 1):
        for number, part in zip(numbers, parts, strict=True):
            where = reader.grid.ranges(number)
            voxels[where] = part
            exact[where] = (reduction == 0 and len(chosen[number]) == len(layers)
                            and combined_digest(slice_digests(part))[:8] == reader.index["digest"][number].tobytes())
        progress(count / len(batches))
    matrix = reader.ijk_to_ras.copy()
    matrix[:3, :2] *= scale
    mark = {"reduction": reduction, "bytes": used, "file_bytes": reader.file_length,
            "layers": min(map(len, chosen)), "exact_slices": stretches(exact.all(axis=0))}
    shape = list(reader.header.shape)
    j = reader.header.axes.index("j")
    shape[j:j + 2] = small
    t_first = np.moveaxis(voxels.reshape(-1, reader.header.components, k_count, *small), 1, -1)
    return Volume(np.ascontiguousarray(t_first).reshape(shape), matrix, reader.header.axes, reader.header.sequence,
                  reader.metadata | {MARK: mark})


def _choose(reader: Reader, layers: list[int], budget: int) -> tuple[list[list[int]], int]:
    """Which of `layers` of each slab there are bytes for, in the order of the file, and how many bytes that makes."""
    chosen: list[list[int]] = [[] for _ in range(len(reader.grid))]
    used, wanted = reader.slabs_start, set(layers)
    for place in reader.header.chunk_order().tolist():
        layer, number = divmod(place, len(chosen))
        if layer not in wanted:
            continue
        length = reader.chunk_length(layer, number)
        if used + length > budget or not reader.has_chunk(layer, number):
            break
        chosen[number].append(layer)
        used += length
    return chosen, used


def _batches(reader: Reader, chosen: list[list[int]], size: int) -> list[list[int]]:
    """Numbers of at most `size` slabs that are alike: of one shape and storage, with the same layers to decode."""
    alike: dict[tuple, list[int]] = {}
    for number, layers in enumerate(chosen):
        key = (reader.grid.slab_shape(number), int(reader.index["storage"][number]), len(layers))
        alike.setdefault(key, []).append(number)
    return [numbers[begin:begin + size] for numbers in alike.values() for begin in range(0, len(numbers), size)]
