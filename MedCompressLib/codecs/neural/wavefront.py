"""The decoder's side: a slab voxel by voxel, all voxels of one wavefront step at once.

The voxels of the last few steps lie in a ring of rows, one row a step; inside a row the padded (frame, k, j) of the
voxel is the place. A tap is then the same displacement of row and place for every voxel, and what a step needs lies
close together in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ...compiled import worth_compiling
from .compiled_wavefront import run_compiled_wavefront
from .neighbourhood import N_SURROUNDINGS, Neighbourhood
from .predictor import MEAN_ONE, Predictor, Workspace


@dataclass(frozen=True)
class Step:
    """The voxels of one step, ordered by surrounding, frame, k, j.

    Attributes
    ----------
    t : int
    f, k, j, i : (n,) int64
        Coordinates.
    bounds : (5,) int64
        Voxels of surrounding s are bounds[s] ... bounds[s + 1] - 1.
    """

    t: int
    f: np.ndarray
    k: np.ndarray
    j: np.ndarray
    i: np.ndarray
    bounds: np.ndarray

    def __len__(self) -> int:
        return len(self.j)


def steps(shape: tuple[int, int, int, int], neighbourhood: Neighbourhood) -> Iterator[Step]:
    """All steps of a slab that hold voxels, in decoding order."""
    frames, slices, rows, width = shape
    c, b, a, _ = neighbourhood.strides
    k, f = (grid.ravel() for grid in np.meshgrid(np.arange(slices), np.arange(frames)))
    surrounding = (k > 0) + 2 * (f > 0)
    order = np.argsort(surrounding, kind="stable")
    f, k, surrounding = f[order], k[order], surrounding[order]
    start = b * k + c * f
    for t, here in enumerate(neighbourhood.columns_of_steps(shape, start)):
        since = t - start[here]
        first = np.maximum(-((width - 1 - since) // a), 0)
        count = np.maximum(np.minimum(since // a + 1, rows) - first, 0)
        total = np.concatenate([[0], np.cumsum(count)])
        if not total[-1]:
            continue
        which = np.repeat(np.arange(len(here)), count)
        j = np.arange(total[-1]) + (first - total[:-1])[which]
        column = here[which]
        bounds = np.searchsorted(surrounding[here], np.arange(N_SURROUNDINGS + 1))
        yield Step(t, f[column], k[column], j, since[which] - a * j, total[bounds])


def wavefront_order(shape: tuple[int, int, int, int], neighbourhood: Neighbourhood) -> np.ndarray:
    """Flat indices of all voxels of a slab in decoding order, (n,) int32 or int64."""
    order = np.empty(int(np.prod(shape)), np.int64 if np.prod(shape) >= 1 << 31 else np.int32)
    done = 0
    for step in steps(shape, neighbourhood):
        order[done:done + len(step)] = flat_index(step, shape)
        done += len(step)
    return order


def flat_index(step: Step, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Where the step's voxels lie in the flat slab."""
    return ((step.f * shape[1] + step.k) * shape[2] + step.j) * shape[3] + step.i


class Ring:
    """The last steps of a slab, in which taps are looked up.

    Parameters
    ----------
    shape : (frames, k, j, i)
    neighbourhood : Neighbourhood
    extended : bool
        Whether voxels outside the slab take the value of the nearest inside, or 0.
    """

    def __init__(self, shape: tuple[int, int, int, int], neighbourhood: Neighbourhood, taps: np.ndarray,
                 extended: bool):
        self._shape = shape
        self._strides = neighbourhood.strides
        self._before, self._behind = neighbourhood.reach
        frames, slices, rows = np.add(shape[:3], (self._before + self._behind)[:3])
        self._place = np.array([slices * rows, rows, 1, 0])
        self._row = int(frames * slices * rows)
        delays = taps @ self._strides
        self._depth = int(-delays.min())
        self._ahead = int(self._behind @ self._strides) if extended else 0
        self._length = self._depth + self._ahead + 2
        self._extended = extended
        self._delays, self._displacements = delays, taps @ self._place
        self._cells = np.zeros(self._length * self._row)

    def begin(self, step: Step) -> np.ndarray:
        """Forget the oldest row; the places of the step's voxels inside a row."""
        row = (step.t + self._ahead + 1) % self._length
        self._cells[row * self._row:(row + 1) * self._row] = 0
        pf, pk, pj, _ = self._before
        return (step.f + pf) * self._place[0] + (step.k + pk) * self._place[1] + step.j + pj

    def taps(self, step: Step, places: np.ndarray, work: Workspace, name: str) -> np.ndarray:
        """(n_taps, n) float64 values of the taps of the step's voxels."""
        offsets = (step.t + self._delays) % self._length * self._row + self._displacements
        shape = (len(offsets), len(places))
        index = np.add(offsets[:, None], places, out=work.array("index", *shape, np.int64))
        return np.take(self._cells, index, out=work.array(name, *shape), mode="clip")

    def put(self, step: Step, places: np.ndarray, values: np.ndarray) -> None:
        """Store the step's voxels, and where `extended` what they stand for outside the slab."""
        self._cells[step.t % self._length * self._row + places] = values
        if not self._extended:
            return
        axes = [(3, step.i), (2, step.j), (1, step.k), (0, step.f)]
        borders = [(axis, coordinate, border, count, sign) for axis, coordinate in axes for border, count, sign in
                   ((0, self._before[axis], -1), (self._shape[axis] - 1, self._behind[axis], 1)) if count]
        at_border = np.zeros(len(places), bool)
        for _, coordinate, border, _, _ in borders:
            at_border |= coordinate == border
        source = np.flatnonzero(at_border)
        n_inside = len(source)
        delay, places = np.zeros(n_inside, np.int64), places[source]
        for axis, coordinate in axes:                     # the corners follow from going along one axis after another
            found = [(source, delay, places)]
            for _, _, border, count, sign in (entry for entry in borders if entry[0] == axis):
                at = np.flatnonzero(coordinate[source] == border)
                if len(at):
                    away = sign * np.arange(1, count + 1)
                    found.append((np.repeat(source[at], count),
                                  (delay[at][:, None] + away * self._strides[axis]).ravel(),
                                  (places[at][:, None] + away * self._place[axis]).ravel()))
            if len(found) > 1:
                source, delay, places = (np.concatenate(part) for part in zip(*found, strict=True))
        if len(source) > n_inside:
            source, delay, places = source[n_inside:], delay[n_inside:], places[n_inside:]
            seen = delay >= -self._depth
            row = (step.t + delay[seen]) % self._length
            self._cells[row * self._row + places[seen]] = values[source[seen]]


def run_wavefront(shape: tuple[int, int, int, int], predictor: Predictor,
                  voxels_of: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> None:
    """Predict step by step.

    Parameters
    ----------
    shape : (frames, k, j, i)
    predictor : Predictor
    voxels_of : function of (index, centre, sign, group)
        Returns the (n,) float64 voxels of the step, given where they lie in the flat slab and their predictions.
    """
    if worth_compiling(int(np.prod(shape))):
        run_compiled_wavefront(shape, predictor, voxels_of)
        return
    neighbourhood = predictor.neighbourhood
    work = Workspace()
    voxel_ring = Ring(shape, neighbourhood, neighbourhood.taps, extended=True)
    residual_ring = Ring(shape, neighbourhood, neighbourhood.residual_taps, extended=False)
    for step in steps(shape, neighbourhood):
        n = len(step)
        places = voxel_ring.begin(step)
        residual_ring.begin(step)
        taps = voxel_ring.taps(step, places, work, "taps")
        residuals = residual_ring.taps(step, places, work, "residuals")
        inputs = work.array("inputs", predictor.n_inputs + 1, n, np.float32)
        reference, levels, flat = np.empty(n), np.empty(n, np.intp), np.empty(n, bool)
        for surrounding in range(N_SURROUNDINGS):
            part = slice(*step.bounds[surrounding:surrounding + 2])
            if part.start == part.stop:
                continue
            here = taps[:, part]
            flat[part] = predictor.flat(here, surrounding)
            reference[part], others = predictor.reference(here, surrounding, flat[part], work)
            levels[part] = predictor.inputs(here, residuals[:, part], reference[part], others, surrounding,
                                            inputs[:, part], work)
        centre, sign, group = predictor.mean_and_group(inputs, levels, reference, flat, work)
        voxels = voxels_of(flat_index(step, shape), centre, sign, group)
        voxel_ring.put(step, places, voxels)
        residual_ring.put(step, places, MEAN_ONE * voxels - reference)
