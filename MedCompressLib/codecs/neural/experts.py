"""Linear experts fitted to one volume: for each surrounding and class of activity, one weight a tap.

The idea that a wide linear support whitens reconstruction noise, and the pyramid it works on, are Nagoor et al. (ICIP
2020); fitting by least squares within classes is that of the classic lossless image coders (Wu et al., TMW, MRP).
Only the encoder solves equations, in floats; what it writes, and all that decoding sees, are integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...entropy import GroupDecoder, encode_groups
from ...errors import FormatError
from .neighbourhood import N_SURROUNDINGS, Neighbourhood

WEIGHT_BITS = 14
MAX_WEIGHT = 1 << 20
MAX_CLASSES = 64
_GROUPS = 16


@dataclass(frozen=True, eq=False)
class Experts:
    """Integer experts.

    Attributes
    ----------
    thresholds : list of (n_classes - 1,) float64 arrays, one a surrounding
        Ascending integers; the class is how many of them do not exceed the activity.
    weights : list of (n_classes, n_taps) integer arrays, one a surrounding
        In 1/2**14; each row sums to 2**14.

    Raises
    ------
    FormatError
        Shapes do not fit, or magnitudes sum to 2**28 or more in a row: below that, float64 holds every partial sum of
        weights times samples (below 2**24) exactly.
    """

    thresholds: list[np.ndarray]
    weights: list[np.ndarray]

    def __post_init__(self):
        for thresholds, weights in zip(self.thresholds, self.weights, strict=True):
            if not 0 < len(weights) <= MAX_CLASSES or len(thresholds) != len(weights) - 1:
                raise FormatError("The linear experts have impossible shapes.")
            if int(np.abs(weights).astype(np.float64).sum(axis=1).max()) >= 1 << 28:
                raise FormatError("The linear experts are refused: a sum in them can leave the exact range.")

    @cached_property
    def float_weights(self) -> list[np.ndarray]:
        return [weights.astype(np.float64) for weights in self.weights]


def fit_experts(samples: dict[int, tuple[np.ndarray, np.ndarray]], neighbourhood: Neighbourhood,
                n_classes: int, step_bits: int, passes: int = 2) -> Experts:
    """Fit experts by re-weighted least squares.

    Parameters
    ----------
    samples : surrounding -> (taps, voxels)
        (n_usable_taps, n) and (n,) arrays of sampled voxels that are not flat; whole numbers of at most 24 bits.
    n_classes : int
        At most, for the surrounding that most voxels have; a quarter for the others, and fewer where samples are few.
    step_bits : int
        Weights are multiples of 2**(step_bits - 14): coarse weights take fewer bits in the file.
    passes : int
        Re-weighting passes with weight 1 / max(|residual|, ...), which bring the fit near least absolute residuals.
    """
    thresholds, weights = [], []
    for surrounding in range(N_SURROUNDINGS):
        usable = np.flatnonzero(neighbourhood.usable[surrounding])
        if surrounding not in samples or samples[surrounding][0].shape[1] < 64:
            thresholds.append(np.zeros(0))
            weights.append(_unit_weights(len(neighbourhood.taps)))
            continue
        taps, voxels = samples[surrounding]
        place = np.cumsum(neighbourhood.usable[surrounding]) - 1
        first, second = place[neighbourhood.pairs[surrounding]]
        activity = np.abs(taps[first].astype(np.float32) - taps[second]).sum(axis=0)
        most = n_classes if surrounding == max(samples) else max(1, n_classes // 4)
        classes = int(np.clip(len(voxels) // (20 * len(usable)), 1, most))
        bounds = np.unique(np.ceil(np.quantile(activity, np.arange(1, classes) / classes)))
        member = np.searchsorted(bounds, activity, side="right")
        rows = np.zeros((len(bounds) + 1, len(neighbourhood.taps)), np.int32)
        for index in range(len(rows)):
            inside = np.flatnonzero(member == index)
            rows[index] = _fit_one(taps[:, inside].astype(np.float64), voxels[inside], usable, len(neighbourhood.taps),
                                   step_bits, passes)
        thresholds.append(bounds)
        weights.append(rows)
    return Experts(thresholds, weights)


def _unit_weights(n_taps: int) -> np.ndarray:
    weights = np.zeros((1, n_taps), np.int32)
    weights[0, 0] = 1 << WEIGHT_BITS
    return weights


def _fit_one(taps: np.ndarray, voxels: np.ndarray, usable: np.ndarray, n_taps: int, step_bits: int,
             passes: int) -> np.ndarray:
    """Integer weights of one expert; the first tap takes what makes them sum to one."""
    weights = _unit_weights(n_taps)[0]
    if len(voxels) < 2 * len(usable):
        return weights
    differences, target = taps[1:] - taps[0], voxels - taps[0]
    solution = _solve(differences, target, np.ones(len(target)))
    for _ in range(passes):
        residual = np.abs(target - solution @ differences)
        solution = _solve(differences, target, 1 / np.maximum(residual, 0.5 + 0.15 * residual.mean()))
    step = 1 << step_bits
    scale = 2.0**WEIGHT_BITS / step
    rounded = np.rint(np.clip(solution * scale, -MAX_WEIGHT // step, MAX_WEIGHT // step)).astype(np.int32) * step
    weights[usable[1:]] = rounded
    weights[usable[0]] = (1 << WEIGHT_BITS) - int(rounded.sum())
    return weights


def _solve(differences: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    root = np.sqrt(weight)
    scaled = differences * root
    gram = scaled @ scaled.T
    gram[np.diag_indices_from(gram)] += 1e-2 * weight.mean() + 1e-6 * np.trace(gram) / len(gram)
    return np.linalg.solve(gram, scaled @ (target * root))


def pack_experts(experts: Experts, neighbourhood: Neighbourhood) -> bytes:
    """All integers in one group stream: class counts, thresholds, and weights by how near their tap is.

    Weights travel divided by the step they are multiples of (the stream's first byte is its exponent). Surroundings
    that the volume does not have and taps that a surrounding does not use are left out; so is the first tap's weight,
    for each row sums to 2**14.
    """
    places = _coded_taps(neighbourhood)
    used = list(zip(experts.weights, experts.thresholds, places, strict=False))
    weights = np.concatenate([rows[:, taps].ravel() for rows, _, taps in used])
    step_bits = next(bits for bits in range(WEIGHT_BITS, -1, -1) if not (weights & ((1 << bits) - 1)).any())
    thresholds = np.concatenate([np.diff(part, prepend=0) for _, part, _ in used]).astype(np.int64)
    counts = np.array([len(rows) for rows, _, _ in used])
    symbols = np.concatenate([counts, thresholds & 0xFFFF, thresholds >> 16, weights >> step_bits])
    groups = np.concatenate([np.zeros(len(counts)), np.ones(2 * len(thresholds)),
                             *(np.tile(_nearness(taps), len(rows)) for rows, _, taps in used)]).astype(np.uint8)
    return bytes([step_bits]) + encode_groups(symbols, groups, _GROUPS)


def unpack_experts(data: bytes, neighbourhood: Neighbourhood) -> Experts:
    """What `pack_experts` was given; FormatError when it cannot be."""
    if not data or data[0] > WEIGHT_BITS:
        raise FormatError("The file's linear experts are damaged.")
    n_taps, places = len(neighbourhood.taps), _coded_taps(neighbourhood)
    decoder = GroupDecoder(data[1:], _GROUPS, N_SURROUNDINGS * (1 + MAX_CLASSES * (n_taps + 2)))
    counts = decoder.decode(np.zeros(len(places), np.uint8))
    if counts.min() < 1 or counts.max() > MAX_CLASSES:
        raise FormatError("The file's linear experts are damaged.")
    low, high = decoder.decode(np.ones(2 * int((counts - 1).sum()), np.uint8)).astype(np.int64).reshape(2, -1)
    steps = low + (high << 16)
    if len(steps) and steps.min() < 0:
        raise FormatError("The file's linear experts have thresholds that do not ascend.")
    steps = np.split(steps, np.cumsum(counts - 1)[:-1])
    weights = []
    for count, taps in zip(counts.tolist(), places, strict=True):
        rows = np.zeros((count, n_taps), np.int64)
        symbols = decoder.decode(np.tile(_nearness(taps), count)).astype(np.int64)
        rows[:, taps] = symbols.reshape(count, len(taps)) << data[0]
        rows[:, 0] = (1 << WEIGHT_BITS) - rows.sum(axis=1)
        weights.append(rows)
    decoder.finish()
    missing = N_SURROUNDINGS - len(places)
    return Experts([np.cumsum(part).astype(np.float64) for part in steps] + [np.zeros(0)] * missing,
                   weights + [_unit_weights(n_taps)] * missing)


def _coded_taps(neighbourhood: Neighbourhood) -> list[np.ndarray]:
    """Numbers of the taps whose weights travel, for each surrounding that there can be."""
    surroundings = N_SURROUNDINGS if neighbourhood.temporal else N_SURROUNDINGS // 2
    return [np.flatnonzero(used[1:]) + 1 for used in neighbourhood.usable[:surroundings]]


def _nearness(taps: np.ndarray) -> np.ndarray:
    """The group of the weight of each tap of these numbers: how near it is, in octaves."""
    return (2 + np.log2(taps).astype(int)).astype(np.uint8)
