"""The encoder's side of the lossy wavelet: coefficients quantised while they are coded, and how to choose everything.

Coding runs from the coarsest level to the finest, as decoding does, because contexts see what the decoder will have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...entropy import encode_groups
from ...progress import Progress
from . import irreversible, lifting
from .contexts import LOW_GROUP, N_GROUPS
from .lifting import BandName, Level
from .quantiser import FINE_BITS, POINT_BITS, RATE_WEIGHT, Quantiser, in_steps, rounded, thresholds
from .room import choices_that_fit

if TYPE_CHECKING:
    from .codec import WaveletCodec

_HALF = 1 << FINE_BITS - 1
_PLAIN = 38                  # threshold of the fit, in units of 2**-FINE_BITS
_FIT_VOXELS = 1 << 20
_MOST_DEPTH_LEVELS = 2


def encode(codec: WaveletCodec, slab: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Payload of a slab, and what it decodes to."""
    trial = _Trial(codec, slab)
    payload = trial.code()
    return payload, trial.samples()


def fit(codec_class: type[WaveletCodec], slabs: Sequence[np.ndarray], maximum: int, step: float,
        progress: Progress | None = None) -> WaveletCodec:
    """The codec for this step with the least sum of squared errors and weighted bits, tried on a part of the slabs."""
    sample = sampled(slabs)
    levels = lifting.useful_levels(*sample.shape[2:])
    choices = []
    for axis, length in lifting.useful_depth_axes(sample.shape).items():
        most = min(_MOST_DEPTH_LEVELS, levels, max(0, (length - 1).bit_length() - 1) or int(length > 1))
        choices += [(axis, split) for split in range(most + 1)]
    levels, choices = choices_that_fit(slabs[0].shape, levels, choices)
    best = None
    for number, (axis, split) in enumerate(choices):
        sets = min(levels, max(2 if sample.size > _FIT_VOXELS // 4 else 1, split + 1))
        codec = codec_class(maximum, levels, split, axis, sets, quantiser=Quantiser.uniform(step, levels, split))
        trial = _Trial(codec, sample)
        trial.fit()
        trial.code()
        codec.quantiser = Quantiser(codec.quantiser.steps, trial.points())
        bits = 8 * (len(trial.code()) + len(codec.model))
        errors = (trial.samples() - sample.astype(np.float64)).ravel()
        cost = errors @ errors / step**2 + RATE_WEIGHT * bits
        if best is None or cost < best[0]:
            best = cost, codec
        if progress:
            progress((number + 1) / len(choices))
    return best[1]


def sampled(slabs: Sequence[np.ndarray]) -> np.ndarray:
    """All of a small volume, or tiles of some slabs of equal shape, one after the other along the frames."""
    first = slabs[0].shape
    if sum(slab.size for slab in slabs) <= 2 * _FIT_VOXELS:
        return np.concatenate([slab for slab in slabs if slab.shape == first])
    usable = max(1, len(slabs) - 1)                      # the last slab may be thinner
    count = min(usable, 4)
    rows, columns = (max(1, min(size, max(64, size * 2 // (5 if count > 1 else 3)))) for size in first[2:])
    tiles = []
    for number in range(count):
        slab = slabs[(2 * number + 1) * usable // (2 * count)]
        j, i = ((size - tile) * (1 + 2 * (number >> bit & 1)) // 4
                for size, tile, bit in ((first[2], rows, 1), (first[3], columns, 0)))
        tiles.append(slab[:8, :, j:j + rows, i:i + columns])
    return np.concatenate([tile for tile in tiles if tile.shape == tiles[0].shape])


class _Trial:
    """One slab with its coefficients, coded as a codec has it."""

    def __init__(self, codec: WaveletCodec, slab: np.ndarray):
        self._codec, self._quantiser = codec, codec.quantiser
        volume = codec.turn(slab).astype(np.float32 if codec.maximum < 1 << 16 else np.float64)
        self._shapes = lifting.level_shapes(volume.shape, codec.levels, codec.depth_levels)
        levels = irreversible.forward(volume, codec.levels, codec.depth_levels)
        steps = self._quantiser.steps
        self._low = rounded(in_steps(levels[-1].low if levels else volume, steps[-1][0]), _HALF)
        self._bands = [{name: in_steps(band, step) for (name, band), step in zip(level.bands.items(), row, strict=True)}
                       for level, row in zip(levels, steps, strict=False)]

    def fit(self) -> None:
        """Weights fitted to plainly rounded coefficients."""
        codec, quantiser = self._codec, self._quantiser
        low, levels = quantiser.low(self._low), {}
        for number in reversed(range(codec.levels)):
            bands = {name: rounded(band, _PLAIN) for name, band in self._bands[number].items()}
            levels[number] = Level(quantiser.seen(low, number), bands)
            low = quantiser.merged(number, low, bands, number < codec.depth_levels)
        for number in range(codec.weight_sets):
            codec.code_level(number, self._shapes[number], levels[number].low, levels.get(number + 1),
                             levels[number].bands, lambda coefficients, mean, _: coefficients - mean, fit=True)

    def code(self) -> bytes:
        """The payload; what it decodes to is kept for `samples` and `points`."""
        codec, quantiser = self._codec, self._codec.quantiser
        limits = thresholds()
        flat = lifting.differences(self._low).ravel()
        symbols, groups = [flat], [np.full(len(flat), LOW_GROUP, np.uint8)]

        def choose(coefficients: np.ndarray, mean: np.ndarray, group: np.ndarray) -> np.ndarray:
            residual = rounded(coefficients - (mean << FINE_BITS), limits[group])
            np.add(mean, residual, out=coefficients)
            symbols.append(residual.ravel())
            groups.append(group.ravel())
            return residual

        self._coded: dict[int, dict[BandName, np.ndarray]] = {}
        coarser, self._result = None, quantiser.low(self._low)
        for number in reversed(range(codec.levels)):
            seen = quantiser.seen(self._result, number)
            known = codec.code_level(number, self._shapes[number], seen, coarser, self._bands[number], choose)
            self._coded[number] = codec.joined(number, self._shapes, known)
            coarser = Level(seen, self._coded[number])
            self._result = quantiser.merged(number, self._result, self._coded[number], number < codec.depth_levels)
        return encode_groups(np.concatenate(symbols), np.concatenate(groups), N_GROUPS + 1)

    def samples(self) -> np.ndarray:
        """What the payload of the last `code` decodes to."""
        return self._codec.turn(self._codec.quantiser.samples(self._result, self._codec.maximum))

    def points(self) -> tuple[int, int]:
        """Where the mean of the coefficients lies that became 1, and of those that became more."""
        sums, counts = np.zeros(2), np.zeros(2)
        for number, bands in self._coded.items():
            for name, band in bands.items():
                magnitudes = np.abs(band)
                nearer = (magnitudes << FINE_BITS) - self._bands[number][name] * np.sign(band)
                for place, chosen in enumerate((magnitudes == 1, magnitudes > 1)):
                    sums[place] += nearer[chosen].sum(dtype=np.float64)
                    counts[place] += np.count_nonzero(chosen)
        points = np.rint(sums / np.maximum(counts, 1) * 2.0**(POINT_BITS - FINE_BITS))
        half = 1 << POINT_BITS - 1
        return tuple(int(point) for point in points.clip(-half, half))
