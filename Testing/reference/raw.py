"""Section 10.1: the codec `raw`."""

import numpy as np

from .refuse import require


def decode_slab(config: dict, model: bytes, maximum: int, payload: bytes, shape: tuple) -> np.ndarray:
    """Samples of a slab."""
    require(set(config) == {"width"} and config["width"] in (1, 2, 3) and not model, "the configuration")
    width = config["width"]
    size = int(np.prod(shape))
    require(len(payload) == width * size, "a payload of another length")
    samples = [int.from_bytes(payload[place:place + width], "little") for place in range(0, len(payload), width)]
    return np.array(samples).reshape(shape)
