"""The `.mcmodel` file of a network with leaky rectifiers (FORMAT.md, "Codec nagoor").

    bytes      what
    8          "MCMODEL2"
    4          length n of the description, unsigned little-endian, at most 65536
    n          description, JSON in UTF-8: {"layers": [[n_out, n_in], ...], ...}
    ...        for each layer the weights, int8, row after row, and the biases, int32 little-endian
    32         SHA-256 of all bytes before
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ...errors import FormatError
from .network import MAX_WIDTH, LeakyNetwork

MAGIC = b"MCMODEL2"
MAX_DESCRIPTION = 1 << 16
MAX_LAYERS = 16
MODELS = Path(__file__).parent / "models"


@dataclass(frozen=True, eq=False)
class Model:
    """A network and its description (what it was trained on)."""

    network: LeakyNetwork
    description: dict


def pack_model(model: Model) -> bytes:
    """The bytes of a `.mcmodel` file."""
    text = json.dumps(dict(model.description, layers=[list(layer.shape) for layer in model.network.weights]),
                      sort_keys=True).encode()
    body = MAGIC + struct.pack("<I", len(text)) + text
    for layer, bias in zip(model.network.weights, model.network.biases, strict=True):
        body += layer.astype(np.int8).tobytes() + bias.astype("<i4").tobytes()
    return body + hashlib.sha256(body).digest()


def unpack_model(data: bytes) -> Model:
    """Raise FormatError when `data` is not a whole, undamaged model whose sums are proven exact."""
    if data[:8] != MAGIC or len(data) < 44:
        raise FormatError("This is not a model file of the codec nagoor.")
    if hashlib.sha256(data[:-32]).digest() != data[-32:]:
        raise FormatError("The model file is damaged: its SHA-256 does not match.")
    length = struct.unpack_from("<I", data, 8)[0]
    try:
        if length > MAX_DESCRIPTION:
            raise ValueError
        description = json.loads(data[12:12 + length].decode())
        shapes = [(int(rows), int(columns)) for rows, columns in description["layers"]]
        if not 0 < len(shapes) <= MAX_LAYERS or not all(0 < n <= MAX_WIDTH for shape in shapes for n in shape):
            raise ValueError
        if 12 + length + sum(rows * (columns + 4) for rows, columns in shapes) + 32 != len(data):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError("The model file's description is not valid.") from error
    at, weights, biases = 12 + length, [], []
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
