"""The neural codec: linear experts, an integer network and grouped static tables, in wavefront order.

Method: prediction of each voxel from its causal 3D neighbourhood by a multi-layer perceptron, after Nagoor, Whittle,
Deng, Mora and Jones, "Lossless compression for volumetric medical images using deep neural network with local
sampling" (ICIP 2020), made general (differences in units of the local noise instead of intensities), exact
(integers throughout) and parallel (wavefront order).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ...compiled import worth_compiling
from ...entropy import GroupDecoder, encode_groups
from ...entropy.tables import GivenTable
from ...entropy.varint import ByteReader, write_varint
from ...errors import FormatError, UnsupportedError
from ...quality import MAX_ERROR, SampleBound
from .. import Codec, Progress
from ..blas import one_thread_blas
from . import loops
from .bounded import quantise, reconstruct
from .experts import fit_experts, pack_experts, unpack_experts
from .fitting import InputSampler, sample_taps
from .logistic import logistic_table
from .model_file import find_shipped, shipped_model, unpack_model
from .neighbourhood import MAX_RESIDUALS, MIN_RESIDUALS, Neighbourhood, neighbourhood
from .network import IntegerNetwork
from .predictor import N_GROUPS, Predictor, n_network_inputs
from .presets import EXPERT_STEP_BITS, MIN_STEPS, PRESETS, VOXELS_A_CLASS
from .raster import KnownPredictions, row_blocks
from .torch_wavefront import decode_slabs, device_for_decoding
from .tuning import pack_change, tune, unpack_change
from .wavefront import run_wavefront, wavefront_order

_MAX_RADIUS, _MAX_DEPTH = 8, 4
# The decoder holds a place for each row during as many steps as the neighbourhood reaches back.
_MAX_ROWS = 1 << 18
_MAX_STEPS = 1 << 17            # whose voxels may be few, but take their time
_MAX_REGIONS = 16
_TINY = 1 << 15                 # so few voxels are tried with all presets, whichever was asked for
_SLABS_ON_DEVICE = 8


class NeuralCodec(Codec):
    """Fitted to one volume: a `Predictor`, and how to say which."""

    codec_id = "neural"
    presets: ClassVar[dict[str, str]] = {name: preset.summary for name, preset in PRESETS.items()}
    slab_slices = 24
    near_lossless = True

    def __init__(self, predictor: Predictor, radii: Sequence[Sequence[int]], base: IntegerNetwork, change: bytes,
                 bound: SampleBound | None = None):
        self._predictor = predictor
        self._bound = bound or SampleBound(0, 0, predictor.maximum)
        self._radii = [[int(radius), int(east)] for radius, east in radii]
        self._base = base
        self._change = change

    @classmethod
    @one_thread_blas()
    def fit(cls, slabs: Sequence[np.ndarray], maximum: int, preset: str, spacing: tuple[float, float, float],
            progress: Progress | None = None, quality: SampleBound | None = None,
            model: bytes | None = None) -> NeuralCodec:
        if preset not in PRESETS:
            raise UnsupportedError(f"The neural codec has no preset {preset!r}; use one of {', '.join(PRESETS)}.")
        if model is None and quality is None and len(slabs) == 1 and slabs[0].size <= _TINY:
            slab = slabs[0]
            fitted = [cls._fit([slab], maximum, name, None, None, None) for name in PRESETS]
            return min(fitted, key=lambda codec: len(codec.model) + len(codec.encode(slab)))
        return cls._fit(slabs, maximum, preset, progress, quality, model)

    @classmethod
    def _fit(cls, slabs: Sequence[np.ndarray], maximum: int, preset: str, progress: Progress | None,
             quality: SampleBound | None, model: bytes | None) -> NeuralCodec:
        report = progress or (lambda fraction: None)
        if quality is not None and quality.max_error:
            slabs = _Coarse(slabs, quality)
        settings = PRESETS[preset]
        rng = np.random.default_rng(0)
        shapes = [slab.shape for slab in slabs]
        temporal = any(shape[0] > 1 for shape in shapes)
        near = neighbourhood(settings.radii, settings.n_inputs, settings.n_residuals, temporal)
        for shape in shapes:
            _check_size(shape, near, UnsupportedError)
        taps = sample_taps(slabs, near, settings.expert_samples, rng, maximum)
        n_voxels = sum(slab.size for slab in slabs)
        classes = min(settings.classes, max(1, n_voxels // VOXELS_A_CLASS))
        experts = fit_experts(taps, near, classes, EXPERT_STEP_BITS)
        del taps
        report(0.1)
        base = shipped_model(settings.model).network
        network = base if model is None else _own_network(model, preset, base)
        n_steps = min(settings.tuning_steps, n_voxels // settings.voxels_a_step) if settings.tuning_steps else 0
        if n_steps >= MIN_STEPS:
            sampler = InputSampler(slabs, Predictor(near, experts, network, maximum), rng,
                                   1 if quality is None else 2 * quality.max_error + 1)
            network = tune(network, sampler, n_steps, settings, lambda fraction: report(0.1 + 0.9 * fraction))
        change = b"" if network.sha256 == base.sha256 else pack_change(network, base)
        predictor = Predictor(near, experts, network, maximum)
        report(1.0)
        return cls(predictor, settings.radii, base, change, quality)

    def get_config(self) -> dict:
        near = self._predictor.neighbourhood
        config = {"radii": self._radii, "inputs": near.n_inputs, "residuals": near.n_residuals,
                  "temporal": near.temporal, "maximum": self._predictor.maximum, "network": self._base.sha256}
        if self._bound.max_error:
            config["bound"] = [self._bound.max_error, self._bound.low, self._bound.high]
        if self._bound.regions:
            config["regions"] = list(self._bound.regions)
        return config

    @classmethod
    def from_config(cls, config: dict, model: bytes) -> NeuralCodec:
        radii, near, maximum, bound = _read_config(config)
        base = find_shipped(config["network"])
        if base.n_inputs != n_network_inputs(near) or base.n_outputs != 2:
            raise FormatError("The file's network does not fit its neighbourhood.")
        reader = ByteReader(model)
        experts = unpack_experts(bytes(reader.take(reader.varint(len(model)))), near)
        change = bytes(reader.take(reader.varint(len(model))))
        if reader.remaining:
            raise FormatError("There are bytes after the end of the file's neural model.")
        network = unpack_change(change, base) if change else base
        return cls(Predictor(near, experts, network, maximum), radii, base, change, bound)

    @property
    def model(self) -> bytes:
        out = bytearray()
        for part in (pack_experts(self._predictor.experts, self._predictor.neighbourhood), self._change):
            write_varint(out, len(part))
            out += part
        return bytes(out)

    @one_thread_blas()
    def encode(self, slab: np.ndarray, regions: np.ndarray | None = None) -> bytes:
        # With compiled loops the decoder's order is the faster one for the encoder too.
        in_order = not self._lossless or worth_compiling(slab.size)
        symbols, groups = self._encode_in_order(slab, regions) if in_order else self._encode_known(slab)
        return encode_groups(symbols, groups, self._n_groups, self._given)

    @property
    def _n_groups(self) -> int:
        """Each region has groups of its own, because its symbols count steps of another size."""
        return N_GROUPS * max(1, len(self._bound.regions))

    def _given(self, group: int) -> GivenTable | None:
        """The table that both sides know of a group."""
        region, group = divmod(group, N_GROUPS)
        max_errors = self._bound.regions or (self._bound.max_error,)
        return logistic_table(group, 2 * max_errors[region] + 1) if region < len(max_errors) else None

    def _encode_known(self, slab: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Symbols and groups in decoding order, found in raster order, which only lossless coding allows: what is
        predicted from is known."""
        predictions = KnownPredictions(slab, self._predictor)
        symbols, groups = np.empty(slab.shape, np.int32), np.empty(slab.shape, np.uint16)
        for f, k, j, j_end in row_blocks(slab.shape, predictions.known.rows_at_once):
            inputs, levels, reference, flat = predictions.rows(f, k, j, j_end)
            centre, sign, group = self._predictor.mean_and_group(inputs, levels, reference, flat,
                                                                 predictions.known.work)
            rows = slab[f, k, j:j_end]
            symbols[f, k, j:j_end] = (sign * (rows.ravel() - centre)).reshape(rows.shape)
            groups[f, k, j:j_end] = group.reshape(rows.shape)
        order = wavefront_order(slab.shape, self._predictor.neighbourhood)
        return symbols.ravel()[order], groups.ravel()[order]

    def _encode_in_order(self, slab: np.ndarray, regions: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The same, step by step: what is predicted from is what the decoder will have."""
        flat, n = slab.ravel(), 0
        symbols, groups = np.empty(slab.size, np.int32), np.empty(slab.size, np.uint16)

        def voxels_of(places, centre, sign, group):
            nonlocal n
            here = slice(n, n + len(places))
            n = here.stop
            max_error, groups[here] = self._allowed(regions, places, group)
            if self._lossless:
                voxels = np.empty(len(places))
                loops.take_symbols(flat, places, centre, sign, voxels, symbols[here])
                return voxels
            symbol = quantise(flat[places], centre, sign, self._bound, max_error)
            symbols[here] = symbol
            return reconstruct(symbol, centre, sign, self._bound, max_error)

        run_wavefront(slab.shape, self._predictor, voxels_of)
        return symbols, groups

    @property
    def _lossless(self) -> bool:
        return not self._bound.max_error and not self._bound.regions

    def _allowed(self, regions: np.ndarray | None, places: np.ndarray,
                 group: np.ndarray) -> tuple[np.ndarray | int, np.ndarray]:
        """The error allowed at each place, and the group that its region makes of `group`."""
        if not self._bound.regions:
            return self._bound.max_error, group
        here = regions.ravel()[places]
        return np.array(self._bound.regions, np.float64)[here], group + (N_GROUPS * here.astype(np.uint16))

    @one_thread_blas()
    def decode(self, payload: bytes, shape: tuple[int, int, int, int],
               regions: np.ndarray | None = None) -> np.ndarray:
        self._check_shape(shape)
        decoder = GroupDecoder(payload, self._n_groups, int(np.prod(shape)), self._given)
        slab = np.empty(int(np.prod(shape)), np.int32)
        maximum, in_loops = self._predictor.maximum, self._lossless and worth_compiling(slab.size)

        def voxels_of(places, centre, sign, group):
            max_error, group = self._allowed(regions, places, group)
            symbols = decoder.decode(group)
            if in_loops:
                voxels = np.empty(len(places))
                right = loops.put_symbols(symbols, places, centre, sign, maximum, slab, voxels)
            else:
                voxels = reconstruct(symbols, centre, sign, self._bound, max_error)
                right = 0 <= voxels.min() and voxels.max() <= maximum
                slab[places] = voxels
            if not right:
                raise FormatError("The compressed data is damaged: a voxel lies outside the range of the volume.")
            return voxels

        run_wavefront(shape, self._predictor, voxels_of)
        return slab.reshape(shape)

    def _check_shape(self, shape: tuple[int, int, int, int]) -> None:
        """FormatError where there can be no slab of that shape."""
        near = self._predictor.neighbourhood
        _check_size(shape, near, FormatError)
        if shape[0] > 1 and not near.temporal:
            raise FormatError("A slab of the file has several frames, for which its neural codec is not made.")

    @property
    def at_once(self) -> int:
        return 1 if self._device is None else _SLABS_ON_DEVICE

    @property
    def _device(self) -> str | None:
        """Where PyTorch decodes, which it does only what is lossless."""
        return device_for_decoding() if self._lossless else None

    def decode_many(self, payloads: Sequence[bytes], shapes: Sequence[tuple[int, int, int, int]]) -> list[np.ndarray]:
        device = self._device
        if device is None:
            return super().decode_many(payloads, shapes)
        for shape in shapes:
            self._check_shape(shape)
        decoders = [GroupDecoder(payload, self._n_groups, int(np.prod(shape)), self._given)
                    for payload, shape in zip(payloads, shapes, strict=True)]
        return decode_slabs(decoders, shapes, self._predictor, device)


def _check_size(shape: tuple[int, int, int, int], near: Neighbourhood, error: type[Exception]) -> None:
    rows, steps = int(np.prod(shape[:3])), near.n_steps(shape)
    if rows > _MAX_ROWS or steps > _MAX_STEPS:
        raise error(f"The neural codec takes slabs of up to {_MAX_ROWS} rows and {_MAX_STEPS} steps; this one has "
                    f"{rows} and {steps}. Use another codec.")


def _own_network(model: bytes, preset: str, base: IntegerNetwork) -> IntegerNetwork:
    """The network of a user's model file, when it was trained for this preset."""
    own = unpack_model(model)
    if own.description.get("preset") != preset or not own.network.has_shape_of(base):
        raise UnsupportedError(f"The model was not trained for the preset {preset!r} of this version; use the preset "
                               "it was trained for, or train it again.")
    return own.network


class _Coarse(Sequence):
    """Slabs as a near-lossless decoder will about have them, for fitting."""

    def __init__(self, slabs: Sequence[np.ndarray], bound: SampleBound):
        self._slabs, self._bound = slabs, bound

    def __len__(self) -> int:
        return len(self._slabs)

    def __getitem__(self, index):
        slab, bound = self._slabs[index], self._bound
        step = 2 * bound.max_error + 1
        coarse = np.clip((slab - bound.low + bound.max_error) // step * step + bound.low, bound.low, bound.high)
        return np.where((slab < bound.low) | (slab > bound.high), slab, coarse).astype(np.int32)


def _read_config(config: dict) -> tuple[list, Neighbourhood, int, SampleBound]:
    needed = {"radii", "inputs", "residuals", "temporal", "maximum", "network"}
    try:
        radii = [(_whole(radius, 0, _MAX_RADIUS), _whole(east, 0, radius)) for radius, east in config["radii"]]
        n_residuals = _whole(config["residuals"], MIN_RESIDUALS, MAX_RESIDUALS)
        temporal, maximum = config["temporal"], _whole(config["maximum"], 0, (1 << 24) - 1)
        if (set(config) - {"bound", "regions"} != needed or not 0 < len(radii) <= _MAX_DEPTH or radii[0][0] < 2
                or type(temporal) is not bool or type(config["network"]) is not str):
            raise ValueError
        near = neighbourhood(radii, config["inputs"], n_residuals, temporal)
        _whole(config["inputs"], 1, np.count_nonzero(near.taps[:, 0] == 0))
        bound = _read_bound(config, maximum)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError("The configuration of the neural codec is not valid.") from error
    return radii, near, maximum, bound


def _read_bound(config: dict, maximum: int) -> SampleBound:
    if "bound" not in config:
        if "regions" in config:
            raise ValueError
        return SampleBound(0, 0, maximum)
    max_error, low, high = config["bound"]
    max_error, low, high = _whole(max_error, 1, MAX_ERROR), _whole(low, 0, maximum), _whole(high, low, maximum)
    regions = tuple(_whole(allowed, 0, max_error) for allowed in config.get("regions", (max_error,)))
    if len(regions) > _MAX_REGIONS or max(regions) != max_error:
        raise ValueError
    return SampleBound(max_error, low, high, regions if "regions" in config else ())


def _whole(value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError
    return value


CODEC = NeuralCodec
