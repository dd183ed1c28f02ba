"""From the values of the taps to a mean and a group: the arithmetic that encoder and decoder share.

Everything here is integer arithmetic carried by floats that hold it exactly (float64 below 2**53, the network's
float32 below 2**24); `predict` of the same taps gives the same integers on every machine. Fixed point: expert weights
count 1/2**14, means and residuals 1/16 of a voxel value, noise levels quarter octaves.

For each voxel

1. the *activity* (sum of absolute differences between taps) picks one linear expert of the voxel's surrounding, whose
   weighted sum of taps is the reference;
2. the weighted absolute *residuals* voxel - reference of earlier voxels give the noise level;
3. the network sees taps minus reference, residuals and the neighbouring experts' opinions, all divided by the noise
   level, and says how far the mean lies from the reference and how wide the distribution is;
4. mean and width make the *group*: the table of counts that codes voxel - mean.

Where all near taps are equal the voxel is *flat*: its mean is their value, its group 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .experts import WEIGHT_BITS, Experts
from .neighbourhood import Neighbourhood
from .network import INPUT_LIMIT, INPUT_ONE, IntegerNetwork

MEAN_ONE = 16
"""Means and residuals count sixteenths of a voxel value."""

N_EXTRA_INPUTS = 6
N_LEVELS = 128

_LEVEL = np.arange(N_LEVELS)
_ROOTS = np.array([65536, 77936, 92682, 110218])     # 65536 * 2**(n / 4)
LEVEL_THRESHOLDS = np.floor(np.ldexp(_ROOTS[_LEVEL[:-1] % 4], _LEVEL[:-1] // 4 - 11)).astype(np.float64)
"""The sum of weighted absolute residuals (64 * 16 a voxel value) at which level n + 1 begins: 32 * 2**(n / 4)."""

LEVEL_WIDTH = np.ldexp(_ROOTS[(_LEVEL + 2) % 4], (_LEVEL + 2) // 4 - 10) // 1.0
"""Mean absolute residual of a level in 1/4096 of a voxel value: 91 * 2**(n / 4)."""

LEVEL_GAIN = np.floor(2.0**28 / LEVEL_WIDTH)
"""What multiplies a difference in 1/16 of a voxel value, before 2**-15, to count 1/32 of that width."""

PHASE_SHIFT = np.where(LEVEL_WIDTH < 0.7 * 4096, 1, np.where(LEVEL_WIDTH < 3 * 4096, 2, 3))
FIRST_GROUP = 1 + np.concatenate([[0], np.cumsum(8 >> PHASE_SHIFT)[:-1]])
N_GROUPS = int(FIRST_GROUP[-1] + 1)
"""Group 0 is for flat voxels; each level has 4, 2 or 1 groups, by how far the mean lies from a voxel value: the wider
the distribution, the less that matters."""

GROUP_LEVEL = np.append(0, np.repeat(_LEVEL, 8 >> PHASE_SHIFT))
"""Level of each group (0 for group 0, which has none)."""

GROUP_OFFSET = np.append(0, np.concatenate([(2 * np.arange(8 >> shift) + 1 << shift) - 1 for shift in PHASE_SHIFT]))
"""How far the mean lies from the centre in the middle of each group's phases, in 1/32 of a voxel value."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """Everything `predict` needs, fixed for one volume."""

    neighbourhood: Neighbourhood
    experts: Experts
    network: IntegerNetwork
    maximum: int

    @cached_property
    def n_inputs(self) -> int:
        return n_network_inputs(self.neighbourhood)

    def reference(self, taps: np.ndarray, surrounding: int, flat: np.ndarray,
                  work: Workspace) -> tuple[np.ndarray, np.ndarray]:
        """References in 1/16, and the next lower and higher expert's.

        Parameters
        ----------
        taps : (n_taps, n) float64
        surrounding : int
            The same for all.
        flat : (n,) bool
            What `flat` returned for these taps.

        Returns
        -------
        reference : (n,) float64
        others : (2, n) float64
        """
        n = taps.shape[1]
        first, second = self.neighbourhood.pairs[surrounding]
        differences = np.subtract(taps[first], taps[second])
        activity = np.abs(differences, out=differences).sum(axis=0)
        thresholds = self.experts.thresholds[surrounding]
        chosen = np.searchsorted(thresholds, activity, side="right")
        sums = np.matmul(self.experts.float_weights[surrounding], taps,
                         out=work.array("sums", len(thresholds) + 1, n))
        three = np.stack([chosen, np.maximum(chosen - 1, 0), np.minimum(chosen + 1, len(thresholds))])
        means = np.take(sums, three * n + np.arange(n))
        means += 1 << (WEIGHT_BITS - 5)
        means *= 2.0 ** (4 - WEIGHT_BITS)
        np.floor(means, out=means)
        np.clip(means, 0, MEAN_ONE * self.maximum, out=means)
        np.copyto(means, MEAN_ONE * taps[0], where=flat)
        return means[0], means[1:]

    def flat(self, taps: np.ndarray, surrounding: int) -> np.ndarray:
        """(n,) bool: all near taps are equal."""
        rows = self.neighbourhood.flat[surrounding]
        return (taps[rows[1:]] == taps[rows[0]]).all(axis=0)

    def inputs(self, taps: np.ndarray, residuals: np.ndarray, reference: np.ndarray, others: np.ndarray,
               surrounding: int, out: np.ndarray, work: Workspace) -> np.ndarray:
        """Fill `out`, (n_inputs + 1, n) float32, with the network's inputs; return the noise levels, (n,) intp.

        `residuals` are (n_residual_taps, n) float64, voxel - reference in 1/16 at the neighbourhood's
        `residual_taps`.
        """
        near, n, given = self.neighbourhood, taps.shape[1], len(residuals)
        m, r = near.n_inputs, near.n_residual_inputs
        noise = near.residual_weights[surrounding] @ np.abs(residuals)
        levels = np.searchsorted(LEVEL_THRESHOLDS, noise, side="right")
        gain = LEVEL_GAIN[levels] * 2.0**-15
        scaled = work.array("scaled", m + r + 3, n)
        np.multiply(taps[:m], MEAN_ONE, out=scaled[:m])
        scaled[:m] -= reference
        scaled[m:m + given] = residuals
        scaled[m + given:m + r] = 0
        np.subtract(others, reference, out=scaled[m + r:m + r + 2])
        scaled[m + r + 2] = reference
        scaled *= gain
        scaled += 0.5
        np.floor(scaled, out=scaled)
        np.clip(scaled, -INPUT_LIMIT, INPUT_LIMIT, out=out[:m + r + 3], casting="same_kind")
        out[:m][~near.usable[surrounding, :m]] = 0
        out[m:m + given][~near.residual_usable[surrounding]] = 0
        out[m + r + 3] = (np.minimum(levels, 64) - 24) * 4
        out[m + r + 4] = INPUT_ONE * (surrounding & 1)
        out[m + r + 5] = INPUT_ONE * (surrounding >> 1)
        out[-1] = INPUT_ONE
        return levels

    def mean_and_group(self, inputs: np.ndarray, levels: np.ndarray, reference: np.ndarray, flat: np.ndarray,
                       work: Workspace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the network makes of its inputs.

        Returns
        -------
        centre : (n,) float64
            The voxel value nearest to the mean.
        sign : (n,) float64
            1, or -1 where the mean lies below `centre`.
        group : (n,) uint16
            Where voxel = centre + sign * symbol.
        """
        n = inputs.shape[1]
        layers = self.network.weights
        buffers = [work.array(f"layer{index}", len(layer) + 1, n, np.float32) for index, layer in enumerate(layers)]
        for buffer in buffers[:-1]:
            buffer[-1] = 64
        shift, width = self.network.forward(inputs, buffers).astype(np.float64)
        mean = np.floor(shift * LEVEL_WIDTH[levels] * 2.0**-14 + 0.5)
        mean += reference
        np.clip(mean, 0, MEAN_ONE * self.maximum, out=mean)
        np.copyto(mean, reference, where=flat)
        centre = np.floor(mean * (1 / MEAN_ONE) + 0.5)
        mean -= MEAN_ONE * centre                                     # -8 ... 7
        sign = np.where(mean < 0, -1.0, 1.0)
        level = np.clip(levels + np.floor(width * (1 / 16) + 0.5), 0, N_LEVELS - 1).astype(np.intp)
        phase = np.minimum(np.abs(mean), 7).astype(np.intp)
        group = FIRST_GROUP[level] + (phase >> PHASE_SHIFT[level])
        np.copyto(group, 0, where=flat)
        return centre, sign, group.astype(np.uint16)


class Workspace:
    """Arrays that are used again and again by one thread, so that large ones are not mapped anew each time."""

    def __init__(self):
        self._arrays: dict[str, np.ndarray] = {}

    def array(self, name: str, rows: int, columns: int, dtype=np.float64) -> np.ndarray:
        """An uninitialised C-contiguous (rows, columns) array."""
        held = self._arrays.get(name)
        if held is None or held.size < rows * columns or held.dtype != dtype:
            held = self._arrays[name] = np.empty(rows * columns, dtype)
        return held[:rows * columns].reshape(rows, columns)


def n_network_inputs(neighbourhood: Neighbourhood) -> int:
    """Taps, residuals, two other experts, distance from zero, noise level, two flags."""
    return neighbourhood.n_inputs + neighbourhood.n_residual_inputs + N_EXTRA_INPUTS
