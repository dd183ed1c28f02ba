"""What the encoder measures on a volume: sampled taps for the experts, sampled inputs for the network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .neighbourhood import Neighbourhood
from .predictor import LEVEL_WIDTH, MEAN_ONE, Predictor
from .raster import KnownPredictions, KnownSlab
from .training import Samples


def sample_taps(slabs: Sequence[np.ndarray], neighbourhood: Neighbourhood, n_samples: int,
                rng: np.random.Generator, maximum: int) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Taps and voxels, none above `maximum`, of about `n_samples` voxels of each surrounding that there is, from random
    rows.

    Returns
    -------
    surrounding -> (taps, voxels)
        (n_usable_taps, n), uint16 where they can be, as there are many, else float32; and (n,) float32.
    """
    totals = sum(_voxels_by_surrounding(slab.shape) for slab in slabs)
    room = np.where(totals > 0, np.minimum(totals, n_samples) * 1.1 + 64 * slabs[0].shape[3], 0).astype(int)
    kind = np.uint16 if maximum < 1 << 16 else np.float32
    samples = {int(s): (np.empty((np.count_nonzero(neighbourhood.usable[s]), room[s]), kind),
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
            for f, k, j, j_end in _random_rows(slab.shape, sources, wanted, rng, known.rows_at_once):
                taps, voxels = known.taps(f, k, j, j_end), known.voxels(f, k, j, j_end)
                rows = neighbourhood.flat[surrounding]
                rough = np.flatnonzero(~(taps[rows[1:]] == taps[rows[0]]).all(axis=0))
                start = filled[surrounding]
                end = min(start + len(rough), len(voxels_out))
                taps_out[:, start:end] = taps[np.ix_(usable, rough[:end - start])]
                voxels_out[start:end] = voxels[rough[:end - start]]
                filled[surrounding] = end
    return {s: (taps[:, :filled[s]], voxels[:filled[s]]) for s, (taps, voxels) in samples.items()}


class InputSampler:
    """Network inputs and residuals of voxels that are not flat, from random blocks of rows; no block comes again before
    all have come.

    Parameters
    ----------
    slabs : sequence of (frames, k, j, i) int32 arrays
    predictor : Predictor
    rng : Generator
    step : int
        How many voxel values one symbol stands for.
    block : int
        Rows of a block.

    Attributes
    ----------
    n_voxels : int
        Of all slabs.
    rough_share : float
        How many of the voxels looked at so far were not flat.
    """

    def __init__(self, slabs: Sequence[np.ndarray], predictor: Predictor, rng: np.random.Generator, step: int = 1,
                 block: int = 24):
        self._slabs, self._predictor, self._rng, self._step = slabs, predictor, rng, step
        shapes = [slab.shape for slab in slabs]
        self._places = [(number, f, k, j, min(j + block, shape[2])) for number, shape in enumerate(shapes)
                        for f in range(shape[0]) for k in range(shape[1]) for j in range(0, shape[2], block)]
        self._left: list[int] = []
        self._width = shapes[0][3]
        self.n_voxels = sum(int(np.prod(shape)) for shape in shapes)
        self._looked_at = self._rough = 0

    @property
    def rough_share(self) -> float:
        return self._rough / max(1, self._looked_at)

    def draw(self, n_voxels: int) -> Samples:
        """What is not flat of the next blocks of `n_voxels` voxels, or a little more."""
        chosen, n = [], 0
        while n < min(n_voxels, self.n_voxels):
            if not self._left:
                self._left = self._rng.permutation(len(self._places)).tolist()
            chosen.append(self._places[self._left.pop()])
            n += (chosen[-1][4] - chosen[-1][3]) * self._width
        samples = Samples.empty(n, self._predictor.n_inputs)
        filled, now, predictions = 0, -1, None
        for number, f, k, j, j_end in sorted(chosen):
            if number != now:
                now, predictions = number, KnownPredictions(self._slabs[number], self._predictor)
            filled = _fill(samples, filled, predictions, f, k, j, j_end)
        self._looked_at += n
        self._rough += filled
        samples = samples.take(slice(0, filled))
        samples.half_bins *= self._step
        return samples


def sample_slices(slab: np.ndarray, predictor: Predictor, planes: Sequence[tuple[int, int]], most: int,
                  rng: np.random.Generator) -> Samples:
    """The same from whole slices (frame, k), at most so many of their voxels."""
    predictions = KnownPredictions(slab, predictor)
    parts = [Samples.empty(0, predictor.n_inputs)]
    for f, k in planes:
        part = Samples.empty(slab[f, k].size, predictor.n_inputs)
        part = part.take(slice(0, _fill(part, 0, predictions, f, k, 0, slab.shape[2])))
        parts.append(part.take(np.sort(rng.permutation(len(part))[:max(1, most // len(planes))])))
    return Samples.join(parts)


def _fill(samples: Samples, filled: int, predictions: KnownPredictions, f: int, k: int, j: int, j_end: int) -> int:
    """Write samples of all voxels of rows j ... j_end - 1 that are not flat behind the first `filled`; how many there
    are then."""
    step = predictions.known.rows_at_once
    for first in range(j, j_end, step):
        last = min(first + step, j_end)
        values, levels, reference, flat = predictions.rows(f, k, first, last)
        rough = np.flatnonzero(~flat)
        width = LEVEL_WIDTH[levels[rough]] / 256
        voxels = predictions.known.voxels(f, k, first, last)[rough]
        here = slice(filled, filled + len(rough))
        samples.inputs[here] = values[:-1, rough].T
        samples.residuals[here] = (MEAN_ONE * voxels - reference[rough]) / width
        samples.half_bins[here] = 0.5 * MEAN_ONE / width
        filled = here.stop
    return filled


def _voxels_by_surrounding(shape) -> np.ndarray:
    frames, slices, rows, width = shape
    plane = rows * width
    return np.array([1, slices - 1, frames - 1, (slices - 1) * (frames - 1)]) * float(plane)


def _random_rows(shape, surroundings: list[int], n_voxels: float, rng: np.random.Generator, at_once: int):
    """Places (f, k, j, j_end) of distinct random rows whose surrounding is among those asked for; neighbours come
    together, at most so many."""
    frames, slices, rows, width = shape
    k, f = np.meshgrid(np.arange(slices), np.arange(frames))
    inside = np.isin((k > 0) + 2 * (f > 0), surroundings)
    planes = np.stack([f[inside], k[inside]], axis=1)
    n_rows = len(planes) * rows
    chosen = np.sort(rng.permutation(n_rows)[:max(1, round(n_voxels / width))])
    for run in np.split(chosen, 1 + np.flatnonzero((np.diff(chosen) > 1) | (chosen[1:] % rows == 0))):
        for part in np.split(run, range(at_once, len(run), at_once)):
            plane, j = divmod(int(part[0]), rows)
            yield *map(int, planes[plane]), j, j + len(part)
