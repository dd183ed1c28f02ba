"""The wavefront with compiled loops: what `wavefront.run_wavefront` does, some times faster, with the same integers.

Between the loops the network's matrix products are left to the BLAS of NumPy, which no compiled loop here equals.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from . import loops
from .neighbourhood import N_SURROUNDINGS
from .network import ACTIVATION_ONE, INPUT_ONE
from .predictor import (
    FIRST_GROUP,
    LEVEL_GAIN,
    LEVEL_THRESHOLDS,
    LEVEL_WIDTH,
    MEAN_ONE,
    N_LEVELS,
    PHASE_SHIFT,
    Predictor,
    Workspace,
)


class CompiledPredictor:
    """A `Predictor`'s tables as the loops want them.

    Attributes
    ----------
    highest : int
        Of means, in sixteenths.
    n_inputs : int
        Taps that feed the network.
    row_length : int
        Of a voxel's network inputs, with the zeros at its end.
    """

    def __init__(self, predictor: Predictor):
        near = predictor.neighbourhood
        self.highest = MEAN_ONE * predictor.maximum
        self.n_inputs = near.n_inputs
        self._network = predictor.network
        self._work = Workspace()
        self.row_length = predictor.n_inputs + 1 + -(predictor.n_inputs + 1) % loops.LANES
        self._experts = [(_lengthened(weights), thresholds.astype(np.int64), _indices(pairs), _indices(flat))
                         for weights, thresholds, pairs, flat in
                         zip(predictor.experts.weights, predictor.experts.thresholds, near.pairs, near.flat,
                             strict=True)]
        self._scaling = [(_lengthened(near.residual_weights[surrounding]), _LEVEL_OF, _LEVEL_THRESHOLDS, _GAINS,
                          _indices(np.concatenate([
                              np.flatnonzero(~near.usable[surrounding, :near.n_inputs]),
                              near.n_inputs + np.flatnonzero(~near.residual_usable[surrounding])])),
                          near.n_inputs + near.n_residual_inputs,
                          np.array([surrounding & 1, surrounding >> 1, 1], np.float32) * INPUT_ONE)
                         for surrounding in range(N_SURROUNDINGS)]

    def refer(self, cells, offsets, places, surrounding: int, references: np.ndarray, flat: np.ndarray) -> None:
        """Fill in (n, 3) int64 references and (n,) bool flatness of voxels whose tap is at place + offset."""
        loops.refer(cells, offsets, places, *self._experts[surrounding], self.highest, references, flat)

    def scale(self, cells, offsets, residual_cells, residual_offsets, places, surrounding: int, references: np.ndarray,
              inputs: np.ndarray, levels: np.ndarray) -> None:
        """Fill in (n, row_length) float32 inputs and (n,) int64 levels."""
        loops.scale(cells, offsets[:self.n_inputs], residual_cells, residual_offsets, places, references,
                    *self._scaling[surrounding], inputs, levels)

    def mean_and_group(self, inputs: np.ndarray, levels: np.ndarray, references: np.ndarray,
                       flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `Predictor.mean_and_group` returns."""
        n = len(levels)
        layers = self._network.scaled
        inputs = inputs[:, :layers[0].shape[1]]
        for index, layer in enumerate(layers[:-1]):
            sums = self._work.array(f"layer{index}", n, len(layer) + 1, np.float32)
            np.matmul(inputs, layer.T, out=sums[:, :-1])
            loops.activate(sums, ACTIVATION_ONE)
            inputs = sums
        outputs = self._work.array("outputs", n, len(layers[-1]), np.float32)
        np.matmul(inputs, layers[-1].T, out=outputs)
        centres, signs, groups = np.empty(n), np.empty(n), np.empty(n, np.uint16)
        loops.mean_and_group(outputs, levels, references, flat, self.highest, LEVEL_WIDTH, PHASE_SHIFT, FIRST_GROUP,
                             centres, signs, groups)
        return centres, signs, groups


def run_compiled_wavefront(shape: tuple[int, int, int, int], predictor: Predictor,
                           voxels_of: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> None:
    """See `wavefront.run_wavefront`."""
    near, tables = predictor.neighbourhood, CompiledPredictor(predictor)
    before, behind = near.reach
    padded = np.add(shape[:3], (before + behind)[:3])
    place_strides = np.array([padded[1] * padded[2], padded[2], 1])
    row_length = int(np.prod(padded))
    taps = np.concatenate([near.taps, near.residual_taps])
    delays, moves = taps @ near.strides, taps[:, :3] @ place_strides
    depth = int(-delays.min())
    length = depth + int(behind @ near.strides) + 2
    cells, residual_cells = (np.zeros(length * row_length, np.int32) for _ in range(2))

    k, f = (grid.ravel() for grid in np.meshgrid(np.arange(shape[1]), np.arange(shape[0])))
    surroundings = (k > 0) + 2 * (f > 0)
    order = np.argsort(surroundings, kind="stable")
    columns, surroundings = np.stack([f, k], axis=1)[order], surroundings[order]
    starts = columns @ near.strides[:2]
    place_of = (columns + before[:2]) @ place_strides[:2] + before[2]
    index_of = (columns[:, 0] * shape[1] + columns[:, 1]) * (shape[2] * shape[3])
    stride, dimensions = int(near.strides[2]), np.array(shape)

    most = len(columns) * min(shape[2], (shape[3] - 1) // stride + 1)
    whole = [np.empty((most, *columns), kind) for kind, columns in (
        (np.uint64, ()), (np.int64, ()), (np.int64, (3,)), (np.int64, ()), (bool, ()),
        (np.float32, (tables.row_length,)))]
    bounds, offsets = np.empty(N_SURROUNDINGS + 1, np.int64), np.empty(len(taps), np.uint64)
    tap_offsets, residual_offsets = offsets[:len(near.taps)], offsets[len(near.taps):]
    for t, here in enumerate(near.columns_of_steps(shape, starts)):
        n = loops.begin_step(t, here, starts, surroundings, place_of, index_of, stride, shape[2], shape[3], length,
                             row_length, delays, moves, offsets, whole[0], whole[1], bounds)
        places, index, references, levels, flat, inputs = (array[:n] for array in whole)
        for surrounding, (first, end) in enumerate(pairwise(bounds.tolist())):
            if first < end:
                tables.refer(cells, tap_offsets, places[first:end], surrounding, references[first:end],
                             flat[first:end])
                tables.scale(cells, tap_offsets, residual_cells, residual_offsets, places[first:end], surrounding,
                             references[first:end], inputs[first:end], levels[first:end])
        voxels = voxels_of(index, *tables.mean_and_group(inputs, levels, references, flat)) if n else _NO_VOXELS
        loops.end_step(t, here, starts, columns, place_of, near.strides, place_strides, dimensions, before, behind,
                       depth, row_length, voxels, references, cells, residual_cells)


def _indices(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.uint64)


def _lengthened(rows: np.ndarray) -> np.ndarray:
    """(..., n) rows as int32, with zeros at their end to a multiple of LANES."""
    short = -rows.shape[-1] % loops.LANES
    return np.pad(rows.astype(np.int32), [(0, 0)] * (rows.ndim - 1) + [(0, short)])


_NO_VOXELS = np.empty(0)
_LEVEL_THRESHOLDS = LEVEL_THRESHOLDS.astype(np.int64)
_LEVEL_OF = np.repeat(np.arange(N_LEVELS, dtype=np.uint8), np.diff(_LEVEL_THRESHOLDS.clip(0, 1 << 16), prepend=0,
                                                                   append=1 << 16))
_GAINS = LEVEL_GAIN * 2.0**-15
