"""Training the network in floats: plain NumPy back-propagation, so that no framework is needed anywhere.

The loss is the code length, in bits, of a voxel under a logistic distribution integrated over the voxel's interval of
values, with the mean and width that the network's two outputs say. What comes out is rounded to an `IntegerNetwork`;
nothing else of the training ever reaches a decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .network import (
    ACTIVATION_LIMIT,
    ACTIVATION_ONE,
    EXACT,
    INPUT_LIMIT,
    INPUT_ONE,
    WEIGHT_ONE,
    IntegerNetwork,
    partial_sum_bound,
)

_LN2 = np.float32(np.log(2))
_CLIP = np.float32(ACTIVATION_LIMIT / ACTIVATION_ONE)


@dataclass(eq=False)
class Samples:
    """Training samples.

    Attributes
    ----------
    inputs : (n, n_inputs) int16
        The network's integer inputs.
    residuals : (n,) float32
        Voxel - reference in units of the noise level's width.
    half_bins : (n,) float32
        Half a voxel value in the same unit.
    """

    inputs: np.ndarray
    residuals: np.ndarray
    half_bins: np.ndarray

    def __len__(self) -> int:
        return len(self.residuals)

    @classmethod
    def empty(cls, n: int, n_inputs: int) -> Samples:
        """Room for `n` samples."""
        return cls(np.empty((n, n_inputs), np.int16), np.empty(n, np.float32), np.empty(n, np.float32))

    @classmethod
    def join(cls, parts: Sequence[Samples]) -> Samples:
        """All of them in one."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts])
                     for name in ("inputs", "residuals", "half_bins")))

    def take(self, index) -> Samples:
        return Samples(self.inputs[index], self.residuals[index], self.half_bins[index])

    def batch(self, n: int, rng: np.random.Generator) -> Samples:
        """`n` of them by chance."""
        return self.take(rng.integers(0, len(self), n))


class Rounds:
    """Samples of which `batch` takes new ones now and then: more of a volume is seen than is held in memory.

    The next ones are drawn in a thread while the present ones are trained on.

    Parameters
    ----------
    draw : callable
        Returns new samples; where it has none, the former stay.
    n_rounds : int
        How often it is called at most.
    batches : int
        How many batches are taken of each.
    pool : executor
        For `draw`.
    """

    def __init__(self, draw: Callable[[], Samples], n_rounds: int, batches: int, pool: Executor):
        self._draw, self._batches, self._pool = draw, batches, pool
        self._rng = np.random.default_rng(0)
        self.samples, self._draws_left = self._shuffled(), n_rounds - 1
        self._begin()

    def _shuffled(self) -> Samples:
        """New samples in an order by chance; the same input of all lies together, as training reads them."""
        drawn = self._draw()
        drawn = drawn.take(self._rng.permutation(len(drawn)))
        drawn.inputs = np.asfortranarray(drawn.inputs)
        return drawn

    def _begin(self) -> None:
        self._left, self._taken = self._batches, 0
        self._following = self._pool.submit(self._shuffled) if self._draws_left else None
        self._draws_left -= 1

    def batch(self, n: int, rng: np.random.Generator) -> Samples:
        """The next `n` of the present ones, which come in turn; `rng` is not needed."""
        if not self._left and self._following:
            drawn = self._following.result()
            self.samples = drawn if len(drawn) else self.samples
            self._begin()
        self._left -= 1
        first, self._taken = self._taken, (self._taken + n) % len(self.samples)
        if first + n <= len(self.samples):
            return self.samples.take(slice(first, first + n))
        return self.samples.take(np.arange(first, first + n) % len(self.samples))


def initial_weights(sizes: list[int], rng: np.random.Generator) -> list[np.ndarray]:
    """He-initialised (n_out, n_in + 1) float32 layers; the last starts near zero, so that the first guess is the
    reference itself."""
    layers = []
    for index, (n_in, n_out) in enumerate(pairwise(sizes)):
        last = index == len(sizes) - 2
        layer = rng.normal(0, 0.05 / np.sqrt(n_in) if last else np.sqrt(1.0 / n_in), (n_out, n_in + 1))
        layer[:, -1] = 0
        layers.append(layer.astype(np.float32))
    return layers


def to_float(network: IntegerNetwork) -> list[np.ndarray]:
    """The layers in floats, without the half unit that turns rounding down into rounding to nearest."""
    layers = [layer.astype(np.float32) for layer in network.weights]
    for layer in layers:
        layer[:, -1] -= 1
        layer /= WEIGHT_ONE
    return layers


def to_integer(layers: list[np.ndarray]) -> IntegerNetwork:
    """Rounded to the fixed point; rows that could leave the exact range are scaled down until they cannot."""
    weights = []
    for index, layer in enumerate(layers):
        one, limit = (ACTIVATION_ONE, ACTIVATION_LIMIT) if index else (INPUT_ONE, INPUT_LIMIT)
        rounded = np.clip(np.rint(layer * WEIGHT_ONE), -32766, 32766).astype(np.int64)
        rounded[:, -1] += 1
        bound = partial_sum_bound(rounded, one, limit)
        for row in np.flatnonzero(bound >= EXACT):
            rounded[row] = np.trunc(rounded[row] * (0.999 * EXACT / bound[row]))
        weights.append(rounded.astype(np.int16))
    return IntegerNetwork(tuple(weights))


def code_length(layers: list[np.ndarray], samples: Samples) -> float:
    """Mean bits a voxel."""
    total = 0.0
    for start in range(0, len(samples), 8192):
        part = samples.take(slice(start, start + 8192))
        activations = _room(layers, len(part))
        _forward(layers, part.inputs, activations)
        total += float(_bits(activations[-1], part).sum())
    return total / max(len(samples), 1)


def train(layers: list[np.ndarray], samples: Samples | Rounds, steps: int, batch: int, rate: float, seed: int,
          progress: Callable[[float], None] | None = None, quantum: float = 0.0,
          constant_rate: bool = False) -> list[np.ndarray]:
    """Adam with a cosine schedule over random batches; returns new layers.

    Parameters
    ----------
    layers : list of (n_out, n_in + 1) float32
    steps, batch : int
    rate : float
        Highest learning rate.
    progress : callable, optional
        Called with a fraction every few steps; may raise to cancel.
    quantum : float
        When positive, what comes back differs from `layers` by whole multiples of it, and the network is trained as
        it will be after that rounding (straight-through).
    constant_rate : bool
        No schedule: for callers who train in rounds and lower `rate` themselves.
    """
    start = layers
    rng = np.random.default_rng(seed)
    layers = [layer.copy() for layer in layers]
    first = [np.zeros_like(layer) for layer in layers]
    second = [np.zeros_like(layer) for layer in layers]
    beta1, beta2 = 0.9, 0.99
    activations = _room(layers, batch)
    for step in range(steps):
        part = samples.batch(batch, rng)
        rounded = _rounded(layers, start, quantum)
        _forward(rounded, part.inputs, activations)
        gradients = _backward(rounded, activations, _slope(activations[-1], part) / batch)
        schedule = 1.0 if constant_rate else 0.5 * (1 + np.cos(np.pi * step / steps))
        now = rate * min(1.0, (step + 1) / 100) * schedule + 1e-6
        correction = np.sqrt(1 - beta2 ** (step + 1)) / (1 - beta1 ** (step + 1))
        for layer, gradient, mean, square in zip(layers, gradients, first, second, strict=True):
            mean += (1 - beta1) * (gradient - mean)
            square += (1 - beta2) * (gradient * gradient - square)
            layer -= np.float32(now * correction) * mean / (np.sqrt(square) + 1e-8)
        if step % 20 == 0:
            _keep_exact(layers)
            if progress is not None:
                progress(step / steps)
    _keep_exact(layers)
    return _rounded(layers, start, quantum)


def _rounded(layers: list[np.ndarray], start: list[np.ndarray], quantum: float) -> list[np.ndarray]:
    if not quantum:
        return layers
    return [origin + np.rint((layer - origin) * np.float32(1 / quantum)) * np.float32(quantum)
            for layer, origin in zip(layers, start, strict=True)]


def _keep_exact(layers: list[np.ndarray]) -> None:
    """Shrink rows whose sums, once rounded to integers, could leave float32's exact range."""
    for index, layer in enumerate(layers):
        one, limit = (ACTIVATION_ONE, ACTIVATION_LIMIT) if index else (INPUT_ONE, INPUT_LIMIT)
        bound = np.abs(layer[:, :-1]).sum(axis=1) * limit + np.abs(layer[:, -1]) * one
        layer *= np.minimum(1, 0.95 * EXACT / WEIGHT_ONE / np.maximum(bound, 1))[:, None]


def _room(layers: list[np.ndarray], n: int) -> list[np.ndarray]:
    """Where `_forward` puts inputs and activations of each layer, (n_units + 1, n) with a last row of ones; the last
    without."""
    return [np.ones((layer.shape[1], n), np.float32) for layer in layers] + [np.empty((len(layers[-1]), n), np.float32)]


def _forward(layers: list[np.ndarray], inputs: np.ndarray, room: list[np.ndarray]) -> None:
    np.multiply(inputs.T, np.float32(1 / INPUT_ONE), out=room[0][:-1])
    for layer, (activations, result) in zip(layers, pairwise(room), strict=True):
        outputs = np.matmul(layer, activations, out=result[:len(layer)])
        if result is not room[-1]:
            np.clip(outputs, 0, _CLIP, out=outputs)


def _backward(layers: list[np.ndarray], activations: list[np.ndarray], slope: np.ndarray) -> list[np.ndarray]:
    gradients = []
    for index in range(len(layers) - 1, -1, -1):
        gradients.append(slope @ activations[index].T)
        if index:
            slope = layers[index][:, :-1].T @ slope
            held = activations[index][:-1]
            slope *= (held > 0) & (held < _CLIP)
    return gradients[::-1]


def _bits(outputs: np.ndarray, samples: Samples) -> np.ndarray:
    """Bits of each voxel."""
    z, half, _ = _scaled(outputs, samples)
    return -(_log_sigmoid(z + half) + _log_sigmoid(half - z) + np.log(-np.expm1(-2 * half))) / _LN2


def _slope(outputs: np.ndarray, samples: Samples) -> np.ndarray:
    """Slopes of the code lengths along the two outputs, in nats: (2, n)."""
    z, half, per_width = _scaled(outputs, samples)
    upper, lower = _sigmoid(z + half), _sigmoid(z - half)
    gap = np.exp(-2 * half)
    along_z = upper + lower - 1
    along_half = -((1 - upper) + lower + 2 * gap / np.maximum(1 - gap, 1e-12))
    return np.stack([-along_z * per_width, -_LN2 * (along_z * z + along_half * half)]).astype(np.float32)


def _scaled(outputs: np.ndarray, samples: Samples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residual and half a voxel value in widths of the distribution, and what one is in these."""
    shift, octaves = outputs
    per_width = np.exp2(-np.clip(octaves, -8, 8))
    return (samples.residuals - shift) * per_width, samples.half_bins * per_width, per_width


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _log_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))
