"""Section 10.1: the codec `raw`."""

from collections.abc import Callable
from functools import partial

import numpy as np

from .refuse import require


def set_up(config: dict, model: bytes, _: int) -> Callable:
    """The function that makes samples of the payload and the shape of a slab."""
    require(set(config) == {"width"} and type(config["width"]) is int and not model, "the configuration")
    require(1 <= config["width"] <= 3, "the width")
    return partial(decode_slab, config["width"])


def decode_slab(width: int, payload: bytes, shape: tuple) -> np.ndarray:
    """Samples of a slab."""
    size = int(np.prod(shape))
    require(len(payload) == width * size, "a payload of another length")
    samples = [int.from_bytes(payload[place:place + width], "little") for place in range(0, len(payload), width)]
    return np.array(samples).reshape(shape)
