"""Section 10.4: the codec `neural`, one voxel after the other."""

import hashlib
import json
import math
import struct
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate, pairwise, product
from operator import add
from pathlib import Path

import numpy as np

from .entropy import Bytes, GroupStream
from .refuse import RefusedError, require

NETWORKS = Path(__file__).resolve().parents[2] / "MedCompressLib" / "codecs" / "neural" / "models"
MODEL_MAGIC = b"MCMODEL1"

RESIDUALS_IN_SLICE = [
    (0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, -2), (-1, 2), (-2, -1), (-2, 1), (-2, -2), (-2, 2),
    (0, -3), (-3, 0), (-3, -1), (-3, 1), (-1, -3), (-1, 3), (-3, -2), (-3, 2), (-2, -3), (-2, 3), (0, -4), (-4, 0)]
CROSS = [(0, 0), (0, -1), (0, 1), (-1, 0), (1, 0)]
RESIDUALS_BELOW = [*CROSS, (-1, -1), (-1, 1), (1, -1), (1, 1)]
ACTIVITY = [  # pairs of (frame, k, j, i)
    ((0, 0, 0, -1), (0, 0, -1, -1)), ((0, 0, -1, 0), (0, 0, -1, -1)), ((0, 0, -1, 0), (0, 0, -1, 1)),
    ((0, 0, 0, -1), (0, 0, 0, -2)), ((0, 0, -1, 0), (0, 0, -2, 0)), ((0, 0, -1, 1), (0, 0, -2, 1)),
    ((0, 0, 0, -1), (0, 0, -1, 0)), ((0, -1, 0, 0), (0, -1, 0, -1)), ((0, -1, 0, 0), (0, -1, -1, 0)),
    ((0, -1, 0, 0), (0, -1, 0, 1)), ((0, -1, 0, 0), (0, -1, 1, 0)), ((0, 0, 0, -1), (0, -1, 0, -1)),
    ((0, 0, -1, 0), (0, -1, -1, 0)), ((-1, 0, 0, 0), (-1, 0, 0, 1)), ((-1, 0, 0, 0), (-1, 0, 1, 0)),
    ((0, 0, 0, -1), (-1, 0, 0, -1)), ((0, 0, -1, 0), (-1, 0, -1, 0))]
FLAT = [(0, 0, 0, -1), (0, 0, -1, 0), (0, 0, -1, -1), (0, 0, -1, 1), (0, 0, 0, -2), (0, 0, -2, 0), (0, -1, 0, 0),
        (-1, 0, 0, 0)]
NOISE_WEIGHTS = [  # by surrounding: in the slice, in the slice before, in the frame before
    ([16, 16, 10, 10, 6, 6], [0] * 9, [0] * 5),
    ([11, 11, 6, 6, 3, 3], [8, 3, 3, 3, 3, 1, 1, 1, 1], [0] * 5),
    ([11, 11, 6, 6, 3, 3], [0] * 9, [12, 3, 3, 3, 3]),
    ([8, 8, 5, 5, 2, 2], [6, 2, 2, 2, 2, 0, 0, 0, 0], [10, 3, 3, 3, 3])]
ROOTS = (65536, 77936, 92682, 110218)
LEVELS = 128
SIGMOID = [round(2**24 / (1 + math.exp(-u / 16))) for u in range(161)]
MOST_ROWS = 2**18
MOST_STEPS = 2**17

Offset = tuple[int, int, int, int]  # frame, k, j, i


def set_up(config: dict, model: bytes, maximum: int) -> Callable:
    """The function that makes samples of payload, shape and, if there are any, the region of each voxel of a slab."""
    codec = Neural(config, model)
    require(codec.maximum == maximum, "another maximum than that of the samples")
    return lambda payload, shape, regions=None: Slab(codec, payload, shape, regions).decode()


def scaled_root(n: int, shift: int) -> int:
    """floor(r[n mod 4] * 2^(floor(n / 4) - shift))."""
    power = n // 4 - shift
    return ROOTS[n % 4] << power if power >= 0 else ROOTS[n % 4] >> -power


THRESHOLDS = [scaled_root(n, 11) for n in range(LEVELS - 1)]
WIDTHS = [scaled_root(n + 2, 10) for n in range(LEVELS)]
GROUPS_OF_LEVEL = [4 if 10 * width < 28672 else 2 if width < 12288 else 1 for width in WIDTHS]
FIRST_GROUP = [1, *accumulate(GROUPS_OF_LEVEL, initial=1)][1:]
GROUPS = FIRST_GROUP[-1]


class Neural:
    """The codec with its configuration and its model."""

    def __init__(self, config: dict, model: bytes):
        needed = {"maximum", "radii", "inputs", "residuals", "temporal", "network"}
        require(set(config) - {"bound", "regions"} == needed, "the configuration")
        self.maximum, self.temporal = config["maximum"], config["temporal"]
        require(type(self.maximum) is int and 0 <= self.maximum < 2**24, "the maximum")
        require(type(self.temporal) is bool, "whether frames before are looked at")
        require(type(config["residuals"]) is int and 6 <= config["residuals"] <= 24, "the residual taps")
        self.taps = taps(config["radii"], self.temporal)
        self.residual_taps = residual_taps(config["residuals"], self.temporal)
        self.used = [[tap for tap in self.taps if is_used(tap, around)] for around in range(4)]
        self.places = [np.array(used) for used in self.used]
        self.in_slice = config["residuals"]
        self.inputs = config["inputs"]
        in_frame = sum(tap[0] == 0 for tap in self.taps)
        require(type(self.inputs) is int and 1 <= self.inputs <= in_frame, "the inputs")
        self.bound, self.regions = config.get("bound"), config.get("regions")
        self.check_loss(config)
        parts = Bytes(model)
        experts, change = (parts.take(parts.varint()) for _ in range(2))
        parts.end()
        self.thresholds, self.weights = self.read_experts(experts)
        self.network = changed(find_network(config["network"]), change)
        require(self.network[0].shape[1] == self.inputs + config["residuals"] + 9 + 5 + 6 + 1, "inputs of the network")
        require(self.network[-1].shape[0] == 2, "outputs of the network")

    def check_loss(self, config: dict) -> None:
        """`bound` and `regions`."""
        require("bound" in config or "regions" not in config, "regions without a bound")
        if "bound" in config:
            require(isinstance(self.bound, list) and [type(n) for n in self.bound] == [int] * 3, "the bound")
            max_error, low, high = self.bound
            require(1 <= max_error <= 2**20 and 0 <= low <= high <= self.maximum, "the bound")
        if "regions" in config:
            require(isinstance(self.regions, list) and 1 <= len(self.regions) <= 16, "the regions")
            require(all(type(n) is int and n >= 0 for n in self.regions) and max(self.regions) == max_error,
                    "the regions")

    def read_experts(self, experts: bytes) -> tuple[list[list[int]], list[np.ndarray]]:
        """Thresholds and weights (class, tap) of each surrounding."""
        shift = Bytes(experts[:1]).take(1)[0]
        require(shift <= 14, "the shift of the weights")
        stream = GroupStream(experts[1:], 16, 4 + 4 * 64 * (2 + len(self.taps)))
        classes = [stream.next(0) for _ in range(4 if self.temporal else 2)]
        require(all(1 <= n <= 64 for n in classes), "the number of classes")
        low = [[stream.next(1) for _ in range(n - 1)] for n in classes]
        high = [[stream.next(1) for _ in range(n - 1)] for n in classes]
        steps = [[a + (b << 16) for a, b in zip(*pair, strict=True)] for pair in zip(low, high, strict=True)]
        require(all(step >= 0 for row in steps for step in row), "thresholds that do not ascend")
        thresholds = [list(accumulate(row)) for row in steps]
        weights = []
        for around, n in enumerate(classes):
            rows = [[stream.next(1 + number.bit_length()) << shift if is_used(tap, around) else 0
                     for number, tap in enumerate(self.taps) if number] for _ in range(n)]
            rows = [[2**14 - sum(row), *row] for row in rows]
            require(all(sum(map(abs, row)) < 2**28 for row in rows), "weights that are too large")
            weights.append(np.array(rows, np.int64))
        stream.end()
        return thresholds, weights


def taps(radii: list, temporal: bool) -> list[Offset]:
    """The offsets of the taps, in order."""
    require(isinstance(radii, list) and 1 <= len(radii) <= 4, "the radii")
    found = []
    for d, pair in enumerate(radii):
        require(isinstance(pair, list) and len(pair) == 2 and all(type(n) is int for n in pair), "the radii")
        r, east = pair
        require(0 <= east <= r <= 8 and (d > 0 or r >= 2), "the radii")
        found += [(0, -d, j, i) for j in range(-r, r + 1) for i in range(-r, min(east, r) + 1)
                  if d or j < 0 or (j == 0 and i < 0)]
    found.sort(key=lambda tap: ((1.5 * tap[1])**2 + tap[2]**2 + tap[3]**2, -tap[1], -tap[2], tap[3]))
    if temporal:
        found += [(-1, *offset) for offset in product((-1, 0, 1), repeat=3)] + [(-2, 0, j, i) for j, i in CROSS]
    return found


def residual_taps(number: int, temporal: bool) -> list[Offset]:
    found = [(0, 0, j, i) for j, i in RESIDUALS_IN_SLICE[:number]] + [(0, -1, j, i) for j, i in RESIDUALS_BELOW]
    return found + [(-1, 0, j, i) for j, i in CROSS] * temporal


def find_network(name: str) -> list[np.ndarray]:
    """The layers of the network of that name."""
    for path in sorted(NETWORKS.glob("*.mcmodel")):
        layers = read_network(path.read_bytes())
        if network_name(layers) == name:
            return layers
    raise RefusedError("a network that does not come with the software")


def network_name(layers: list[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(struct.pack("<II", *layer.shape) + layer.astype("<i2").tobytes()
                                   for layer in layers)).hexdigest()


def read_network(data: bytes) -> list[np.ndarray]:
    """The layers in a model file."""
    require(data[:8] == MODEL_MAGIC and hashlib.sha256(data[:-32]).digest() == data[-32:], "no model file")
    file = Bytes(data[8:-32])
    shapes = json.loads(file.take(*struct.unpack("<I", file.take(4))))["layers"]
    layers = [np.frombuffer(file.take(2 * rows * columns), "<i2").reshape(rows, columns).astype(np.int64)
              for rows, columns in shapes]
    file.end()
    return layers


def changed(layers: list[np.ndarray], change: bytes) -> list[np.ndarray]:
    """The network with what is added to its weights, held to the bound on its sums."""
    if change:
        grain = change[0]
        stream = GroupStream(change[1:], len(layers), sum(layer.size for layer in layers))
        layers = [layer + grain * np.array([stream.next(group) for _ in range(layer.size)]).reshape(layer.shape)
                  for group, layer in enumerate(layers)]
        stream.end()
    for number, layer in enumerate(layers):
        one, most = (64, 1023) if number else (32, 511)
        sums = np.abs(layer[:, :-1]).sum(1) * most + np.abs(layer[:, -1]) * one
        require(bool((np.abs(layer) < 2**15).all() and (sums < 2**24).all()), "a network that leaves the exact range")
    return layers


def run_network(layers: list[np.ndarray], inputs: list[int]) -> tuple[int, int]:
    """m and v."""
    values = np.array([*inputs, 32], np.int64)
    for number, layer in enumerate(layers):
        values = (layer @ values) >> (7 if number else 6)
        if number < len(layers) - 1:
            values = np.append(np.minimum(np.maximum(values, 0), 1023), 64)
    return int(values[0]), int(values[1])


class Slab:
    """A slab while it is decoded: samples and residuals of the voxels so far."""

    def __init__(self, codec: Neural, payload: bytes, shape: Offset, regions: np.ndarray | None):
        require(int(np.prod(shape[:3])) <= MOST_ROWS, "too many rows in a slab")
        require(codec.temporal or shape[0] == 1, "several frames where none is looked at")
        self.codec, self.shape, self.regions = codec, shape, regions
        self.samples, self.residuals = np.zeros(shape, np.int64), {}
        number = 1 if codec.regions is None else len(codec.regions)
        self.stream = GroupStream(payload, number * GROUPS, int(np.prod(shape)), self.given_table)

    def decode(self) -> np.ndarray:
        """All samples."""
        for place in self.order():
            self.decode_voxel(place)
        self.stream.end()
        return self.samples

    def order(self) -> list[Offset]:
        """The voxels in the order in which they are decoded."""
        both = [*self.codec.taps, *self.codec.residual_taps]
        a = max(1, 1 + max((i for f, k, j, i in both if f == k == 0 and j < 0), default=0))
        b = max(1, 1 + max((i + a * j for f, k, j, i in both if f == 0 and k < 0), default=0))
        c = max(1, 1 + max((i + a * j + b * k for f, k, j, i in both if f < 0), default=0))
        frames, slices, rows, columns = self.shape
        steps = columns + a * (rows - 1) + b * (slices - 1) + c * (frames - 1)
        require(steps <= MOST_STEPS, "too many steps in a slab")
        places = product(*map(range, self.shape))
        return sorted(places, key=lambda p: (p[3] + a * p[2] + b * p[1] + c * p[0], surrounding(p), *p[:3]))

    def given_table(self, group: int) -> tuple[int, int, list[int]] | None:
        """Shift, lowest value and counts of the table that is not in the stream."""
        region, group = divmod(group, GROUPS)
        if group == 0:
            return None
        level = bisect_right(FIRST_GROUP, group) - 1
        gain = 2**28 // WIDTHS[level]
        if gain < 64:
            return None
        phases = 8 // GROUPS_OF_LEVEL[level]
        offset = (2 * (group - FIRST_GROUP[level]) + 1) * phases - 1
        if self.codec.bound is None:
            max_error = 0
        else:
            max_error = self.codec.bound[0] if self.codec.regions is None else self.codec.regions[region]
        step = 2 * max_error + 1
        shift = max(0, (2**28 // gain // (4096 * step)).bit_length() - 4)

        def edge(value: int) -> int:
            return ((32 * value * 2**shift - 16) * step - offset) * gain >> 11

        reach = 0
        while edge(reach) < 10240:
            reach += 1
        below = [distribution(edge(value)) for value in range(-reach, reach + 2)]
        return shift, -reach, [max(b - a, 1) for a, b in pairwise(below)] + [4096]

    def decode_voxel(self, place: Offset) -> None:
        codec, around = self.codec, surrounding(place)
        most = 16 * codec.maximum
        used = codec.used[around]
        values = dict(zip(used, self.samples_at(place, codec.places[around]), strict=True))
        residuals = [residual if is_used(tap, around) else 0 for tap, residual in
                     zip(codec.residual_taps, self.residuals_at(place, codec.residual_taps), strict=True)]

        activity = sum(abs(values[a] - values[b]) for a, b in ACTIVITY if a in values and b in values)
        thresholds, weights = codec.thresholds[around], codec.weights[around]
        of_class = bisect_right(thresholds, activity)
        row = np.array([values.get(tap, 0) for tap in codec.taps])
        classes = of_class, max(of_class - 1, 0), min(of_class + 1, len(thresholds))
        p, lower, higher = (min(max((int(weights[c] @ row) + 2**9) >> 10, 0), most) for c in classes)
        near = {values[tap] for tap in FLAT if tap in values}
        flat = len(near) == 1
        if flat:
            p = lower = higher = 16 * near.pop()

        in_slice, below, before = NOISE_WEIGHTS[around]
        noise_weights = [*in_slice, *[0] * (codec.in_slice - len(in_slice)), *below, *before]
        energy = sum(weight * abs(residual) for weight, residual in zip(noise_weights, residuals, strict=False))
        level = bisect_right(THRESHOLDS, energy)
        gain = 2**28 // WIDTHS[level]

        inputs = [16 * values[tap] - p if tap in values else 0 for tap in codec.taps[:codec.inputs]]
        inputs += [*residuals, *[0] * (0 if codec.temporal else 5), lower - p, higher - p, p]
        inputs = [min(max((d * gain + 2**14) >> 15, -511), 511) for d in inputs]
        inputs += [4 * (min(level, 64) - 24), 32 * (place[1] > 0), 32 * (place[0] > 0)]
        m, v = run_network(codec.network, inputs)

        mean = p if flat else min(max(p + ((m * WIDTHS[level] + 2**13) >> 14), 0), most)
        centre = (mean + 8) >> 4
        rest = mean - 16 * centre
        level = min(max(level + ((v + 8) >> 4), 0), LEVELS - 1)
        shift = {4: 1, 2: 2, 1: 3}[GROUPS_OF_LEVEL[level]]
        group = 0 if flat else FIRST_GROUP[level] + (min(abs(rest), 7) >> shift)
        region = 0 if self.regions is None else int(self.regions[place])
        symbol = self.stream.next(region * GROUPS + group)
        sample = self.bounded(centre, symbol if rest >= 0 else -symbol, region)
        require(0 <= sample <= codec.maximum, "a sample out of range")
        self.samples[place], self.residuals[place] = sample, 16 * sample - p

    def bounded(self, centre: int, difference: int, region: int) -> int:
        """The sample, which is off from the original by as much as the bound allows."""
        if self.codec.bound is None:
            return centre + difference
        max_error, low, high = self.codec.bound
        step = 2 * (max_error if self.codec.regions is None else self.codec.regions[region]) + 1
        u = centre + step * difference
        if u < low:
            return low - max(0, (low - 1 - u) // step)
        if u > high:
            return high + max(0, (u - high - 1) // step)
        return u

    def samples_at(self, place: Offset, taps: np.ndarray) -> list[int]:
        """The samples at these taps; outside the slab the nearest inside; 0 where they are not known."""
        nearest = np.minimum(np.maximum(taps + np.array(place), 0), np.array(self.shape) - 1)
        return self.samples[tuple(nearest.T)].tolist()

    def residuals_at(self, place: Offset, taps: list[Offset]) -> list[int]:
        """The residuals at these taps, 0 outside the slab."""
        return [self.residuals.get(tuple(map(add, place, tap)), 0) for tap in taps]


def distribution(place: int) -> int:
    """S, continued to places in between and below 0."""
    far = min(abs(place), 10239)
    index, rest = divmod(far, 64)
    above = SIGMOID[index] + ((SIGMOID[index + 1] - SIGMOID[index]) * rest >> 6)
    return 2**24 - above if place < 0 else above


def surrounding(place: Offset) -> int:
    return (place[1] > 0) + 2 * (place[0] > 0)


def is_used(tap: Offset, around: int) -> bool:
    """Whether voxels of that surrounding look at the tap."""
    return (tap[1] >= 0 or around % 2 == 1) and (tap[0] >= 0 or around >= 2)
