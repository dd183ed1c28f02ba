"""The `.mcmodel` file of a network with leaky rectifiers (FORMAT.md, "Codec nagoor").

    bytes      what
    8          "MCMODEL2"
    4          length n of the description, unsigned little-endian, at most 65536
    n          description, JSON in UTF-8: {"layers": [[n_out, n_in], ...], ...}
    ...        for each layer the weights, int8, row after row, and the biases, int32 little-endian
    32         SHA-256 of all bytes before
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ..neural.model_file import pack_file, unpack_file
from .network import LeakyNetwork

MAGIC = b"MCMODEL2"
MODELS = Path(__file__).parent / "models"


@dataclass(frozen=True, eq=False)
class Model:
    """A network and its description (what it was trained on)."""

    network: LeakyNetwork
    description: dict


def pack_model(model: Model) -> bytes:
    """The bytes of a `.mcmodel` file."""
    network = model.network
    numbers = b"".join(layer.astype(np.int8).tobytes() + bias.astype("<i4").tobytes()
                       for layer, bias in zip(network.weights, network.biases, strict=True))
    return pack_file(MAGIC, model.description, [layer.shape for layer in network.weights], numbers)


def unpack_model(data: bytes) -> Model:
    """Raise FormatError when `data` is not a whole, undamaged model whose sums are proven exact."""
    description, shapes, at = unpack_file(data, MAGIC, "nagoor", lambda rows, columns: rows * (columns + 4))
    weights, biases = [], []
    for rows, columns in shapes:
        weights.append(np.frombuffer(data, np.int8, rows * columns, at).reshape(rows, columns))
        at += rows * columns
        biases.append(np.frombuffer(data, "<i4", rows, at).astype(np.int32))
        at += 4 * rows
    return Model(LeakyNetwork(tuple(weights), tuple(biases)), description)


@cache
def shipped_network(name: str) -> LeakyNetwork:
    """The network of that name that comes with this package."""
    return unpack_model((MODELS / f"{name}.mcmodel").read_bytes()).network
