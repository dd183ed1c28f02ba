"""What the encoder measures on a volume: sampled taps for the experts, sampled inputs for the network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .neighbourhood import Neighbourhood
from .predictor import LEVEL_WIDTH, MEAN_ONE, Predictor
from .raster import KnownPredictions, KnownSlab
from .training import Samples


def sample_taps(slabs: Sequence[np.ndarray], neighbourhood: Neighbourhood, n_samples: int,
                rng: np.random.Generator) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Taps and voxels of about `n_samples` voxels of each surrounding that occurs, from random rows.

    Returns
    -------
    surrounding -> (taps, voxels), (n_usable_taps, n) and (n,) float32
    """
    totals = sum(_voxels_by_surrounding(slab.shape) for slab in slabs)
    room = np.where(totals > 0, np.minimum(totals, n_samples) * 1.1 + 64 * slabs[0].shape[3], 0).astype(int)
    samples = {int(s): (np.empty((np.count_nonzero(neighbourhood.usable[s]), room[s]), np.float32),
                        np.empty(room[s], np.float32)) for s in np.flatnonzero(totals)}
    filled = dict.fromkeys(samples, 0)
    for slab in slabs:
        known = KnownSlab(slab, neighbourhood)
        here = _voxels_by_surrounding(slab.shape)
        for surrounding in np.flatnonzero(here).tolist():
            taps_out, voxels_out = samples[surrounding]
            usable = np.flatnonzero(neighbourhood.usable[surrounding])
            wanted = min(n_samples, totals[surrounding]) * here[surrounding] / totals[surrounding]
            # what serves the first slice can be learned on all of them, for it uses fewer taps
            sources = [surrounding, surrounding | 1]
            for f, k, j, j_end in _random_rows(slab.shape, sources, wanted, rng):
                taps, voxels = known.taps(f, k, j, j_end), known.voxels(f, k, j, j_end)
                rows = neighbourhood.flat[surrounding]
                rough = np.flatnonzero(~(taps[rows[1:]] == taps[rows[0]]).all(axis=0))
                start = filled[surrounding]
                end = min(start + len(rough), len(voxels_out))
                taps_out[:, start:end] = taps[np.ix_(usable, rough[:end - start])]
                voxels_out[start:end] = voxels[rough[:end - start]]
                filled[surrounding] = end
    return {s: (taps[:, :filled[s]], voxels[:filled[s]]) for s, (taps, voxels) in samples.items()}


def sample_inputs(slabs: Sequence[np.ndarray], predictor: Predictor, n_samples: int, rng: np.random.Generator,
                  block: int = 24) -> Samples:
    """Network inputs and residuals of about `n_samples` voxels that are not flat, from random blocks of rows."""
    total = sum(slab.size for slab in slabs)
    parts = []
    for slab in slabs:
        n_blocks = max(1, round(n_samples * slab.size / total / (block * slab.shape[3])))
        places = [(f, k, j) for f in range(slab.shape[0]) for k in range(slab.shape[1])
                  for j in range(0, slab.shape[2], block)]
        chosen = np.sort(rng.permutation(len(places))[:n_blocks])
        predictions = KnownPredictions(slab, predictor)
        parts += [_samples(predictions, f, k, j, min(j + block, slab.shape[2]))
                  for f, k, j in (places[index] for index in chosen)]
    return Samples.join(parts)


def sample_slices(slab: np.ndarray, predictor: Predictor, planes: Sequence[tuple[int, int]], most: int,
                  rng: np.random.Generator) -> Samples:
    """The same from whole slices (frame, k), at most so many of their voxels."""
    predictions = KnownPredictions(slab, predictor)
    parts = [Samples.none(predictor.n_inputs)]
    for f, k in planes:
        part = _samples(predictions, f, k, 0, slab.shape[2])
        parts.append(part.take(np.sort(rng.permutation(len(part))[:max(1, most // len(planes))])))
    return Samples.join(parts)


def _samples(predictions: KnownPredictions, f: int, k: int, j: int, j_end: int) -> Samples:
    """Samples of all voxels of rows j ... j_end - 1 that are not flat."""
    parts = []
    step = predictions.known.rows_at_once
    for first in range(j, j_end, step):
        last = min(first + step, j_end)
        values, levels, reference, flat = predictions.rows(f, k, first, last)
        rough = np.flatnonzero(~flat)
        width = LEVEL_WIDTH[levels[rough]] / 256
        voxels = predictions.known.voxels(f, k, first, last)[rough]
        parts.append(Samples(values[:-1, rough].T.astype(np.int16),
                             ((MEAN_ONE * voxels - reference[rough]) / width).astype(np.float32),
                             (0.5 * MEAN_ONE / width).astype(np.float32)))
    return Samples.join(parts)


def _voxels_by_surrounding(shape) -> np.ndarray:
    frames, slices, rows, width = shape
    plane = rows * width
    return np.array([1, slices - 1, frames - 1, (slices - 1) * (frames - 1)]) * float(plane)


def _random_rows(shape, surroundings: list[int], n_voxels: float, rng: np.random.Generator):
    """Places (f, k, j, j + 1) of distinct random rows whose surrounding is among those asked for."""
    frames, slices, rows, width = shape
    k, f = np.meshgrid(np.arange(slices), np.arange(frames))
    inside = np.isin((k > 0) + 2 * (f > 0), surroundings)
    planes = np.stack([f[inside], k[inside]], axis=1)
    n_rows = len(planes) * rows
    chosen = np.sort(rng.permutation(n_rows)[:max(1, round(n_voxels / width))])
    for index in chosen:
        yield int(planes[index // rows, 0]), int(planes[index // rows, 1]), int(index % rows), int(index % rows) + 1
