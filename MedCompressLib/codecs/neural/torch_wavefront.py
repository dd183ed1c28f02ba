"""Decoding on a CUDA device through PyTorch: all slabs at once, with the integers of `predictor`.

All of a step's voxels of all slabs are one batch of a fixed size, in which each column (a slice of a frame) has as many
places as it can need; those a step does not need work on some voxel and write to a cell past the end. Taps are looked
up in the slabs themselves, with clamped coordinates (FORMAT.md, "Tap values"). Symbols are decoded by the processor
beforehand and dealt to their groups on the device, which so never has to wait for it.

Everything is carried by float64, whose sums are exact by the proofs in `network` and `experts` whatever the order, and
for which no device has units that are faster but inexact. The same code runs on the processor, for tests; NumPy is
faster there.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sys
from collections.abc import Sequence

import numpy as np

from ...entropy import GroupDecoder
from ...errors import FormatError
from .experts import WEIGHT_BITS
from .neighbourhood import N_SURROUNDINGS
from .network import ACTIVATION_LIMIT, ACTIVATION_ONE, INPUT_LIMIT, INPUT_ONE
from .predictor import (
    FIRST_GROUP,
    LEVEL_GAIN,
    LEVEL_THRESHOLDS,
    LEVEL_WIDTH,
    MEAN_ONE,
    N_GROUPS,
    PHASE_SHIFT,
    Predictor,
)

SWITCH = "MEDCOMPRESS_TORCH"
"""Environment variable: "0" never uses PyTorch, the name of a device ("cpu", "cuda:1") uses that one."""


def device_for_decoding() -> str | None:
    """The CUDA device to decode on, or the one that the environment names; None where there is none."""
    asked = os.environ.get(SWITCH)
    if asked is not None:
        return None if asked == "0" or importlib.util.find_spec("torch") is None else asked
    return _cuda()


@functools.cache
def _cuda() -> str | None:
    # Importing PyTorch takes seconds, so the driver is looked for first.
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return "cuda" if torch.cuda.is_available() else None


def decode_slabs(decoders: Sequence[GroupDecoder], shapes: Sequence[tuple[int, int, int, int]],
                 predictor: Predictor, device: str) -> list[np.ndarray]:
    """Lossless slabs from their group streams.

    Parameters
    ----------
    decoders : sequence of GroupDecoder
        Of which nothing was taken yet.
    shapes : sequence of (frames, k, j, i)
        Of one volume: they differ in frames and k only.
    predictor : Predictor
    device : str
        As PyTorch names it.

    Raises
    ------
    FormatError
        A stream cannot come from the encoder.
    """
    import torch

    with torch.inference_mode():
        return _Wavefront(decoders, shapes, predictor, device).decode()


class _Wavefront:

    def __init__(self, decoders, shapes, predictor, device):
        import torch

        near = predictor.neighbourhood
        self._torch, self._device = torch, torch.device(device)
        self._predictor, self._near, self._shapes = predictor, near, shapes
        _, _, self._rows, self._width = shapes[0]
        self._stride = int(near.strides[2])
        columns = [np.stack([np.full(f * k, number), *(grid.ravel() for grid in np.mgrid[:f, :k])], axis=1)
                   for number, (f, k, _, _) in enumerate(shapes)]
        slab, f, k = np.concatenate(columns).T
        surrounding = (k > 0) + 2 * (f > 0)
        order = np.argsort(surrounding, kind="stable")         # columns of a slab stay in decoding order
        slab, f, k, surrounding = slab[order], f[order], k[order], surrounding[order]
        self._starts = self._int(f * near.strides[0] + k * near.strides[1])
        self._n_steps = int(self._starts.max()) + self._stride * (self._rows - 1) + self._width
        places = min(self._rows, (self._width - 1) // self._stride + 1)
        self._slots = self._int(np.arange(places))

        frames, slices = (np.array([shape[axis] for shape in shapes])[slab] for axis in (0, 1))
        first = np.cumsum([0, *(np.prod(shape[:2]) for shape in shapes)])[slab]
        self._column = self._int(first + f * slices + k)       # which plane of all slabs in a row
        self._taps = np.concatenate([near.taps, near.residual_taps])
        df, dk = self._taps[:, :1], self._taps[:, 1:2]
        near_f, near_k = np.clip(f + df, 0, frames - 1), np.clip(k + dk, 0, slices - 1)
        self._planes = self._int(first + near_f * slices + near_k)[:, :, None]
        self._plane_starts = self._int(near_f * near.strides[0] + near_k * near.strides[1])[:, :, None]
        n_taps = len(near.taps)
        self._plane_inside = self._to((f + df >= 0) & (k + dk >= 0) & (k + dk < slices))[n_taps:, :, None]
        self._dj, self._di = (self._int(self._taps[:, axis])[:, None, None] for axis in (2, 3))

        each = np.repeat(surrounding, places)
        self._surrounding = self._int(each)
        pairs = np.unique(np.concatenate(near.pairs, axis=1), axis=1)
        self._pairs = self._int(pairs)
        used = [[pair in kind.T.tolist() for pair in pairs.T.tolist()] for kind in near.pairs]
        self._pair_used = self._float(used)[each].T
        flat = np.unique(np.concatenate(near.flat))
        self._flat = self._int(flat)
        self._flat_unused = self._to(np.array([~np.isin(flat, kind) for kind in near.flat])[each].T)
        most = max(len(weights) for weights in predictor.experts.weights)
        self._experts = self._float(np.concatenate(
            [np.pad(weights, ((0, most - len(weights)), (0, 0))) for weights in predictor.experts.weights]))
        thresholds = np.full((N_SURROUNDINGS, most - 1), np.inf)
        for row, given in zip(thresholds, predictor.experts.thresholds, strict=True):
            row[:len(given)] = given
        self._thresholds = self._float(thresholds)[self._surrounding].T
        counts = np.array([len(weights) for weights in predictor.experts.weights])
        self._last = self._int(counts - 1)[self._surrounding]
        self._first_expert = self._surrounding * most
        self._noise_weights = self._float(near.residual_weights)[self._surrounding].T
        absent = np.zeros((N_SURROUNDINGS, near.n_residual_inputs - len(near.residual_taps)))
        self._used = self._float(np.concatenate([near.usable[:, :near.n_inputs], near.residual_usable, absent],
                                                axis=1))[self._surrounding].T
        ones = np.ones(len(each))
        self._extra = self._float(np.stack([each & 1, each >> 1, ones])) * INPUT_ONE
        self._layers = [self._float(layer) for layer in predictor.network.scaled]
        self._levels, self._gains, self._widths = (self._float(table) for table in
                                                   (LEVEL_THRESHOLDS, LEVEL_GAIN * 2.0**-15, LEVEL_WIDTH))
        self._first_groups, self._phase_shifts = self._int(FIRST_GROUP), self._int(PHASE_SHIFT)

        self._group_of_slab = self._int(np.repeat(slab, places) * N_GROUPS)
        self._next, self._end, self._symbols = self._streams(decoders)
        n_voxels = sum(int(np.prod(shape)) for shape in shapes)
        self._voxels, self._residuals = (torch.zeros(n_voxels + 1, dtype=torch.float64, device=self._device)
                                         for _ in range(2))
        self._short = torch.zeros((), dtype=torch.bool, device=self._device)

    def _to(self, array):
        return self._torch.as_tensor(np.ascontiguousarray(array), device=self._device)

    def _int(self, array):
        return self._to(np.asarray(array, np.int64))

    def _float(self, array):
        return self._to(np.asarray(array, np.float64))

    def _streams(self, decoders):
        """First and last place of every group of every slab among all symbols; the last group is of unneeded places."""
        starts, ends, symbols, before = [], [], [], 0
        for decoder in decoders:
            counts, values = decoder.remaining()
            if len(counts) > N_GROUPS:
                raise FormatError("The compressed data is damaged: it has groups that the codec has not.")
            end = before + np.cumsum(np.pad(counts, (0, N_GROUPS - len(counts))))
            starts.append(np.concatenate([[before], end[:-1]]))
            ends.append(end)
            symbols.append(values)
            before = int(end[-1])
        starts.append([before])
        ends.append([np.iinfo(np.int64).max // 2])
        return (self._int(np.concatenate(starts)), self._int(np.concatenate(ends)),
                self._float(np.concatenate([*symbols, [0]])))

    def decode(self) -> list[np.ndarray]:
        """All slabs."""
        for t in range(self._n_steps):
            self._step(t)
        voxels = self._voxels[:-1]
        if self._short or voxels.min() < 0 or voxels.max() > self._predictor.maximum:
            raise FormatError("The compressed data is damaged: its symbols are no volume.")
        parts = np.split(voxels.to(self._torch.int32).cpu().numpy(), np.cumsum([np.prod(s) for s in self._shapes])[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def _step(self, t: int) -> None:
        torch, near, stride, width = self._torch, self._near, self._stride, self._width
        late = t - self._starts
        first = torch.div(late - width, stride, rounding_mode="floor").add_(1).clamp_(min=0)
        j = first[:, None] + self._slots
        i = late[:, None] - stride * j
        needed = (j < self._rows) & (i >= 0)
        j, i = j.clamp(0, self._rows - 1), i.clamp(0, width - 1)
        here = (self._column[:, None] * self._rows + j) * width + i
        here = here.masked_fill(~needed, len(self._voxels) - 1).ravel()
        needed = needed.ravel()

        tap_j, tap_i = j + self._dj, i + self._di
        near_j, near_i = tap_j.clamp(0, self._rows - 1), tap_i.clamp(0, width - 1)
        index = (self._planes * self._rows + near_j) * width + near_i
        n = len(near.taps)
        earlier = self._plane_starts[:n] + stride * near_j[:n] + near_i[:n] < t
        taps = (self._voxels[index[:n]] * earlier).flatten(1)
        inside = (tap_j == near_j)[n:] & (tap_i == near_i)[n:] & self._plane_inside
        residuals = (self._residuals[index[n:]] * inside).flatten(1)

        flat = ((taps[self._flat] == taps[self._flat[0]]) | self._flat_unused).all(dim=0)
        activity = ((taps[self._pairs[0]] - taps[self._pairs[1]]).abs_() * self._pair_used).sum(dim=0)
        chosen = (self._thresholds <= activity).sum(dim=0)
        three = torch.stack([chosen, (chosen - 1).clamp(min=0), torch.minimum(chosen + 1, self._last)])
        sums = torch.gather(self._experts @ taps, 0, three + self._first_expert)
        highest = MEAN_ONE * self._predictor.maximum
        means = ((sums + (1 << (WEIGHT_BITS - 5))) * 2.0 ** (4 - WEIGHT_BITS)).floor_().clamp_(0, highest)
        means = torch.where(flat, MEAN_ONE * taps[0], means)
        reference = means[0]

        noise = (residuals.abs() * self._noise_weights).sum(dim=0)
        level = torch.bucketize(noise, self._levels, right=True)
        absent = residuals.new_zeros(near.n_residual_inputs - len(residuals), len(level))
        scaled = torch.cat([MEAN_ONE * taps[:near.n_inputs] - reference, residuals, absent, means[1:] - reference,
                            means[:1]])
        scaled = (scaled * self._gains[level] + 0.5).floor_().clamp_(-INPUT_LIMIT, INPUT_LIMIT)
        scaled[:len(self._used)] *= self._used
        values = torch.cat([scaled, (level.clamp(max=64) - 24)[None] * 4.0, self._extra])
        for layer in self._layers[:-1]:
            held = (layer @ values).floor_().clamp_(0, ACTIVATION_LIMIT)
            values = torch.cat([held, held.new_full((1, len(level)), ACTIVATION_ONE)])
        shift, octaves = (self._layers[-1] @ values).floor_()

        mean = (shift * self._widths[level] * 2.0**-14 + 0.5).floor_() + reference
        mean = torch.where(flat, reference, mean.clamp(0, highest))
        centre = (mean * (1 / MEAN_ONE) + 0.5).floor_()
        rest = mean - MEAN_ONE * centre
        width_level = (level + (octaves * (1 / 16) + 0.5).floor_()).clamp_(0, len(self._widths) - 1).long()
        phase = rest.abs().clamp_(max=7).long()
        group = (self._first_groups[width_level] + (phase >> self._phase_shifts[width_level])).masked_fill(flat, 0)
        symbol = self._deal((group + self._group_of_slab).masked_fill(~needed, len(self._end) - 1))
        voxels = torch.where(rest < 0, centre - symbol, centre + symbol)
        self._voxels[here] = voxels
        self._residuals[here] = MEAN_ONE * voxels - reference

    def _deal(self, groups):
        """The next symbol of each group, in order."""
        torch = self._torch
        ordered, order = torch.sort(groups, stable=True)
        counts = torch.zeros_like(self._next).scatter_add_(0, groups, torch.ones_like(groups))
        first = torch.cumsum(counts, 0) - counts
        place = self._next[ordered] + torch.arange(len(ordered), device=self._device) - first[ordered]
        self._short |= (place >= self._end[ordered]).any()
        self._next += counts
        self._next[-1] = self._end[-2]
        symbols = torch.empty_like(self._symbols[:1]).expand(len(groups)).clone()
        symbols[order] = self._symbols[place.clamp(max=len(self._symbols) - 1)]
        return symbols
