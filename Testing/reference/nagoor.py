"""Section 10.5: the codec `nagoor`, one voxel after the other."""

import hashlib
import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from .entropy import Bytes, GroupStream
from .refuse import require

NETWORKS = Path(__file__).resolve().parents[2] / "MedCompressLib" / "codecs" / "nagoor" / "models"
RADII = {"pyramid": [6, 4, 2, 0], "cube": [5] * 6}
STRIDES = {"pyramid": (7, 33), "cube": (6, 36)}
ERROR_TAPS = [(0, 0, -1), (0, -1, 0), (0, -1, -1), (0, -1, 1), (0, 0, -2), (0, -2, 0), (-1, 0, 0)]
ERROR_WEIGHTS = [8, 8, 4, 4, 2, 2, 4]
GROUPS = 108


def set_up(config: dict, model: bytes, maximum: int) -> Callable:
    """The function that makes samples of the payload and the shape of a slab."""
    require(set(config) == {"maximum", "neighbourhood", "network"} and not model, "the configuration")
    require(type(config["maximum"]) is int and config["maximum"] == maximum, "another maximum than that of the samples")
    name = config["neighbourhood"]
    require(isinstance(name, str) and name in RADII, "the neighbourhood")
    layers = read_network((NETWORKS / f"{name}.mcmodel").read_bytes(), config["network"])
    return partial(decode_slab, name, layers, maximum)


def decode_slab(name: str, layers: list, maximum: int, payload: bytes, shape: tuple) -> np.ndarray:
    """Samples of a slab (frames, k, j, i)."""
    depth, margin = len(RADII[name]) - 1, 2 * max(RADII[name])
    require(shape[0] * (shape[1] + depth) * (shape[2] + margin) * (shape[3] + margin) <= 2**25, "too large a slab")
    taps = [(-d, j, i) for d, r in enumerate(RADII[name]) for j in range(-r, r + 1) for i in range(-r, r + 1)
            if d or j < 0 or (j == 0 and i < 0)]
    a, b = STRIDES[name]
    require(b * (shape[1] - 1) + a * (shape[2] - 1) + shape[3] <= 2**17, "too many steps")
    left_out = max(0, maximum.bit_length() - 12)
    stream = GroupStream(payload, GROUPS, int(np.prod(shape)))
    samples, errors = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for place in sorted(np.ndindex(*shape), key=lambda p: (p[3] + a * p[2] + b * p[1], p)):
        output = run_network(layers, (values_at(samples, place, taps) >> left_out) - 2048)
        mean = min(max((output + 8192) << left_out, 0), 4 * maximum)
        spread = min(int(values_at(errors, place, ERROR_TAPS) @ ERROR_WEIGHTS) >> 4, 65535)
        octave = max(0, spread.bit_length() - 3)
        level = 4 * octave + (spread >> octave)
        sample = (mean >> 2) + stream.next(4 * level + (mean & 3) if level < 16 else 48 + level)
        require(0 <= sample <= maximum, "a sample out of range")
        samples[place], errors[place] = sample, abs(4 * sample - mean)
    stream.end()
    return samples


def values_at(array: np.ndarray, place: tuple, taps: list) -> np.ndarray:
    """The values at offsets (k, j, i) in the same frame, 0 outside the slab."""
    at = np.add(place[1:], taps)
    inside = ((at >= 0) & (at < array.shape[1:])).all(1)
    return np.where(inside, array[place[0]][tuple(np.where(inside[:, None], at, 0).T)], 0)


def read_network(data: bytes, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases of each layer, if it is the network of that name and its sums stay exact."""
    require(data[:8] == b"MCMODEL2" and hashlib.sha256(data[:-32]).digest() == data[-32:], "no model file")
    file = Bytes(data[8:-32])
    shapes = json.loads(file.take(*struct.unpack("<I", file.take(4))))["layers"]
    digest, layers = hashlib.sha256(), []
    for number, (rows, columns) in enumerate(shapes):
        weights, biases = file.take(rows * columns), file.take(4 * rows)
        digest.update(struct.pack("<II", rows, columns) + weights + biases)
        weights = np.frombuffer(weights, np.int8).reshape(rows, columns).astype(np.int64)
        biases = np.frombuffer(biases, "<i4").astype(np.int64)
        positive, negative, m = weights.clip(0).sum(1), -weights.clip(max=0).sum(1), 512 if number else 2048
        largest = np.maximum(2047 * positive + m * negative, 2047 * negative + m * positive) + np.abs(biases)
        require(bool((largest < 2**24).all()), "a network that leaves the exact range")
        layers.append((weights, biases))
    file.end()
    require(digest.hexdigest() == name, "a network that does not come with the software")
    return layers


def run_network(layers: list[tuple[np.ndarray, np.ndarray]], values: np.ndarray) -> int:
    for number, (weights, biases) in enumerate(layers):
        last = number == len(layers) - 1
        z = (weights @ values + biases) >> (5 if last else 8 if number else 9)
        if not last:
            z = z.clip(-2048, 2047)
            values = np.where(z >= 0, z, (z + 2) >> 2)
    return int(z[0])
