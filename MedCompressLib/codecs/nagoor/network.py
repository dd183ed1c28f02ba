"""A multi-layer perceptron with leaky rectifiers, in integers, carried exactly by float32 matrix products.

All numbers are integers with a fixed point: inputs count 1/2048, weights 1/256, activations 1/1024, and the one output
1/8192. A layer is

    z = floor((sum(weights * inputs) + bias) / 2**shift)        shift = 9, then 8, and 5 in the last layer
    z = min(max(z, -2048), 2047)
    activation = max(z, floor((z + 2) / 4))                     a slope of 1/4 below 0

and the last layer is nothing but its first line. When every possible partial sum of integers stays below 2**24 float32
holds it exactly, whatever the order of summation, so any BLAS, thread count or GPU gives the same integers;
`LeakyNetwork` proves that for its weights or refuses them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from ...errors import FormatError

INPUT_ONE = 2048
WEIGHT_ONE = 256
ACTIVATION_ONE = 1024
OUTPUT_ONE = 8192
SMALLEST, LARGEST = -2048, 2047
SLOPE_BITS = 2
EXACT = 1 << 24
MAX_WIDTH = 4096


@dataclass(frozen=True, eq=False)
class LeakyNetwork:
    """Layers of integer weights.

    Attributes
    ----------
    weights : tuple of (n_out, n_in) int8 arrays
    biases : tuple of (n_out,) int32 arrays

    Raises
    ------
    FormatError
        Shapes do not fit together, there is more than one output, or a partial sum could reach 2**24.
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]

    def __post_init__(self):
        if not self.weights or len(self.weights) != len(self.biases) or len(self.weights[-1]) != 1:
            raise FormatError("The network's layers do not fit together.")
        for index, (layer, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if layer.ndim != 2 or not all(0 < n <= MAX_WIDTH for n in layer.shape) or bias.shape != layer.shape[:1]:
                raise FormatError("The network's layers have impossible shapes.")
            if index and layer.shape[1] != len(self.weights[index - 1]):
                raise FormatError("The network's layers do not fit together.")
            if int(partial_sum_bound(layer, bias, first=index == 0).max()) >= EXACT:
                raise FormatError("The network is refused: a sum in it can leave the range in which float32 is exact.")

    @cached_property
    def sha256(self) -> str:
        """Name of this network: SHA-256 of its shapes, weights and biases as little-endian integers."""
        digest = hashlib.sha256()
        for layer, bias in zip(self.weights, self.biases, strict=True):
            digest.update(np.array(layer.shape, "<u4").tobytes() + layer.tobytes() + bias.astype("<i4").tobytes())
        return digest.hexdigest()

    @cached_property
    def _scaled(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """float32 weights and biases divided by the layer's power of two: still exact."""
        return [(layer.astype(np.float32) / np.float32(1 << shift), bias.astype(np.float32)[:, None] / (1 << shift))
                for layer, bias, shift in zip(self.weights, self.biases, shifts(len(self.weights)), strict=True)]

    def output(self, inputs: np.ndarray) -> np.ndarray:
        """What comes out for (n_inputs, n) float32 integers of -2048 ... 2047: (n,) float64 integers."""
        for number, (weights, biases) in enumerate(self._scaled):
            z = weights @ inputs
            z += biases
            np.floor(z, out=z)
            if number == len(self._scaled) - 1:
                return z[0].astype(np.float64)
            np.clip(z, SMALLEST, LARGEST, out=z)
            leaked = z + 2
            leaked *= 1 / (1 << SLOPE_BITS)
            np.floor(leaked, out=leaked)
            inputs = np.maximum(z, leaked, out=z)
        raise AssertionError("a network has layers")


def shifts(n_layers: int) -> list[int]:
    """How far the sums of each layer are shifted down."""
    units = [INPUT_ONE, *[ACTIVATION_ONE] * (n_layers - 1), OUTPUT_ONE]
    return [(before * WEIGHT_ONE // after).bit_length() - 1 for before, after in pairwise(units)]


def partial_sum_bound(layer: np.ndarray, bias: np.ndarray, first: bool) -> np.ndarray:
    """The largest magnitude that any partial sum of each row can have, (n_out,) int64."""
    weights = layer.astype(np.int64)
    positive, negative = weights.clip(0).sum(axis=1), -weights.clip(None, 0).sum(axis=1)
    lowest = SMALLEST if first else SMALLEST >> SLOPE_BITS
    return np.maximum(LARGEST * positive - lowest * negative,
                      LARGEST * negative - lowest * positive) + np.abs(bias.astype(np.int64))
