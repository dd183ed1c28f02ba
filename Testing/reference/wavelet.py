"""Section 10.2: the codec `wavelet`."""

from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np

from .entropy import Bytes, GroupStream
from .integers import magnitude, to_32_bits, wrapped
from .refuse import require

GROUPS = 241
ALL_LOW = 240
MOST_WEIGHT = 2**20
MOST_ROOM, MOST_ROOM_OF_REGIONS = 2**24, 3 * 2**24
LAYER = -1  # the set of the weights for regions
LIFTING = (7266, 14466, -868, -25987)
AROUND = [(dj, di) for dj, di in product((-1, 0, 1), repeat=2) if (dj, di) != (0, 0)]
FAR = [(0, -2), (0, 2), (-2, 0), (2, 0)]
NINE = list(product((-1, 0, 1), repeat=2))

Shape = tuple[int, int, int, int]  # batch, depth, rows, columns
Name = tuple[int, int, int]  # of a band: 1 where it is the high half along depth, j, i
Pass = tuple[int, int]
Key = tuple[int, Name, Pass]  # of weights; first the number of the set


def set_up(config: dict, model: bytes, maximum: int) -> Callable:
    """The function that makes samples of payload, shape and, if there are any, the region of each voxel of a slab."""
    codec = Wavelet(config, model)
    require(codec.maximum == maximum, "another maximum than that of the samples")
    return codec.decode if codec.regions is None else codec.decode_regions


class Wavelet:
    """The codec with its configuration and weights."""

    def __init__(self, config: dict, model: bytes):
        require(set(config) - {"bound", "steps", "points", "regions"}
                == {"maximum", "levels", "depth_levels", "depth_axis", "weight_sets"}, "the configuration")
        require(None not in config.values(), "an entry that is null")
        self.maximum, self.levels, self.depth_levels = config["maximum"], config["levels"], config["depth_levels"]
        self.depth_axis, self.weight_sets = config["depth_axis"], config["weight_sets"]
        require(self.depth_axis in ("k", "frames"), "the depth axis")
        for value, least, most in ((self.maximum, 0, 2**24 - 1), (self.levels, 0, 16), (self.depth_levels, 0, 4)):
            require(type(value) is int and least <= value <= most, "a number of the configuration")
        require(type(self.weight_sets) is int
                and min(self.levels, self.depth_levels + 1) <= self.weight_sets <= self.levels, "the weight sets")
        self.bound, self.steps, self.points = config.get("bound"), config.get("steps"), config.get("points")
        self.regions = config.get("regions")
        self.check_loss()
        largest = self.maximum if self.bound is None else self.top + self.maximum - self.bound[2]
        self.sums = np.int64 if largest >= 65536 or self.steps else np.int32
        self.unit = -4 if self.steps else max(0, largest.bit_length() - 13)
        self.weights = self.read_weights(model)

    def check_loss(self) -> None:
        """`bound`, or `steps` and `points`."""
        require(self.bound is None or self.steps is None, "a bound and steps")
        require((self.steps is None) == (self.points is None), "steps without points or points without steps")
        if self.bound is not None:
            require(isinstance(self.bound, list) and len(self.bound) == 3, "the bound")
            require(all(type(number) is int for number in self.bound), "the bound")
            error, low, high = self.bound
            require(1 <= error <= 2**20 and 0 <= low <= high <= self.maximum, "the bound")
            self.top = low + (high - low + error) // (2 * error + 1)
        if self.steps is not None:
            require(isinstance(self.steps, list) and all(isinstance(row, list) for row in self.steps), "the steps")
            counts = [7 if self.splits_depth(level) else 3 for level in range(self.levels)] + [1]
            require([len(row) for row in self.steps] == counts, "the steps")
            require(all(type(step) is int and 1 <= step <= 2**40 for row in self.steps for step in row), "a step")
            require(isinstance(self.points, list) and len(self.points) == 2, "the points")
            require(all(type(point) is int and abs(point) <= 64 for point in self.points), "a point")

        if self.regions is not None:
            require(self.bound is not None or self.steps is not None, "regions without loss")
            require(isinstance(self.regions, list) and 1 <= len(self.regions) <= 16, "the regions")
            require(all(e is None or (type(e) is int and 0 <= e <= 2**20) for e in self.regions), "a region's error")

    def splits_depth(self, level: int) -> bool:
        return level < self.depth_levels

    def read_weights(self, model: bytes) -> dict[Key, tuple[list[int], list[int]]]:
        """The weights of mean and spread for each set, band and pass."""
        layout = weight_layout(self.weight_sets, self.depth_levels)
        if self.regions is not None:
            layout += [((LAYER, *key[1:]), *counts) for key, *counts in weight_layout(1, 0) if key[1] == (0, 1, 0)]
        if not layout:
            require(not model, "a model without weights")
            return {}
        stream = GroupStream(model, 2, sum(of_mean + of_spread for _, of_mean, of_spread in layout))
        weights = {}
        for key, of_mean, of_spread in layout:
            weights[key] = [stream.next(0) for _ in range(of_mean)], [stream.next(1) for _ in range(of_spread)]
            require(all(abs(weight) <= MOST_WEIGHT for row in weights[key] for weight in row), "a weight")
        stream.end()
        return weights

    def decode(self, payload: bytes, shape: Shape) -> np.ndarray:
        """The slab, a low part that grows level by level."""
        turned = self.depth_axis == "frames"
        shape = (shape[1], shape[0], *shape[2:]) if turned else shape
        shapes = self.level_shapes(shape)
        stream = GroupStream(payload, GROUPS, int(np.prod(shape)))
        low = np.array([stream.next(ALL_LOW) for _ in range(int(np.prod(shapes[-1])))], np.int32)
        low = low.reshape(shapes[-1])
        for axis in (3, 2, 1):
            low = low.cumsum(axis, dtype=np.int32)
        if self.steps:
            low = self.values(low, self.steps[-1][0])
        coarser = {}
        for level in reversed(range(self.levels)):
            if self.steps:
                shift = max(0, self.steps[level][0].bit_length() - 3)
                seen = np.clip(low >> shift, -2**28, 2**28).astype(np.int32)
                coarser = self.decode_level(stream, level, shapes[level], seen, coarser)
                bands = {name: self.values(band, step)
                         for (name, band), step in zip(coarser.items(), self.steps[level], strict=True)}
                low = join_level(low, bands, shapes[level], join_quantised)
            else:
                coarser = self.decode_level(stream, level, shapes[level], low, coarser)
                low = join_level(low, coarser, shapes[level], join)
        stream.end()
        if self.steps:
            low = np.clip((low + 2**7) >> 8, 0, self.maximum)
        if self.bound:
            low = self.samples(low)
        return low.swapaxes(0, 1) if turned else low

    def level_shapes(self, shape: Shape) -> list[Shape]:
        """Shapes of what each level splits, from the finest on, and of the all-low part."""
        shapes, room = [shape], 0
        for level in range(self.levels):
            batch, depth, rows, columns = shapes[-1]
            deep = self.splits_depth(level)
            shapes.append((batch, -(-depth // 2) if deep else depth, -(-rows // 2), -(-columns // 2)))
            room += room_of(shapes[-1]) * (2 if deep else 1)
        require_room(room, shape, MOST_ROOM)
        return shapes

    def values(self, q: np.ndarray, step: int) -> np.ndarray:
        """What quantised coefficients stand for."""
        one, more = (point * step >> 6 for point in self.points)
        q = q.astype(np.int64)
        sizes = np.abs(q)
        return np.where(q == 0, 0, np.sign(q) * (sizes * step - np.where(sizes == 1, one, more)))

    def samples(self, coded: np.ndarray) -> np.ndarray:
        """What is coded where there is a bound, as samples."""
        error, low, high = self.bound
        coded = coded.astype(np.int64)
        inside = np.minimum(high, low + (2 * error + 1) * (coded - low))
        return np.where(coded < low, coded, np.where(coded <= self.top, inside, coded - self.top + high))

    def decode_regions(self, payload: bytes, shape: Shape, regions: np.ndarray) -> np.ndarray:
        """The slab, with what its regions have beyond the base."""
        require_room(room_of(shape), shape, MOST_ROOM_OF_REGIONS)
        reader = Bytes(payload)
        parts = [reader.take(reader.varint()) for _ in range(1 + sum(e is not None for e in self.regions))]
        reader.end()
        base = self.decode(parts.pop(0), shape)
        sums = np.int64 if self.maximum >= 65536 else np.int32
        unit = max(0, self.maximum.bit_length() - 13)
        low, values, residual = base.astype(np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        for number, error in enumerate(self.regions):
            if error is None:
                continue
            part = parts.pop(0)
            if not part and not (regions == number).any():
                continue
            stream = GroupStream(part, GROUPS - 1, int(np.prod(shape)))
            for turn in passes(False):
                known = known_offsets(False, turn)
                weights = self.weights[LAYER, (0, 1, 0), turn]
                mean, s, phase = expected(low, [], values, [], np.zeros(shape, np.int32), residual, known, weights,
                                          unit, sums)
                for place in components(False, turn):
                    for spot in np.argwhere(regions[place] == number):
                        spot = tuple(spot)
                        symbol = stream.next(group_of(s[place][spot], phase[place][spot], 28))
                        off = wrapped((2 * error + 1) * symbol)
                        residual[place][spot] = magnitude(off)
                        values[place][spot] = wrapped(int(mean[place][spot]) + off)
            stream.end()
        least, most = (0, self.maximum) if self.bound is None else self.bound[1:]
        inside = (base >= least) & (base <= most)
        return np.where(inside, np.clip(low + values, least, most), base)

    def decode_level(self, stream: GroupStream, level: int, shape: Shape, low: np.ndarray, coarser: dict) -> dict:
        """All bands of a level."""
        deep = self.splits_depth(level)
        values, residuals = {}, {}
        for name in bands(deep):
            size = (shape[0], *((n // 2 if high else -(-n // 2)) if axis or deep else n
                                for axis, (n, high) in enumerate(zip(shape[1:], name, strict=True))))
            band, residual = np.zeros(size, np.int32), np.zeros(size, np.int32)
            parent = self.parent(coarser.get(name), self.splits_depth(level + 1), size)
            for turn in passes(deep):
                known = known_offsets(deep, turn)
                weights = self.weights[min(level, self.weight_sets - 1), name, turn]
                mean, s, phase = expected(low, values.values(), band, residuals.values(), parent, residual, known,
                                          weights, self.unit, self.sums)
                for part in components(deep, turn):
                    fine = 44 if self.steps else 28
                    groups = [group_of(*pair, fine) for pair in zip(s[part].flat, phase[part].flat, strict=True)]
                    new = np.array([stream.next(group) for group in groups], np.int32).reshape(s[part].shape)
                    residual[part] = np.abs(new)
                    band[part] = mean[part] + new
            values[name], residuals[name] = band, residual
        return values

    def parent(self, band: np.ndarray | None, halves_depth: bool, shape: Shape) -> np.ndarray:
        """Magnitudes of the band of the same name one level coarser, brought to `shape`; 0 where there is none."""
        parent = np.zeros(shape, np.int32)
        if band is not None:
            grown = np.abs(band).repeat(2, axis=2).repeat(2, axis=3)
            grown = grown.repeat(2, axis=1) if halves_depth else grown
            both = tuple(slice(min(a, b)) for a, b in zip(grown.shape, shape, strict=True))
            parent[both] = grown[both]
        return parent


def room_of(shape: Shape) -> int:
    batch, depth, rows, columns = shape
    return batch * (depth + 3) * (rows + 5) * (columns + 5)


def require_room(room: int, shape: Shape, most: int) -> None:
    """Section 12: many short lines are refused."""
    require(room <= most or (shape[:2] == (1, 1) and room <= 5 * shape[2] * shape[3]), "too many short lines")


def weight_layout(weight_sets: int, depth_levels: int) -> list[tuple[Key, int, int]]:
    """The order of the weights in the model, with how many the mean and the spread have of each."""
    layout = []
    for number in range(weight_sets):
        deep = number < depth_levels
        for before, name in enumerate(bands(deep)):
            for turn in passes(deep):
                known = known_offsets(deep, turn)
                layout.append(((number, name, turn), len(AROUND) + len(FAR) + 9 * before + len(known),
                               4 + 4 * before + 1 + sum(map(bool, kinds(known))) + 1))
    return layout


def bands(deep: bool) -> list[Name]:
    """The bands of a level in the order in which they are coded."""
    names = [name for name in product((0, 1) if deep else (0,), (0, 1), (0, 1)) if any(name)]
    return sorted(names, key=lambda name: (sum(name), name[2], name[1], name[0]))


def passes(deep: bool) -> list[Pass]:
    """The passes of a band in order; depth is cut where the level does not split it."""
    return [(0, 0), (0, 1)] if deep else [(0, 0), (0, 1), (1, 0), (1, 1)]


def components(deep: bool, turn: Pass) -> list[tuple[slice, ...]]:
    """Which elements of (batch, depth, j, i) the two components of a pass hold."""
    p, q = turn
    depth = slice(None) if deep else slice(p, None, 2)
    return [(slice(None), depth, slice(j, None, 2), slice(i, None, 2)) for j, i in ((0, q), (1, 1 - q))]


@cache
def known_offsets(deep: bool, turn: Pass) -> list[tuple[int, int, int]]:
    """Offsets of neighbours within the band that are coded before this pass, in C order."""
    p, q = turn
    known = []
    for dd, dj, di in product((-1, 0, 1), repeat=3):
        earlier = p == 1 if not deep and dd else q == 1 and (dj + di) % 2 == 1
        if earlier:
            known.append((dd, dj, di))
    return known


def kinds(known: list[tuple[int, int, int]]) -> tuple[list, list, list]:
    """The known offsets in the slice, those straight along depth, and the rest."""
    flat = [offset for offset in known if offset[0] == 0]
    straight = [offset for offset in known if offset[1:] == (0, 0)]
    return flat, straight, [offset for offset in known if offset not in flat and offset not in straight]


def expected(low: np.ndarray, coded: list, band: np.ndarray, residuals: list, parent: np.ndarray,
             residual: np.ndarray, known: list, weights: tuple, unit: int, sums: type) -> tuple[np.ndarray, ...]:
    """Mean, spread and phase of all elements of a band; `sums` is the type of the weighted sums."""
    for_mean, for_spread = weights
    a = weighted(for_mean, mean_taps(low, coded, band, known, sums), 2**7)
    s = weighted(for_spread[:-1], spread_terms(low, residuals, parent, residual, known, sums), for_spread[-1])
    quarters = (a >> 8) + 2
    return to_32_bits(quarters >> 2), np.clip(s >> (6 + unit), 0, 65535), quarters & 3


def weighted(weights: list[int], terms: list[np.ndarray], constant: int) -> np.ndarray:
    """The sum of weight * term, of the terms' type."""
    number = terms[0].dtype.type
    return sum((number(w) * term for w, term in zip(weights, terms, strict=True)), number(constant))


def at(array: np.ndarray, offset: tuple[int, int, int], shape: Shape, edge: bool = False) -> np.ndarray:
    """The neighbours of all elements of an array of `shape`: 0 outside, or the values of the edge."""
    axes = list(zip(offset, shape[1:], array.shape[1:], strict=True))
    if edge:
        places = [[min(max(0, n + step), size - 1) for n in range(length)] for step, length, size in axes]
        return array[:, *np.ix_(*places)]
    found, there, here = np.zeros(shape, array.dtype), [slice(None)], [slice(None)]
    for step, length, size in axes:
        first, end = max(0, -step), max(0, -step, min(length, size - step))
        there.append(slice(first, end))
        here.append(slice(first + step, end + step))
    found[*there] = array[*here]
    return found


def mean_taps(low: np.ndarray, coded: list[np.ndarray], band: np.ndarray, known: list,
              sums: type) -> list[np.ndarray]:
    """The values that the mean of each element of the band is made of."""
    middle = at(low, (0, 0, 0), band.shape, edge=True).astype(sums)
    taps = [at(low, (0, dj, di), band.shape, edge=True) - middle for dj, di in AROUND + FAR]
    taps += [at(other, (0, dj, di), band.shape).astype(sums) for other in coded for dj, di in NINE]
    return taps + [at(band, offset, band.shape).astype(sums) for offset in known]


def spread_terms(low: np.ndarray, coded: list[np.ndarray], parent: np.ndarray, residual: np.ndarray,
                 known: list, sums: type) -> list[np.ndarray]:
    """The terms that the spread of each element is made of, without the constant; those of `low` have 32 bits.

    `coded` and `residual` hold magnitudes.
    """
    def of_low(dj: int, di: int) -> np.ndarray:
        return at(low, (0, dj, di), residual.shape, edge=True)

    terms = []
    for dj, di in ((1, 0), (0, 1)):
        terms += [np.abs(of_low(dj, di) - of_low(-dj, -di)),
                  np.abs(of_low(-dj, -di) + of_low(dj, di) - 2 * of_low(0, 0))]
    for other in coded:
        terms += [total(other, ring, residual.shape, sums) for ring in (
            [(0, 0, 0)], [(0, -1, 0), (0, 1, 0)], [(0, 0, -1), (0, 0, 1)],
            [(0, dj, di) for dj, di in product((-1, 1), repeat=2)])]
    terms.append(parent)
    terms += [total(residual, offsets, residual.shape, sums) for offsets in kinds(known) if offsets]
    return [term.astype(sums) for term in terms]


def total(array: np.ndarray, offsets: list, shape: Shape, sums: type) -> np.ndarray:
    """The sum of some neighbours."""
    return sum(at(array, offset, shape).astype(sums) for offset in offsets)


def group_of(spread: int, phase: int, fine: int) -> int:
    """The group of an element; the phase counts in classes below `fine`."""
    spread = int(spread)
    e = max(0, spread.bit_length() - 3)
    kind = 4 * e + (spread >> e)
    return 4 * kind + (int(phase) if kind < fine else 0)


def join_level(low: np.ndarray, level: dict[Name, np.ndarray], shape: Shape, join_halves: Callable) -> np.ndarray:
    """The low part and the bands of a level become the low part of the level below: depth, then j, then i."""
    halves = {(0, 0, 0): low, **level}
    for axis in range(3):
        joined = {}
        for name, half in halves.items():
            if name[axis]:
                continue
            other = (*name[:axis], 1, *name[axis + 1:])
            joined[name] = join_halves(half, halves[other], axis + 1) if other in halves else half
        halves = joined
    require(halves[0, 0, 0].shape == shape, "a level of another shape")
    return halves[0, 0, 0]


def join(low: np.ndarray, high: np.ndarray, axis: int) -> np.ndarray:
    """Undo the split of every line along an axis."""
    low, high = np.moveaxis(low, axis, 0), np.moveaxis(high, axis, 0)
    n = len(low) + len(high)
    x = np.empty((n, *low.shape[1:]), low.dtype)
    if n == 1:
        x[:] = low
    else:
        for m in range(len(low)):
            left, right = high[max(m - 1, 0)], high[min(m, len(high) - 1)]
            x[2 * m] = low[m] - ((left + right + 2) >> 2)
        for m in range(len(high)):
            right = x[2 * m + 2] if 2 * m + 2 < n else x[2 * m]
            x[2 * m + 1] = high[m] + ((x[2 * m] + right) >> 1)
    return np.moveaxis(x, 0, axis)


def join_quantised(low: np.ndarray, high: np.ndarray, axis: int) -> np.ndarray:
    """The same for the 9/7 wavelet."""
    low, high = np.moveaxis(low, axis, 0).copy(), np.moveaxis(high, axis, 0).copy()
    n = len(low) + len(high)
    x = np.empty((n, *low.shape[1:]), low.dtype)
    if n > 1:
        for number, factor in enumerate(LIFTING):
            if number % 2 == 0:
                around = [high[max(m - 1, 0)] + high[min(m, len(high) - 1)] for m in range(len(low))]
                low -= (factor * np.array(around) + 2**13) >> 14
            else:
                around = [low[m] + low[min(m + 1, len(low) - 1)] for m in range(len(high))]
                high -= (factor * np.array(around) + 2**13) >> 14
        x[1::2] = high
    x[::2] = low
    return np.moveaxis(x, 0, axis)
