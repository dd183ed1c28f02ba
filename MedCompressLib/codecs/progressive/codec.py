"""The progressive codec: the wavelet codec's 5/3 and contexts, in layers.

FORMAT.md, "Codec progressive", is the specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ...entropy import GroupDecoder, encode_groups
from ...entropy.varint import ByteReader, write_varint
from ...errors import FormatError
from .. import Codec, Progress
from ..blas import one_thread_blas
from ..wavelet import lifting
from ..wavelet.codec import WaveletCodec
from ..wavelet.contexts import Weights
from ..wavelet.lattice import passes
from ..wavelet.room import check_levels, turned
from .contexts import weight_counts
from .pyramid import Coder, LayerWeights, Pyramid, WeightKey
from .schedule import Layer, check, choose, planes, turns
from .symbols import SymbolDecoder, SymbolEncoder
from .tables import Counter, Tables, check_numbers

_FIT_VOXELS = 1 << 22            # weights and tables are fitted on about so many voxels
_FIT_SLABS = 4
_WEIGHT_LIMIT = 1 << 20

_Stage = tuple[int, int]
"""A set of weights, and for which layers of a level they are: 0 for the first, the largest for the last."""


class ProgressiveCodec(Codec):
    """Reversible 5/3 wavelet, coded so that every prefix of a file and every coarser size can be decoded.

    Parameters
    ----------
    maximum, levels, depth_levels, depth_axis, weight_sets
        As in the codec `wavelet`.
    layers : list of Layer
        In the order of coding; before them stands the all-low part.
    shared : bool
        Whether later layers share weights, and planes tables, as in version 1 of the format.

    Attributes
    ----------
    weights : dict
        `Weights` by stage, and there by band and pass.
    """

    codec_id = "progressive"
    presets: ClassVar = {"default": "Previews from the first bytes, exact with all of them; slower than wavelet."}
    slab_slices = 8
    previews = True
    has_compiled_loops = True

    def __init__(self, maximum: int, levels: int, depth_levels: int, depth_axis: str, weight_sets: int,
                 layers: list[Layer], shared: bool = False):
        self.maximum, self.levels, self.depth_levels = maximum, levels, depth_levels
        self.depth_axis, self.weight_sets, self.layers, self._shared = depth_axis, weight_sets, layers, shared
        self._tables = Tables(layers, [], [])
        self.weights: dict[_Stage, LayerWeights] = {}
        levels = [layer.level for layer in layers]
        self._n_stages = [2 if shared else max(2, levels.count(number)) for number in range(weight_sets)]
        self._stages = [self._stage(level, turn, levels.count(level))
                        for level, turn in zip(levels, turns(layers), strict=True)]
        self._dtype = np.int32 if maximum < 1 << 16 else np.int64

    def _stage(self, level: int, turn: int, count: int) -> _Stage:
        """Which weights a level's layer has, of so many: the last those of the last stage, and so on backwards."""
        number = min(level, self.weight_sets - 1)
        return number, max(1, self._n_stages[number] - count + turn) if turn else 0

    @classmethod
    @one_thread_blas()
    def fit(cls, slabs: Sequence[np.ndarray], maximum: int, preset: str, spacing: tuple[float, float, float],
            progress: Progress | None = None) -> ProgressiveCodec:
        cls.check_preset(preset)
        plain = WaveletCodec.fit(slabs, maximum, "default", spacing, progress)
        volume = plain.turn(_sample(slabs))
        exact = lifting.forward(volume, plain.levels, plain.depth_levels)
        codec = cls(maximum, plain.levels, plain.depth_levels, plain.depth_axis, plain.weight_sets, choose(exact))
        codec._fit_weights(volume, exact)
        pyramid = codec._pyramid(volume.shape, exact[-1].low if exact else volume)
        counters = [codec._counter(place) for place in range(len(codec.layers))]
        for place, counter in enumerate(counters):
            codec._code(pyramid, place, counter, exact)
        codec._tables = Tables.fit(codec.layers, counters, volume.size / (len(slabs) * slabs[0].size))
        return codec

    def get_config(self) -> dict:
        config = {"maximum": self.maximum, "levels": self.levels, "depth_levels": self.depth_levels,
                  "depth_axis": self.depth_axis, "weight_sets": self.weight_sets,
                  "layers": [list(layer) for layer in self.layers]}
        return config if self._shared else config | {"tables": self._tables.numbers}

    @classmethod
    def from_config(cls, config: dict, model: bytes) -> ProgressiveCodec:
        exact = {key: value for key, value in config.items() if key not in ("layers", "tables")}
        plain = WaveletCodec.check_config(exact)
        if plain.bound or plain.quantiser:
            raise FormatError("The codec progressive has no loss, but its configuration has.")
        layers = check(config.get("layers"), plain.levels)
        numbers = check_numbers(config["tables"], layers) if "tables" in config else None
        codec = cls(plain.maximum, plain.levels, plain.depth_levels, plain.depth_axis, plain.weight_sets, layers,
                    numbers is None)
        codec._read_model(model, numbers)
        return codec

    @property
    def format_version(self) -> int:
        return 1 if self._shared else 2

    @property
    def n_layers(self) -> int:
        return 1 + len(self.layers)

    @property
    def overview_layers(self) -> int:
        return next((number for number, layer in enumerate(self.layers, 1) if layer.level == 0), 1)

    @property
    def max_reduction(self) -> int:
        return self.levels

    def layers_for(self, reduction: int) -> list[int]:
        return [0, *(number for number, layer in enumerate(self.layers, 1) if layer.level >= reduction)]

    @property
    def model(self) -> bytes:
        if not self.levels:
            return b""
        weights = [self.weights[stage][key] for stage, key in self._weight_keys()]
        parts = [part for each in weights for part in (each.mean, each.spread)]
        groups = [np.full(len(part), number % 2, np.uint8) for number, part in enumerate(parts)]
        coded = encode_groups(np.concatenate(parts), np.concatenate(groups), 2)
        out = bytearray()
        write_varint(out, len(coded))
        return bytes(out) + coded + self._tables.to_bytes()

    def encode_layers(self, slab: np.ndarray) -> list[bytes]:
        volume = self._turn(np.asarray(slab, np.int32))
        exact = lifting.forward(volume, self.levels, self.depth_levels)
        low = exact[-1].low if exact else volume
        flat = lifting.differences(low).ravel()
        chunks = [encode_groups(flat, np.zeros(len(flat), np.uint8), 1)]
        pyramid = self._pyramid(volume.shape, low)
        for place in range(len(self.layers)):
            encoder = SymbolEncoder(self._tables.of_layer(place))
            self._code(pyramid, place, encoder, exact)
            chunks.append(encoder.finish())
        return chunks

    def decode_layers(self, slabs: Sequence[dict[int, bytes]], shape: tuple[int, int, int, int],
                      reduction: int = 0) -> list[np.ndarray]:
        batch, *rest = turned(shape, self.depth_axis)
        check_levels((batch, *rest), self.levels, self.depth_levels, FormatError)
        low_shape = lifting.level_shapes((batch, *rest), self.levels, self.depth_levels)[-1]
        low = np.concatenate([self._decode_low(chunks.get(0), low_shape) for chunks in slabs])
        pyramid = self._pyramid((len(slabs) * batch, *rest), low)
        for place in range(len(self.layers)):
            if place + 1 in slabs[0]:
                decoder = SymbolDecoder(self._tables.of_layer(place), [chunks[place + 1] for chunks in slabs],
                                        int(np.prod(shape)))
                self._code(pyramid, place, decoder)
                decoder.finish()
        volume = pyramid.volume(min(reduction, self.levels))
        return [np.ascontiguousarray(self._turn(slab)) for slab in np.split(volume, len(slabs))]

    def _decode_low(self, chunk: bytes | None, shape: tuple[int, ...]) -> np.ndarray:
        """The all-low part of a slab; the middle of what samples may be where nothing is known of it."""
        if chunk is None:
            return np.full(shape, self.maximum + 1 >> 1, np.int32)
        decoder = GroupDecoder(chunk, 1, int(np.prod(shape)))
        low = lifting.sums(decoder.decode(np.zeros(shape, np.uint8)))
        decoder.finish()
        return low

    def encode(self, slab: np.ndarray) -> bytes:
        """All layers, the length of each but the last before them."""
        chunks = self.encode_layers(slab)
        out = bytearray()
        for chunk in chunks[:-1]:
            write_varint(out, len(chunk))
        return bytes(out) + b"".join(chunks)

    def decode(self, payload: bytes, shape: tuple[int, int, int, int]) -> np.ndarray:
        reader = ByteReader(payload)
        lengths = [reader.varint(len(payload)) for _ in self.layers]
        chunks = {number: reader.take(length) for number, length in enumerate(lengths)}
        chunks[len(lengths)] = reader.take(reader.remaining)
        return self.decode_layers([chunks], shape)[0]

    def _code(self, pyramid: Pyramid, place: int, coder: Coder, exact: list[lifting.Level] | None = None) -> None:
        """Code the layer at a place in `layers`."""
        layer = self.layers[place]
        pyramid.code(layer, self.weights[self._stages[place]], coder, exact[layer.level].bands if exact else None)

    def _counter(self, place: int) -> Counter:
        return Counter(self._stages[place][1] > 0, planes(self.layers)[place])

    def _fit_weights(self, volume: np.ndarray, exact: list[lifting.Level]) -> None:
        """Each set on its finest level, at what is known when a layer of it is coded."""
        for number in range(self.weight_sets):
            pyramid = self._pyramid(volume.shape, exact[-1].low)
            for place, layer in enumerate(self.layers):
                if layer.level > number:
                    pyramid.know(layer.level, exact[layer.level].bands, layer.shift)
                elif layer.level == number:
                    weights = self.weights[self._stages[place]] = {}
                    pyramid.code(layer, weights, self._counter(place), exact[number].bands, fit=True)
            if (number, 1) not in self.weights:                        # a level that one layer codes whole
                self.weights[number, 1] = {
                    key: Weights(*(np.zeros(count, np.int32) for count in self._weight_counts((number, 1), key)))
                    for key in self._layer_keys(number)}

    def _weight_counts(self, stage: _Stage, key: WeightKey) -> tuple[int, int]:
        return weight_counts(*key, stage[0] < self.depth_levels, stage[1] > 0)

    def _layer_keys(self, number: int) -> list[WeightKey]:
        """What each layer has weights for."""
        split = number < self.depth_levels
        return [(name, step) for name in lifting.band_names(split) for step in passes(not split)]

    def _weight_keys(self) -> list[tuple[_Stage, WeightKey]]:
        """In the order of the model."""
        return [((number, stage), key) for number, count in enumerate(self._n_stages) for stage in range(count)
                for key in self._layer_keys(number)]

    def _read_model(self, model: bytes, numbers: list[int] | None) -> None:
        if not self.levels:
            if model:
                raise FormatError("The progressive codec has a model where it can have none.")
            return
        keys = self._weight_keys()
        sizes = np.array([self._weight_counts(*each) for each in keys]).ravel()
        reader = ByteReader(model)
        decoder = GroupDecoder(reader.take(reader.varint(len(model))), 2, int(sizes.sum()))
        flat = decoder.decode(np.repeat(np.arange(len(sizes)) % 2, sizes).astype(np.uint8))
        decoder.finish()
        if np.abs(flat.astype(np.int64)).max() > _WEIGHT_LIMIT:
            raise FormatError("The model of the progressive codec has a weight beyond its limit.")
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        for (stage, key), mean, spread in zip(keys, parts[::2], parts[1::2], strict=True):
            self.weights.setdefault(stage, {})[key] = Weights(mean, spread)
        self._tables = Tables.from_bytes(reader.take(reader.remaining), self.layers, numbers)

    def _pyramid(self, shape: tuple[int, ...], low: np.ndarray) -> Pyramid:
        return Pyramid(shape, self.levels, self.depth_levels, low, self._dtype)

    def _turn(self, array: np.ndarray) -> np.ndarray:
        """(frames, k, j, i) to (batch, depth, j, i) or back."""
        return array if self.depth_axis == "k" else array.swapaxes(0, 1)


def _sample(slabs: Sequence[np.ndarray]) -> np.ndarray:
    """A strip of rows from the middle of some slabs of equal shape, one after the other along the frames."""
    usable = max(1, len(slabs) - 1)
    count = min(usable, _FIT_SLABS)
    chosen = [slabs[(2 * place + 1) * usable // (2 * count)] for place in range(count)]
    chosen = [slab for slab in chosen if slab.shape == chosen[0].shape]
    frames, slices, rows, columns = chosen[0].shape
    kept = min(rows, max(64, _FIT_VOXELS // (len(chosen) * frames * slices * columns)))
    first = rows - kept >> 1
    return np.concatenate([slab[:, :, first:first + kept] for slab in chosen])


CODEC = ProgressiveCodec
