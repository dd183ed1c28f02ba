"""A multi-layer perceptron in integers, carried exactly by float32 matrix products.

All numbers are integers with a fixed point: inputs count 1/32, weights 1/128, activations 1/64. A layer is

    z = floor(sum(weights * inputs) / 2**shift)        shift = 6 after the inputs, 7 later
    activation = min(max(z, 0), 1023)                   (no clamping in the last layer)

and each layer's inputs end in a constant 1 whose weights are the biases. When every possible partial sum of integers
stays below 2**24 float32 holds it exactly, whatever the order of summation, so any BLAS, thread count or GPU gives
the same integers; `IntegerNetwork` proves that for its weights or refuses them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...errors import FormatError

INPUT_ONE = 32
INPUT_LIMIT = 511
WEIGHT_ONE = 128
ACTIVATION_ONE = 64
ACTIVATION_LIMIT = 1023
EXACT = 1 << 24
MAX_WIDTH = 4096


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """Layers of integer weights.

    Attributes
    ----------
    weights : tuple of (n_out, n_in + 1) int16 arrays
        The last column is the bias.

    Raises
    ------
    FormatError
        Shapes do not fit together, or a partial sum could reach 2**24.
    """

    weights: tuple[np.ndarray, ...]

    def __post_init__(self):
        for index, layer in enumerate(self.weights):
            if layer.ndim != 2 or not 0 < layer.shape[0] <= MAX_WIDTH or not 1 < layer.shape[1] <= MAX_WIDTH:
                raise FormatError("The network's layers have impossible shapes.")
            if index and layer.shape[1] != len(self.weights[index - 1]) + 1:
                raise FormatError("The network's layers do not fit together.")
            one, limit = (ACTIVATION_ONE, ACTIVATION_LIMIT) if index else (INPUT_ONE, INPUT_LIMIT)
            if int(partial_sum_bound(layer, one, limit).max()) >= EXACT:
                raise FormatError("The network is refused: a sum in it can leave the range in which float32 is exact.")

    @property
    def n_inputs(self) -> int:
        return self.weights[0].shape[1] - 1

    @property
    def n_outputs(self) -> int:
        return len(self.weights[-1])

    def has_shape_of(self, other: IntegerNetwork) -> bool:
        """Whether all layers have the same shapes."""
        return [layer.shape for layer in self.weights] == [layer.shape for layer in other.weights]

    @cached_property
    def scaled(self) -> list[np.ndarray]:
        """float32 weights divided by the power of two that the layer's sums are divided by: still exact."""
        shift = [INPUT_ONE * WEIGHT_ONE // ACTIVATION_ONE] + [WEIGHT_ONE] * (len(self.weights) - 1)
        return [(layer / np.float64(divisor)).astype(np.float32)
                for layer, divisor in zip(self.weights, shift, strict=True)]

    @cached_property
    def sha256(self) -> str:
        """Name of this network: SHA-256 of its shapes and weights as little-endian integers."""
        digest = hashlib.sha256()
        for layer in self.weights:
            digest.update(np.array(layer.shape, "<u4").tobytes() + layer.astype("<i2").tobytes())
        return digest.hexdigest()

    def forward(self, inputs: np.ndarray, buffers: list[np.ndarray]) -> np.ndarray:
        """Outputs in units of 1/64, not clamped.

        Parameters
        ----------
        inputs : (n_inputs + 1, n) float32
            Integers within +-511 whose last row is 32.
        buffers : list of (n_out + 1, n) float32 arrays, one a layer
            Overwritten; where a next layer follows, the last row must hold 64.

        Returns
        -------
        (n_outputs, n) float32 view of the last buffer
        """
        last = len(self.weights) - 1
        for index, (layer, buffer) in enumerate(zip(self.scaled, buffers, strict=True)):
            outputs = buffer[:len(layer)]
            np.matmul(layer, inputs, out=outputs)
            np.floor(outputs, out=outputs)
            if index < last:
                np.clip(outputs, 0, ACTIVATION_LIMIT, out=outputs)
            inputs = buffer
        return outputs


def partial_sum_bound(layer: np.ndarray, one: int, limit: int) -> np.ndarray:
    """Largest magnitude any partial sum of each row can reach: the bias's input is `one`, all others `limit`."""
    magnitude = np.abs(layer.astype(np.int64))
    return magnitude[:, :-1].sum(axis=1) * limit + magnitude[:, -1] * one
