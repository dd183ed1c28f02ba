"""What every way of losing something shares: slabs are decoded again before they are stored, and measured.

What a file then says was reached is what its reader gets; no voxel of a region with a bound is off by more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np

from .checksum import combined_digest, slice_digests
from .codecs import Codec, Progress
from .codecs.runs import RunsCodec
from .container import CODED, StoredSlab
from .errors import MedCompressError
from .metrics import Errors
from .samples import SampleMap
from .slabs import SlabGrid, SlabSequence, ordered_map


class Proven(NamedTuple):
    """All slabs of a volume, ready to be written.

    Attributes
    ----------
    slabs : list of StoredSlab
    reached : dict
        Plain JSON for the header: by how much voxels are off, in all and in each region.
    digest : bytes
        Of the voxels that the slabs decode to.
    """

    slabs: list[StoredSlab]
    reached: dict
    digest: bytes


def prove(plain: SlabSequence, grid: SlabGrid, codec: Codec, samples: SampleMap, regions: np.ndarray | None,
          bounds: Sequence[int | None], payload_of: Callable[[int, np.ndarray, np.ndarray | None], bytes], threads: int,
          progress: Progress) -> Proven:
    """Encode all slabs, and decode them again.

    Parameters
    ----------
    plain : SlabSequence
        The voxels.
    grid, codec, samples
        What they are coded with.
    regions : (k, j, i) uint8 array or None
        The region of each voxel.
    bounds : sequence of int or None
        By how much the voxels of each region may be off (of all, without regions); None: by whatever it takes.
    payload_of : function of (number, slab, regions of the slab or None)
    threads : int
    progress : callable
        Called with a fraction in [0, 1]; may raise to cancel.

    Raises
    ------
    MedCompressError
        A voxel would be off by more than its bound.
    """
    def encode(number: int) -> tuple[StoredSlab, list[Errors], np.ndarray]:
        slab, here, region_map, parts = plain[number], None, b"", [...]
        if regions is not None:
            flat = regions[grid.ranges(number)[1]]
            here = np.broadcast_to(flat, slab.shape)
            region_map = RunsCodec().encode(flat[np.newaxis].astype(np.int32))
            parts = [here == region for region in range(len(bounds))]
        payload = payload_of(number, slab, here)
        decoded = samples.inverse(codec.decode(payload, slab.shape, here))
        errors = [Errors.between(slab[part], decoded[part]) for part in parts]
        for bound, found in zip(bounds, errors, strict=True):
            if bound is not None and found.maximum > bound:
                raise MedCompressError(f"A voxel would be off by {found.maximum}, more than the {bound} asked for, so "
                                       "nothing was stored; please report this as an error of MedCompress.")
        digests = slice_digests(decoded)
        return StoredSlab(payload, region_map, CODED, combined_digest(digests)[:8]), errors, digests

    slabs, errors = [], [Errors() for _ in bounds]
    digests = np.empty((*grid.shape[:2], 32), dtype=np.uint8)
    with closing(ordered_map(encode, range(len(grid)), threads)) as results:
        for number, (stored, slab_errors, digests[grid.ranges(number)]) in enumerate(results):
            slabs.append(stored)
            for whole, part in zip(errors, slab_errors, strict=True):
                whole.add(part)
            progress((number + 1) / len(grid))
    reached = Errors.of(errors).as_dict()
    if regions is not None:
        reached["regions"] = [part.as_dict() for part in errors]
    return Proven(slabs, reached, combined_digest(digests))


def fit_regions(codec: Codec, mapped: SlabSequence, grid: SlabGrid, regions: np.ndarray, count: int) -> None:
    """Let a codec look at the slab with the most voxels of regions other than the last of `count`."""
    inside = (regions != count - 1 if count > 1 else regions == 0).sum((1, 2))
    number = max(range(len(grid)), key=lambda number: int(inside[grid.ranges(number)[1]].sum()))
    slab = mapped[number]
    codec.fit_regions(slab, np.broadcast_to(regions[grid.ranges(number)[1]], slab.shape))
