"""Section 10.6: the codec `progressive`."""

from bisect import bisect_right
from collections.abc import Callable
from itertools import product

import numpy as np

from .entropy import Bytes, GroupStream, Rans, count_of
from .integers import magnitude, to_32_bits, wrapped
from .refuse import require
from .wavelet import (
    AROUND,
    MOST_WEIGHT,
    Name,
    Shape,
    Wavelet,
    bands,
    components,
    join,
    join_level,
    known_offsets,
    mean_taps,
    passes,
    spread_terms,
    total,
    weight_layout,
    weighted,
)

SIZES = ([17] * 160, [3] * 240 + [2] * 460)  # symbols of each group, in sets of first layers and of later ones
NOT_ZERO = 240
MOST_ESCAPE = 2**28
SLICE_AND_STRAIGHT = [(0, dj, di) for dj, di in AROUND] + [(-1, 0, 0), (1, 0, 0)]
RINGS = [[(0, -1, 0), (0, 0, -1), (0, 0, 1), (0, 1, 0)],
         [(0, dj, di) for dj, di in product((-1, 1), repeat=2)],
         [(-1, 0, 0), (1, 0, 0)],
         [(dd, dj, di) for dd, dj, di in product((-1, 1), (-1, 0, 1), (-1, 0, 1)) if (dj, di) != (0, 0)]]


def set_up(config: dict, model: bytes, maximum: int, layers: int) -> Callable:
    """The function that makes samples of all chunks and the shape of a slab."""
    codec = Progressive(config, model)
    require(codec.maximum == maximum, "another maximum than that of the samples")
    require(layers == codec.count, "another number of layers")
    return lambda chunks, shape: codec.decode(chunks, shape, 0)


def preview_slab(config: dict, model: bytes, chunks: list[bytes], shape: Shape, reduction: int) -> np.ndarray:
    """Samples near the true ones, from the first chunks of a slab (those of level `reduction` and coarser count)."""
    codec = Progressive(config, model)
    return np.clip(codec.decode(chunks, shape, reduction), 0, codec.maximum)


class Progressive(Wavelet):
    """The codec with its configuration, weights and tables."""

    def __init__(self, config: dict, model: bytes):
        self.layers, self.sets = config.get("layers"), config.get("tables")
        require(isinstance(self.layers, list) and len(self.layers) <= 255, "the layers")
        require(not {"bound", "steps", "regions"} & set(config), "loss")
        require("tables" not in config or self.sets is not None, "tables that are null")
        super().__init__({key: value for key, value in config.items() if key not in ("layers", "tables")}, model)
        left = dict.fromkeys(range(self.levels), 27)
        for layer in self.layers:
            require(isinstance(layer, list) and [type(n) for n in layer] == [int, int] and layer[0] in left
                    and 0 <= layer[1] < left[layer[0]], "a layer")
            left[layer[0]] = layer[1]
        require(not any(left.values()), "a level is not coded to its end")
        self.numbers, kinds = self.sets_of_layers()
        self.read_tables(kinds)

    def sets_of_layers(self) -> tuple[list[list[int]], list[bool]]:
        """The sets of tables of each layer's planes, and of each set whether it is of later layers."""
        found, kinds, left, shifts = [], [], self.sets, {}
        if left is None:
            kinds = [False, True, False, True]
        require(left is None or isinstance(left, list), "the sets of tables")
        for level, shift in self.layers:
            later = level in shifts
            count = shifts[level] - shift if later else 1
            shifts[level] = shift
            if self.sets is None:
                found.append([2 * min(level, 1) + later] * count)
                continue
            own, left = left[:count], left[count:]
            require(len(own) == count, "too few sets of tables")
            for number in own:
                require(type(number) is int and 0 <= number <= min(len(kinds), 254), "the number of a set of tables")
                kinds += [later] * (number == len(kinds))
                require(kinds[number] == later, "a set of tables for different layers")
            found.append(own)
        require(not left, "too many sets of tables")
        return found, kinds

    @property
    def count(self) -> int:
        return 1 + len(self.layers)

    def read_weights(self, model: bytes) -> dict:
        """The weights by set, stage, band and pass."""
        self.model = Bytes(model)
        if self.levels == 0:
            require(not model, "a model without weights")
            return {}
        layout = self.layout_of_weights()
        count = sum(of_mean + of_spread for _, of_mean, of_spread in layout)
        stream = GroupStream(self.model.take(self.model.varint()), 2, count)
        weights = {}
        for key, of_mean, of_spread in layout:
            weights[key] = [stream.next(0) for _ in range(of_mean)], [stream.next(1) for _ in range(of_spread)]
            require(all(abs(weight) <= MOST_WEIGHT for row in weights[key] for weight in row), "a weight")
        stream.end()
        return weights

    def stages(self, number: int) -> int:
        """How many stages a set of weights has."""
        own = sum(isinstance(layer, list) and layer[:1] == [number] for layer in self.layers)
        return 2 if self.sets is None else max(2, own)

    def layout_of_weights(self) -> list[tuple[tuple, int, int]]:
        """The order of the weights in the model, with how many the mean and the spread have of each."""
        plain, layout = weight_layout(self.weight_sets, self.depth_levels), []
        for number in range(self.weight_sets):
            own = [row for row in plain if row[0][0] == number]
            others = len(bands(number < self.depth_levels)) - 1
            layout += [((number, 0, *key[1:]), of_mean, of_spread) for key, of_mean, of_spread in own]
            layout += [((number, stage, *key[1:]), 12 + 9 * others + 10, 4 + 4 * others + 1 + 4 + 1)
                       for stage in range(1, self.stages(number)) for key, _, _ in own]
        return layout

    def read_tables(self, kinds: list[bool]) -> None:
        """The counts of each set, by group."""
        if self.levels == 0:
            return
        stream = GroupStream(self.model.take(len(self.model.data) - self.model.place), 3,
                             sum(sum(SIZES[later]) for later in kinds))
        group_of = {17: 0, 3: 1, 2: 2}
        self.tables = [[[max(1, count_of(stream.next(group_of[size]))) for _ in range(size)] for size in SIZES[later]]
                       for later in kinds]
        stream.end()

    def decode(self, chunks: list[bytes], shape: Shape, reduction: int) -> np.ndarray:
        """The slab as far as the chunks tell it."""
        turned = self.depth_axis == "frames"
        shape = (shape[1], shape[0], *shape[2:]) if turned else shape
        self.shapes = self.level_shapes(shape)
        size = int(np.prod(self.shapes[-1]))
        stream = GroupStream(chunks[0], 1, size)
        self.low = np.array([stream.next(0) for _ in range(size)], np.int32).reshape(self.shapes[-1])
        stream.end()
        for axis in (3, 2, 1):
            self.low = self.low.cumsum(axis, dtype=np.int32)
        self.values = [{name: np.zeros(self.band_shape(level, name), np.int32)
                        for name in bands(self.splits_depth(level))} for level in range(self.levels)]
        self.residuals = [{name: band.copy() for name, band in level.items()} for level in self.values]
        self.shifts: list[int | None] = [None] * self.levels
        wanted = [place for place, layer in enumerate(self.layers) if layer[0] >= reduction]
        for place, chunk in zip(wanted, chunks[1:], strict=False):
            self.decode_layer(place, Symbols(chunk, [self.tables[number] for number in self.numbers[place]]))
        low = self.low_part(reduction)
        for level in reversed(range(min(reduction, self.depth_levels))):
            missing = self.shapes[level][1] - low.shape[1]
            low = join(low, np.zeros((low.shape[0], missing, *low.shape[2:]), low.dtype), 1) if missing else low
        return low.swapaxes(0, 1) if turned else low

    def low_part(self, level: int) -> np.ndarray:
        """What the levels from this one on make."""
        low = self.low
        for coarser in reversed(range(level, self.levels)):
            low = join_level(low, self.values[coarser], self.shapes[coarser], join)
        return low

    def band_shape(self, level: int, name: Name) -> Shape:
        shape, deep = self.shapes[level], self.splits_depth(level)
        return (shape[0], *((n // 2 if high else -(-n // 2)) if axis or deep else n
                            for axis, (n, high) in enumerate(zip(shape[1:], name, strict=True))))

    def decode_layer(self, place: int, symbols: "Symbols") -> None:
        """One layer."""
        level, shift = self.layers[place]
        levels = [layer[0] for layer in self.layers]
        number = min(level, self.weight_sets - 1)
        stage = levels[:place].count(level)
        if stage:
            stage = max(1, self.stages(number) - levels.count(level) + stage)
        deep, before = self.splits_depth(level), self.shifts[level]
        low, refined = self.low_part(level + 1), before is not None
        coarser = self.values[level + 1] if level + 1 < self.levels else {}
        values, residuals = self.values[level], self.residuals[level]
        earlier: list[Name] = []
        for name, band in values.items():
            residual = residuals[name]
            parent = self.parent(coarser.get(name), self.splits_depth(level + 1), band.shape)
            others = [other for other in values if other != name] if refined else list(earlier)
            of_values, of_residuals = ([kept[other] for other in others] for kept in (values, residuals))
            for turn in passes(deep):
                for_mean, for_spread = self.weights[number, stage, name, turn]
                for part in components(deep, turn):
                    known = SLICE_AND_STRAIGHT if refined else known_offsets(deep, turn)
                    taps = mean_taps(low, of_values, band, known, self.sums)
                    terms = spread_terms(low, of_residuals, parent, residual, [] if refined else known, self.sums)
                    if refined:
                        terms += [total(residual, ring, residual.shape, self.sums) for ring in RINGS]
                    mean = weighted(for_mean, taps, 2**5) >> 6
                    spread = weighted(for_spread[:-1], terms, for_spread[-1]) >> 6
                    mean = [int(m) for m in mean[part].flat]
                    spread = [min(max(int(s), 1), 2**28) for s in spread[part].flat]
                    if refined:
                        q = [int(np.sign(v)) * (magnitude(int(v)) >> before) for v in band[part].flat]
                        q = refine(q, mean, spread, before, shift, symbols)
                    else:
                        q = first(mean, spread, shift, symbols)
                    new = [wrapped(int(np.sign(n)) * ((magnitude(n) << shift) + (1 << shift) // 2)) for n in q]
                    off = np.array(new, self.sums) - np.array([m >> 4 for m in mean], self.sums)
                    shape = band[part].shape
                    band[part] = np.array(new, np.int32).reshape(shape)
                    residual[part] = to_32_bits(np.abs(off)).reshape(shape)
            earlier.append(name)
        symbols.end()
        self.shifts[level] = shift


class Symbols:
    """A chunk: symbols by group, with the tables of each plane."""

    def __init__(self, chunk: bytes, tables: list[list[list[int]]]):
        data = Bytes(chunk)
        count = data.varint()
        require(count <= len(chunk), "more escapes than bytes")
        self.escapes = [data.varint() for _ in range(count)]
        require(all(escape <= MOST_ESCAPE for escape in self.escapes), "an escape")
        words = data.take(len(chunk) - data.place)
        require(len(words) % 4 == 0, "words that are not whole")
        self.rans = Rans(np.frombuffer(words, "<u4").tolist())
        self.tables = tables

    def next(self, groups: list[int], plane: int) -> list[int]:
        """The symbols of elements with these groups."""
        found, tables = [0] * len(groups), self.tables[plane]
        members = {}
        for place, group in enumerate(groups):
            members.setdefault(group, []).append(place)
        for group, places in sorted(members.items()):
            lowest = {17: -8, 3: -1, 2: 0}[len(tables[group])]
            for place, index in zip(places, self.rans.decode(tables[group], len(places)), strict=True):
                symbol = index + lowest
                if abs(symbol) == 8:
                    require(bool(self.escapes), "too few escapes")
                    symbol += self.escapes.pop(0) * (1 if symbol > 0 else -1)
                found[place] = symbol
        return found

    def end(self) -> None:
        require(not self.escapes, "escapes are left")
        self.rans.end()


def class_of(spread: int, shift: int) -> int:
    ratio = spread * 4 >> shift
    octave = max(ratio, 1).bit_length() - 1
    return min(2 * octave + (ratio >> octave - 1 & 1 if octave else 0), 19)


def distance(away: int, spread: int) -> int:
    return bisect_right((2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64), 16 * abs(away) // spread)


def first(mean: list[int], spread: list[int], shift: int, symbols: Symbols) -> list[int]:
    """Steps of elements of which nothing was known."""
    quarters = [abs(m) >> shift + 2 for m in mean]
    groups = [8 * class_of(s, shift) + 2 * (n & 3) + (n >> 2 > 0) for n, s in zip(quarters, spread, strict=True)]
    return [wrapped((symbol + (n >> 2)) * (-1 if m < 0 else 1))
            for symbol, n, m in zip(symbols.next(groups, 0), quarters, mean, strict=True)]


def refine(q: list[int], mean: list[int], spread: list[int], before: int, shift: int, symbols: Symbols) -> list[int]:
    """Steps of elements known to coarser ones."""
    for plane, t in enumerate(reversed(range(shift, before))):
        groups = []
        for n, m, s in zip(q, mean, spread, strict=True):
            if n == 0:
                groups.append(12 * class_of(s, t) + distance(m, s))
            else:
                d = (-m if n < 0 else m) - (2 * abs(n) + 1 << t + 4) + 8
                groups.append(NOT_ZERO + 23 * class_of(s, t) + 11 + (-distance(d, s) if d < 0 else distance(d, s)))
        q = [wrapped(symbol * (-1 if m < 0 else 1) if n == 0 else 2 * n + (symbol if n > 0 else -symbol))
             for symbol, n, m in zip(symbols.next(groups, plane), q, mean, strict=True)]
    return q
