"""Fine-tuning of the shipped network on one volume, and its result as a few bits a weight.

"Train on slices of the volume itself" is the seed idea of Nagoor et al. (ICIP 2020), turned into an option of the
encoder: what changes is rounded to coarse steps and travels in the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ...entropy import GroupDecoder, encode_groups
from ...errors import FormatError
from .fitting import InputSampler
from .network import WEIGHT_ONE, IntegerNetwork
from .presets import Preset
from .training import Rounds, code_length, to_float, to_integer, train

LARGE = 1_000_000
COARSE, FINE = 6, 4
"""Changes are whole multiples of so many 1/128, in volumes below LARGE voxels and in others."""

_RATE = 3e-3
_FEWEST, _WEIGHED = 5000, 30_000


def tune(base: IntegerNetwork, sampler: InputSampler, steps: int, settings: Preset,
         progress: Callable[[float], None]) -> IntegerNetwork:
    """Fine-tune a network; the base itself where no change pays for itself.

    No samples are held back: the network is to be good at these very voxels, so the more of them it sees the better.
    """
    voxels = min(settings.round_voxels, sampler.n_voxels)
    n_rounds = settings.rounds if sampler.n_voxels > voxels else 1
    with ThreadPoolExecutor(1) as pool:
        rounds = Rounds(lambda: sampler.draw(voxels), n_rounds, -(-steps // n_rounds), pool)
        if len(rounds.samples) < _FEWEST:
            return base
        start = to_float(base)
        quantum = (COARSE if sampler.n_voxels < LARGE else FINE) / WEIGHT_ONE
        tuned = to_integer(train(start, rounds, steps, settings.tuning_batch, _RATE, 1, progress, quantum))
    some = rounds.samples.batch(_WEIGHED, np.random.default_rng(1))
    gain = code_length(start, some) - code_length(to_float(tuned), some)
    return tuned if gain * sampler.n_voxels * sampler.rough_share > 8 * len(pack_change(tuned, base)) else base


def pack_change(network: IntegerNetwork, base: IntegerNetwork) -> bytes:
    """What changes weights of `base` into those of `network`: the changes' greatest common divisor (one byte), then a
    group stream of them divided by it, whose groups are the layers."""
    changes = np.concatenate([(new.astype(np.int32) - old).ravel()
                              for new, old in zip(network.weights, base.weights, strict=True)])
    step = int(np.gcd.reduce(np.abs(changes)))
    step = step if 0 < step < 256 else 1
    return bytes([step]) + encode_groups(changes // step, _layer_of_weight(base.weights), len(base.weights))


def unpack_change(data: bytes, base: IntegerNetwork) -> IntegerNetwork:
    """The network that `pack_change` was given; FormatError when there can be none."""
    groups = _layer_of_weight(base.weights)
    decoder = GroupDecoder(data[1:], len(base.weights), len(groups))
    changes = decoder.decode(groups).astype(np.int64) * data[0]
    decoder.finish()
    parts = np.split(changes, np.cumsum([layer.size for layer in base.weights])[:-1])
    weights = [layer + part.reshape(layer.shape) for layer, part in zip(base.weights, parts, strict=True)]
    if any(np.abs(layer).max() >= 1 << 15 for layer in weights):
        raise FormatError("The file's change of the network is not valid.")
    return IntegerNetwork(tuple(layer.astype(np.int16) for layer in weights))


def _layer_of_weight(layers) -> np.ndarray:
    return np.repeat(np.arange(len(layers), dtype=np.uint8), [layer.size for layer in layers])
