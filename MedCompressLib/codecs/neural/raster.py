"""The encoder's side: predictions for whole rows at once, because every voxel is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...compiled import worth_compiling
from .compiled_wavefront import CompiledPredictor
from .neighbourhood import Neighbourhood
from .predictor import MEAN_ONE, Predictor, Workspace

BLOCK = 2048
"""About how many voxels are worked on at once: their taps fit the processor's cache."""


class KnownSlab:
    """A slab with its surroundings filled in, from which taps are gathered by rows.

    Parameters
    ----------
    slab : (frames, k, j, i) int32
    neighbourhood : Neighbourhood
    """

    def __init__(self, slab: np.ndarray, neighbourhood: Neighbourhood):
        before, behind = neighbourhood.reach
        self.shape = slab.shape
        self._neighbourhood = neighbourhood
        self._before = before
        dtype = np.float32 if slab.max(initial=0) < 1 << 20 else np.float64
        self._padded = np.pad(slab.astype(dtype), list(zip(before, behind, strict=True)), mode="edge")
        in_slice = (neighbourhood.taps[:, :2] == 0).all(axis=1)
        j, i = neighbourhood.taps[:, 2:].T
        self._west = np.flatnonzero(in_slice & (j == 0))
        self._north_west = np.flatnonzero(in_slice & (j < 0) & (i < 0))
        self._north_east = np.flatnonzero(in_slice & (j < 0) & (i >= 0))
        self.work = Workspace()

    @property
    def rows_at_once(self) -> int:
        return max(1, BLOCK // self.shape[3])

    def voxels(self, f: int, k: int, j: int, j_end: int) -> np.ndarray:
        """Values of rows j ... j_end - 1, flat."""
        return self._view(f, k, j, j_end, (0, 0, 0, 0)).ravel().astype(np.float64)

    def taps(self, f: int, k: int, j: int, j_end: int) -> np.ndarray:
        """(n_taps, n) float64 values of the taps of rows j ... j_end - 1; valid until the next call."""
        rows, width = j_end - j, self.shape[3]
        flat = self.work.array("taps", len(self._neighbourhood.taps), rows * width)
        out = flat.reshape(-1, rows, width)
        for row, tap in enumerate(self._neighbourhood.taps.tolist()):
            out[row] = self._view(f, k, j, j_end, tap)
        out[self._west, :, 0] = 0                         # no voxel is decoded yet that could stand in for these
        if j == 0:
            out[self._north_east, 0] = 0
            out[self._north_west, 0, 0] = 0
        return flat

    def _view(self, f: int, k: int, j: int, j_end: int, tap) -> np.ndarray:
        pf, pk, pj, pi = self._before
        df, dk, dj, di = tap
        return self._padded[f + pf + df, k + pk + dk, j + pj + dj:j_end + pj + dj, pi + di:pi + di + self.shape[3]]


class KnownPredictions:
    """References, residuals and network inputs of a known slab, computed row by row as they are asked for."""

    def __init__(self, slab: np.ndarray, predictor: Predictor):
        self.known = KnownSlab(slab, predictor.neighbourhood)
        self.predictor = predictor
        self._taps = predictor.neighbourhood.residual_taps
        self._before, self._behind = -self._taps.min(axis=0), self._taps.max(axis=0).clip(0)
        self._residuals = np.zeros(np.add(slab.shape, self._before + self._behind), np.float64)
        self._done = np.zeros(slab.shape[:3], bool)
        self._compiled = CompiledPredictor(predictor) if worth_compiling(slab.size) else None

    def _residual_view(self, f: int, k: int, j: int, j_end: int, tap) -> np.ndarray:
        pf, pk, pj, pi = self._before
        df, dk, dj, di = tap
        width = self.known.shape[3]
        return self._residuals[f + pf + df, k + pk + dk, j + pj + dj:j_end + pj + dj, pi + di:pi + di + width]

    def _reference(self, f: int, k: int, j: int, j_end: int):
        """Taps, references, others' (compiled: all three) and flatness of these rows; their residuals are kept."""
        surrounding = (k > 0) + 2 * (f > 0)
        taps = self.known.taps(f, k, j, j_end)
        if self._compiled is None:
            flat = self.predictor.flat(taps, surrounding)
            reference, others = self.predictor.reference(taps, surrounding, flat, self.known.work)
        else:
            n = taps.shape[1]
            references, flat = np.empty((n, 3), np.int64), np.empty(n, bool)
            self._compiled.refer(taps.ravel(), _rows(len(taps), n), _rows(n, 1), surrounding, references, flat)
            reference, others = references[:, 0].astype(np.float64), references
        view = self._residual_view(f, k, j, j_end, (0, 0, 0, 0))
        view[:] = (MEAN_ONE * self.known.voxels(f, k, j, j_end) - reference).reshape(view.shape)
        self._done[f, k, j:j_end] = True
        return taps, reference, others, flat

    def _complete(self, f: int, k: int, j: int, j_end: int) -> None:
        """Compute residuals of these rows where they are still missing."""
        if f < 0 or k < 0:
            return
        step = self.known.rows_at_once
        for start in range(max(j, 0), min(j_end, self.known.shape[2]), step):
            end = min(start + step, j_end, self.known.shape[2])
            if not self._done[f, k, start:end].all():
                self._reference(f, k, start, end)

    def rows(self, f: int, k: int, j: int, j_end: int):
        """Network inputs of rows j ... j_end - 1.

        Returns
        -------
        inputs : (n_inputs + 1, n) float32, valid until the next call
        levels, reference, flat : (n,) arrays
        """
        for df, dk in {(int(tap[0]), int(tap[1])) for tap in self._taps if tap[0] or tap[1]}:
            self._complete(f + df, k + dk, j - self._before[2], j_end + self._behind[2])
        self._complete(f, k, j - self._before[2], j)
        surrounding = (k > 0) + 2 * (f > 0)
        taps, reference, others, flat = self._reference(f, k, j, j_end)
        work, n = self.known.work, taps.shape[1]
        residuals = work.array("residuals", len(self._taps), n)
        for row, tap in enumerate(self._taps.tolist()):
            residuals[row].reshape(j_end - j, -1)[:] = self._residual_view(f, k, j, j_end, tap)
        if self._compiled is None:
            inputs = work.array("inputs", self.predictor.n_inputs + 1, n, np.float32)
            levels = self.predictor.inputs(taps, residuals, reference, others, surrounding, inputs, work)
            return inputs, levels, reference, flat
        inputs, levels = work.array("inputs", n, self._compiled.row_length, np.float32), np.empty(n, np.int64)
        self._compiled.scale(taps.ravel(), _rows(len(taps), n), residuals.ravel(), _rows(len(residuals), n),
                             _rows(n, 1), surrounding, others, inputs, levels)
        return inputs.T[:self.predictor.n_inputs + 1], levels, reference, flat


def _rows(n: int, length: int) -> np.ndarray:
    """Where n rows of an array begin."""
    return np.arange(0, n * length, length, dtype=np.uint64)


def row_blocks(shape: tuple[int, int, int, int], rows: int) -> Iterator[tuple[int, int, int, int]]:
    """All (f, k, j, j_end) of a slab in raster order, `rows` rows at a time."""
    for f in range(shape[0]):
        for k in range(shape[1]):
            for j in range(0, shape[2], rows):
                yield f, k, j, min(j + rows, shape[2])
