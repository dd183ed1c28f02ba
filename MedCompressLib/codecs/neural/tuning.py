"""Fine-tuning of the shipped network on one volume, and its result as a few bits a weight.

"Train on slices of the volume itself" is the seed idea of Nagoor et al. (ICIP 2020), turned into an option of the
encoder: what changes is rounded to coarse steps and travels in the stream.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...entropy import GroupDecoder, encode_groups
from ...errors import FormatError
from .network import IntegerNetwork
from .training import Samples, code_length, to_float, to_integer, train

_STEP_SIZES = (4, 8, 16)
_MAX_CHANGE = 1 << 15
_RATE = 2e-3


def tune(base: IntegerNetwork, samples: Samples, steps: int, batch: int, n_voxels: int,
         progress: Callable[[float], None]) -> list[np.ndarray] | None:
    """Fine-tune and round.

    Parameters
    ----------
    base : IntegerNetwork
    samples : Samples
        Of the volume; a tenth is held back to choose how coarse the rounding is.
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
    best_bits, best = code_length(to_float(base), held) * n_voxels, None
    start = to_float(base)
    tuned = train(start, used, steps, batch, _RATE, 1, progress)
    for size in _STEP_SIZES:
        changes = [(np.rint((new - old) * (128 / size)) * size).astype(np.int32)
                   for new, old in zip(tuned, start, strict=True)]
        network = to_integer([old + change / np.float32(128) for old, change in zip(start, changes, strict=True)])
        changes = [(new.astype(np.int32) - old) for new, old in zip(network.weights, base.weights, strict=True)]
        bits = code_length(to_float(network), held) * n_voxels + 8 * len(pack_change(changes))
        if bits < best_bits:
            best_bits, best = bits, changes
    return best


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
