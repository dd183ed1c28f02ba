"""The wavelet codec: reversible 5/3 or, with loss, quantised 9/7 in three dimensions, coded with fitted contexts.

FORMAT.md, "Codec wavelet", is the specification.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from typing import ClassVar

import numpy as np

from ...entropy import GroupDecoder, encode_groups
from ...entropy.varint import ByteReader, write_varint
from ...errors import FormatError, UnsupportedError
from ...quality import MAX_ERROR, MAX_REGIONS, SampleBound, SampleStep
from .. import Codec, Progress
from ..blas import one_thread_blas
from . import lifting, rate_distortion
from .bounded import coarse, coarse_maximum, fine
from .contexts import LOW_GROUP, N_GROUPS, WEIGHT_BITS, Known, Weights, predict, term_counts
from .fitting import fit_weights
from .lattice import Lattice, Pass, passes
from .layer import NAME, Layer
from .lifting import BandName
from .quantiser import SPREAD_UNIT, Quantiser
from .room import check_levels, check_regions, choices_that_fit, turned

MAX_LEVELS = 16
MAX_DEPTH_LEVELS = 4
_FIT_VOXELS = 1 << 20            # weights are fitted on at most about so many voxels
_WEIGHT_LIMIT = 1 << 20
_CONFIG = {"maximum", "levels", "depth_levels", "depth_axis", "weight_sets", "bound", "steps", "regions"}

WeightKey = tuple[int, BandName, Pass]
Code = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Codes the coefficients of a component (a view) given their means and groups; returns the residuals."""


class WaveletCodec(Codec):
    """Wavelet with least-squares contexts: reversible 5/3, or 9/7 where there is a quantiser.

    Parameters
    ----------
    maximum : int
        Largest sample.
    levels : int
        Splits in the slice.
    depth_levels : int
        How many of the finest levels also split across slices (or frames).
    depth_axis : "k" or "frames"
        The axis beside the slice along which there is most to gain.
    weight_sets : int
        Levels 0 .. weight_sets - 1 have weights of their own; coarser ones use the last.
    weights : dict
        `Weights` by (set, band, pass).
    bound : SampleBound, optional
        Makes samples coarse before the 5/3 transform.
    quantiser : Quantiser, optional
        Of the coefficients of the 9/7 transform.
    regions : tuple of int or None
        For each region how much its samples may be off, None where the first layer is all; empty without regions.
    """

    codec_id = "wavelet"
    presets: ClassVar = {"default": "Fast both ways; choose it for saving and loading every day."}
    slab_slices = 8
    has_compiled_loops = True
    near_lossless = True
    lossy = True

    def __init__(self, maximum: int, levels: int, depth_levels: int, depth_axis: str, weight_sets: int,
                 weights: dict[WeightKey, Weights] | None = None, bound: SampleBound | None = None,
                 quantiser: Quantiser | None = None, regions: tuple[int | None, ...] = ()):
        self.maximum, self.levels, self.depth_levels = maximum, levels, depth_levels
        self.depth_axis, self.weight_sets = depth_axis, weight_sets
        self.weights = weights if weights is not None else {}
        self.bound, self.quantiser, self.regions = bound, quantiser, regions
        largest = coarse_maximum(maximum, bound) if bound else maximum
        self._unit = max(0, largest.bit_length() - 13) if quantiser is None else SPREAD_UNIT
        self._dtype = np.int32 if largest < 1 << 16 and quantiser is None else np.int64

    @classmethod
    @one_thread_blas()
    def fit(cls, slabs: Sequence[np.ndarray], maximum: int, preset: str, spacing: tuple[float, float, float],
            progress: Progress | None = None, quality: SampleBound | SampleStep | None = None) -> WaveletCodec:
        cls.check_preset(preset)
        if isinstance(quality, SampleStep):
            return rate_distortion.fit(cls, slabs, maximum, quality.step, progress)
        bound = quality if quality is not None and quality.max_error else None
        sample = _sample(slabs)
        levels = lifting.useful_levels(*sample.shape[2:])
        choices = [(axis, split) for axis, length in lifting.useful_depth_axes(sample.shape).items()
                   for split in ((0, 1) if length > 1 and levels else (0,))]
        levels, choices = choices_that_fit(slabs[0].shape, levels, choices)
        sets = min(levels, 2 if _is_large(slabs) else 1)
        candidates = [cls(maximum, levels, split, axis, min(levels, max(sets, split + 1)) if levels else 0, bound=bound)
                      for axis, split in choices]

        def size(candidate: WaveletCodec) -> int:
            return len(candidate._code_volume(sample, fit=True)) + len(candidate.model)

        with ThreadPoolExecutor(2) as pool:
            sizes = []
            for number, bytes_needed in enumerate(pool.map(size, candidates)):
                sizes.append(bytes_needed)
                if progress:
                    progress((number + 1) / len(candidates))
        best = candidates[int(np.argmin(sizes))]
        if bound and bound.regions:
            return best.with_regions([None if error == bound.max_error else error for error in bound.regions])
        return best

    def get_config(self) -> dict:
        config = {"maximum": self.maximum, "levels": self.levels, "depth_levels": self.depth_levels,
                  "depth_axis": self.depth_axis, "weight_sets": self.weight_sets}
        if self.bound:
            config["bound"] = [self.bound.max_error, self.bound.low, self.bound.high]
        if self.quantiser:
            config |= self.quantiser.get_config()
        if self.regions:
            config["regions"] = list(self.regions)
        return config

    @classmethod
    def from_config(cls, config: dict, model: bytes) -> WaveletCodec:
        codec = cls.check_config(config)
        codec._read_model(model)
        return codec

    @classmethod
    def check_config(cls, config: dict) -> WaveletCodec:
        """A codec without weights; FormatError when the configuration is not valid."""
        if unknown := set(config) - _CONFIG - ({"points"} if "steps" in config else set()):
            raise FormatError(f"The wavelet configuration has an entry {min(unknown)[:40]!r}, which it cannot have.")
        try:
            numbers = [_checked(config[key], 0, most) for key, most in
                       (("maximum", (1 << 24) - 1), ("levels", MAX_LEVELS), ("depth_levels", MAX_DEPTH_LEVELS))]
            axis, sets = config["depth_axis"], _checked(config["weight_sets"], 0, MAX_LEVELS)
            bound = _bound(config["bound"], numbers[0]) if "bound" in config else None
            quantiser = Quantiser.from_config(config, *numbers[1:]) if "steps" in config else None
            regions = _regions(config["regions"]) if "regions" in config else ()
        except (KeyError, TypeError) as error:
            raise FormatError("The wavelet configuration lacks an entry or has one of the wrong kind.") from error
        codec = cls(*numbers, axis, sets, bound=bound, quantiser=quantiser, regions=regions)
        if (codec.depth_axis not in ("k", "frames") or codec.weight_sets > codec.levels or (bound and quantiser)
                or (regions and not (bound or quantiser))
                or (codec.levels > 0 and codec.weight_sets <= min(codec.depth_levels, codec.levels - 1))):
            raise FormatError("The wavelet configuration contradicts itself.")
        return codec

    @property
    def model(self) -> bytes:
        parts = [part for key in self._weight_keys() for part in (self.weights[key].mean, self.weights[key].spread)]
        groups = [np.full(len(part), number % 2, np.uint8) for number, part in enumerate(parts)]
        return encode_groups(np.concatenate(parts), np.concatenate(groups), 2) if parts else b""

    def encode(self, slab: np.ndarray, regions: np.ndarray | None = None) -> bytes:
        if regions is None:
            return self.encode_measured(slab)[0] if self.quantiser else self._code_volume(np.asarray(slab, np.int32),
                                                                                          fit=False)
        return self.add_layer(self.encode(slab), slab, regions)

    def encode_measured(self, slab: np.ndarray) -> tuple[bytes, np.ndarray]:
        """The payload of the first layer, and the samples that `decode` makes of it."""
        return rate_distortion.encode(self, slab)

    def add_layer(self, payload: bytes, slab: np.ndarray, regions: np.ndarray) -> bytes:
        """The payload of both layers, from that of the first."""
        check_regions(slab.shape, UnsupportedError)
        layer = self._layer(self.decode(payload, slab.shape), regions)
        out = bytearray()
        for part in (payload, *layer.encode(slab)):
            write_varint(out, len(part))
            out += part
        return bytes(out)

    def with_regions(self, errors: Sequence[int | None]) -> WaveletCodec:
        """The same codec with a second layer, for which `fit_regions` chooses weights."""
        codec = copy(self)
        codec.regions = tuple(errors)
        codec.weights = dict(self.weights)
        for step in passes(True):
            n_mean, n_spread = term_counts(NAME, step, False)
            codec.weights[self.weight_sets, NAME, step] = Weights(
                np.zeros(n_mean, np.int32), np.append(np.full(n_spread - 1, 40, np.int32), 1 << WEIGHT_BITS))
        return codec

    @one_thread_blas()
    def fit_regions(self, slab: np.ndarray, regions: np.ndarray) -> None:
        check_regions(slab.shape, UnsupportedError)
        layer = self._layer(self.decode(self.encode(slab), slab.shape), regions)
        layer.fit(slab)
        self.weights |= {(self.weight_sets, NAME, step): weights for step, weights in layer.weights.items()}

    def _layer(self, base: np.ndarray, regions: np.ndarray) -> Layer:
        weights = {step: self.weights[self.weight_sets, NAME, step] for step in passes(True)}
        return Layer(base, regions, self.regions, weights, max(0, self.maximum.bit_length() - 13),
                     np.int32 if self.maximum < 1 << 16 else np.int64)

    def at_step(self, step: float) -> WaveletCodec:
        """The same codec with another step."""
        quantiser = Quantiser.uniform(step, self.levels, self.depth_levels, self.quantiser.points)
        return WaveletCodec(self.maximum, self.levels, self.depth_levels, self.depth_axis, self.weight_sets,
                            self.weights, quantiser=quantiser)

    sampled = staticmethod(rate_distortion.sampled)

    def decode(self, payload: bytes, shape: tuple[int, int, int, int],
               regions: np.ndarray | None = None) -> np.ndarray:
        if regions is not None:
            check_regions(shape, FormatError)
            reader = ByteReader(payload)
            first, *parts = [bytes(reader.take(reader.varint(len(payload))))
                             for _ in range(1 + sum(error is not None for error in self.regions))]
            if reader.remaining:
                raise FormatError("There are bytes after the last layer of a slab.")
            low, high = (self.bound.low, self.bound.high) if self.bound else (0, self.maximum)
            return self._layer(self.decode(first, shape), regions).decode(parts, low, high)
        check_levels(turned(shape, self.depth_axis), self.levels, self.depth_levels, FormatError)
        shapes = lifting.level_shapes(turned(shape, self.depth_axis), self.levels, self.depth_levels)
        decoder = GroupDecoder(payload, N_GROUPS + 1, int(np.prod(shape)))

        def code(coefficients: np.ndarray, mean: np.ndarray, group: np.ndarray) -> np.ndarray:
            residual = decoder.decode(group)
            np.add(mean, residual, out=coefficients)
            return residual

        low = lifting.sums(decoder.decode(np.full(shapes[-1], LOW_GROUP, np.uint8)))
        if self.quantiser:
            low = self.quantiser.low(low)
        coarser = None
        for number in reversed(range(self.levels)):
            seen = self.quantiser.seen(low, number) if self.quantiser else low
            bands = self.joined(number, shapes, self.code_level(number, shapes[number], seen, coarser, None, code))
            coarser = lifting.Level(seen, bands)
            low = (self.quantiser.merged(number, low, bands, number < self.depth_levels) if self.quantiser
                   else lifting.merge(coarser, number < self.depth_levels))
        decoder.finish()
        if self.quantiser:
            low = self.quantiser.samples(low, self.maximum)
        return np.ascontiguousarray(self.turn(fine(low, self.bound) if self.bound else low))

    def joined(self, number: int, shapes: list[tuple[int, ...]], known: Known) -> dict[BandName, np.ndarray]:
        """The bands of a level, out of their components."""
        return {name: known.lattice.join(components, self._band_shape(number, shapes[number], name))
                for name, components in known.bands.items()}

    def _code_volume(self, slab: np.ndarray, fit: bool) -> bytes:
        """The payload of a slab; with `fit`, weights are fitted on the way, and the payload only tells the size."""
        volume = self.turn(coarse(slab, self.bound) if self.bound else slab)
        levels = lifting.forward(volume, self.levels, self.depth_levels)
        shapes = lifting.level_shapes(volume.shape, self.levels, self.depth_levels)
        flat = lifting.differences(levels[-1].low if levels else volume).ravel()
        symbols, groups = [flat], [np.full(len(flat), LOW_GROUP, np.uint8)]

        def code(coefficients: np.ndarray, mean: np.ndarray, group: np.ndarray) -> np.ndarray:
            residual = coefficients - mean
            symbols.append(residual.ravel())
            groups.append(group.ravel())
            return residual

        for number in range(len(levels)) if fit else reversed(range(len(levels))):
            coarser = levels[number + 1] if number + 1 < len(levels) else None
            self.code_level(number, shapes[number], levels[number].low, coarser, levels[number].bands, code,
                            fit and number < self.weight_sets)
        return encode_groups(np.concatenate(symbols), np.concatenate(groups), N_GROUPS + 1)

    def code_level(self, number: int, shape: tuple[int, ...], low: np.ndarray, coarser: lifting.Level | None,
                   bands: dict[BandName, np.ndarray] | None, code: Code, fit: bool = False) -> Known:
        """Code all bands of one level.

        Parameters
        ----------
        number : int
            0 is the finest level.
        shape : of the volume that this level splits
        low : its low part
        coarser : the next level, where there is one
        bands : their values when encoding; None when decoding
        code : called for every component in coding order
        fit : choose this level's weights first
        """
        lattice = Lattice(low.shape, cut_depth=number >= self.depth_levels)
        known = Known(lattice, low)
        if coarser:
            add_parents(known, coarser.bands, number + 1 < self.depth_levels)
        for name, components in known.bands.items():
            band_shape = self._band_shape(number, shape, name)
            if bands:
                lattice.cut(bands[name], "zero", components)
            for step in lattice.passes:
                key = (min(number, self.weight_sets - 1), name, step)
                if fit:
                    self.weights[key] = fit_weights(known, name, step, band_shape)
                for component in step.components:
                    coefficients, magnitudes = (lattice.inside(held[name][component], component, band_shape)
                                                for held in (known.bands, known.residuals))
                    if coefficients.size:
                        mean, group = predict(known, name, step, component, band_shape, self.weights[key], self._unit,
                                              self._dtype)
                        np.abs(code(coefficients, mean, group), out=magnitudes)
        return known

    def _band_shape(self, number: int, shape: tuple[int, ...], name: BandName) -> tuple[int, ...]:
        return lifting.band_shape(shape, name, number < self.depth_levels)

    def _weight_keys(self) -> list[WeightKey]:
        keys = []
        for number in range(self.weight_sets):
            split = number < self.depth_levels
            keys += [(number, name, step) for name in lifting.band_names(split) for step in passes(not split)]
        if self.regions:
            keys += [(self.weight_sets, NAME, step) for step in passes(True)]
        return keys

    def _read_model(self, model: bytes) -> None:
        keys = self._weight_keys()
        if not keys:
            if model:
                raise FormatError("The wavelet codec has a model where it can have none.")
            return
        counts = [term_counts(name, step, number < min(self.depth_levels, self.weight_sets))
                  for number, name, step in keys]
        sizes = np.array(counts).ravel()
        decoder = GroupDecoder(model, 2, int(sizes.sum()))
        flat = decoder.decode(np.repeat(np.arange(len(sizes)) % 2, sizes).astype(np.uint8))
        decoder.finish()
        if np.abs(flat.astype(np.int64)).max() > _WEIGHT_LIMIT:
            raise FormatError("The wavelet model has a weight beyond its limit.")
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        self.weights = {key: Weights(*pair) for key, pair in zip(keys, zip(parts[::2], parts[1::2], strict=True),
                                                               strict=True)}

    def turn(self, array: np.ndarray) -> np.ndarray:
        """(frames, k, j, i) to (batch, depth, j, i) or back."""
        return array if self.depth_axis == "k" else array.swapaxes(0, 1)


def add_parents(known: Known, coarser: dict[BandName, np.ndarray], depth_split: bool) -> None:
    """Magnitudes of each band of the next coarser level, which split the depth or not, on the finer lattice."""
    lattice = known.lattice
    for name in known.bands.keys() & coarser.keys():
        band = np.abs(coarser[name])
        if depth_split:
            band = np.repeat(band, 2, axis=1)
        for d in (0, 1) if lattice.cut_depth else (0,):
            part = band[:, d:lattice.shape[1]:2 if lattice.cut_depth else 1]
            _, slices, rows, columns = part.shape
            flat = known.parents[name][d, 0, 0]
            lattice.shaped(flat)[:, 1:1 + slices, 1:1 + rows, 1:1 + columns] = part


def _sample(slabs: Sequence[np.ndarray]) -> np.ndarray:
    """Some slabs of equal shape, spread over the volume, one after the other along the frames."""
    first = slabs[0]
    usable = [number for number in range(len(slabs)) if number < max(1, len(slabs) - 1)]
    count = max(1, min(len(usable), _FIT_VOXELS // max(1, first.size)))
    chosen = [slabs[usable[(2 * place + 1) * len(usable) // (2 * count)]] for place in range(count)]
    return np.concatenate([slab for slab in chosen if slab.shape == chosen[0].shape])


def _bound(value: object, maximum: int) -> SampleBound:
    if not isinstance(value, list) or len(value) != 3:
        raise FormatError("The wavelet configuration has no valid bound.")
    error, low = _checked(value[0], 1, MAX_ERROR), _checked(value[1], 0, maximum)
    return SampleBound(error, low, _checked(value[2], low, maximum))


def _is_large(slabs: Sequence[np.ndarray]) -> bool:
    """Whether a second set of weights pays; slabs are made when they are asked for, so no more are than needed."""
    total = 0
    for slab in slabs:
        total += slab.size
        if total > 1 << 20:
            return True
    return False


def _regions(value: object) -> tuple[int | None, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_REGIONS:
        raise FormatError("The wavelet configuration has no valid regions.")
    return tuple(None if error is None else _checked(error, 0, MAX_ERROR) for error in value)


def _checked(value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise FormatError(f"The wavelet configuration has {repr(value)[:40]} where a whole number from {low} to {high} "
                          "belongs.")
    return value


CODEC = WaveletCodec
