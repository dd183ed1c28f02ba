"""Fine-tuning of the shipped network on one volume, and its result as a few bits a weight.

"Train on slices of the volume itself" is the seed idea of Nagoor et al. (ICIP 2020), turned into an option of the
encoder: what changes is rounded to coarse steps and travels in the stream.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...entropy import GroupDecoder, encode_groups
from ...errors import FormatError
from .network import WEIGHT_ONE, IntegerNetwork
from .training import Samples, code_length, to_float, to_integer, train

LARGE = 8_000_000
COARSE, FINE = 6, 4
"""Changes are whole multiples of so many 1/128, in volumes below LARGE voxels and in others."""

_RATE = 3e-3


def tune(base: IntegerNetwork, samples: Samples, steps: int, batch: int, n_voxels: int,
         progress: Callable[[float], None]) -> list[np.ndarray] | None:
    """Fine-tune to rounded changes.

    Parameters
    ----------
    base : IntegerNetwork
    samples : Samples
        Of the volume; a tenth is held back to see whether the change pays for itself.
    steps, batch : int
    n_voxels : int
        Of the volume: what the change costs is weighed against what it saves on so many.
    progress : callable

    Returns
    -------
    list of (n_out, n_in + 1) int32 arrays, or None
        Changes to the base's integer weights; None where none pays for itself.
    """
    n_held = len(samples) // 10
    if n_held < 500:
        return None
    order = np.random.default_rng(1).permutation(len(samples))
    held, used = samples.take(order[:min(n_held, 30_000)]), samples.take(order[n_held:])
    start = to_float(base)
    quantum = (COARSE if n_voxels < LARGE else FINE) / WEIGHT_ONE
    tuned = to_integer(train(start, used, steps, batch, _RATE, 1, progress, quantum))
    changes = [new.astype(np.int32) - old for new, old in zip(tuned.weights, base.weights, strict=True)]
    gain = code_length(start, held) - code_length(to_float(tuned), held)
    return changes if gain * n_voxels > 8 * len(pack_change(changes)) else None


def apply_change(base: IntegerNetwork, changes: list[np.ndarray]) -> IntegerNetwork:
    """The base with its weights changed; FormatError where that leaves the proven range."""
    weights = [layer.astype(np.int64) + change for layer, change in zip(base.weights, changes, strict=True)]
    if any(np.abs(layer).max() >= 1 << 15 for layer in weights):
        raise FormatError("The file's change of the network is not valid.")
    return IntegerNetwork(tuple(layer.astype(np.int16) for layer in weights))


def pack_change(changes: list[np.ndarray]) -> bytes:
    """Step size (one byte), then a group stream whose groups are the layers."""
    step = int(np.gcd.reduce([np.gcd.reduce(np.abs(change), axis=None) for change in changes])) or 1
    step = min(step, 255) if step < 256 else 1
    symbols = np.concatenate([change.ravel() // step for change in changes])
    return bytes([step]) + encode_groups(symbols, _layer_of_weight(changes), len(changes))


def unpack_change(data: bytes, base: IntegerNetwork) -> list[np.ndarray]:
    """What `pack_change` was given; FormatError when it cannot be."""
    groups = _layer_of_weight(base.weights)
    symbols = GroupDecoder(data[1:], len(groups)).decode(groups).astype(np.int64) * data[0]
    if np.abs(symbols).max() >= 1 << 17:
        raise FormatError("The file's change of the network is not valid.")
    parts = np.split(symbols, np.cumsum([layer.size for layer in base.weights])[:-1])
    return [part.reshape(layer.shape).astype(np.int32) for part, layer in zip(parts, base.weights, strict=True)]


def _layer_of_weight(layers) -> np.ndarray:
    return np.repeat(np.arange(len(layers), dtype=np.uint8), [layer.size for layer in layers])
