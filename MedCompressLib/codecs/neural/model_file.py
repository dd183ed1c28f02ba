"""The `.mcmodel` file: one integer network in a plain format (FORMAT.md, "Model file").

    bytes      what
    8          "MCMODEL1"
    4          length n of the description, unsigned little-endian, at most 65536
    n          description, JSON in UTF-8: {"layers": [[n_out, n_in + 1], ...], "neighbourhood": {...}, ...}
    2 each     weights, int16 little-endian, layer after layer, row after row, the bias last in each row
    32         SHA-256 of all bytes before

A network's name is the SHA-256 of its layer shapes (uint32 little-endian) and weights, so that a file description can
be changed without changing what streams refer to.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ...errors import FormatError
from .network import MAX_WIDTH, IntegerNetwork

MAGIC = b"MCMODEL1"
MAX_DESCRIPTION = 1 << 16
MAX_LAYERS = 16
SHIPPED = Path(__file__).parent / "models"


@dataclass(frozen=True, eq=False)
class Model:
    """A network and its description (what it was trained on, for which neighbourhood)."""

    network: IntegerNetwork
    description: dict


def pack_model(model: Model) -> bytes:
    """The bytes of a `.mcmodel` file."""
    weights = b"".join(layer.astype("<i2").tobytes() for layer in model.network.weights)
    return pack_file(MAGIC, model.description, [layer.shape for layer in model.network.weights], weights)


def unpack_model(data: bytes) -> Model:
    """Raise FormatError when `data` is not a whole, undamaged model whose sums are proven exact."""
    description, shapes, at = unpack_file(data, MAGIC, "MedCompress", lambda rows, columns: 2 * rows * columns)
    weights = []
    for rows, columns in shapes:
        weights.append(np.frombuffer(data, "<i2", rows * columns, at).reshape(rows, columns).astype(np.int16))
        at += 2 * rows * columns
    return Model(IntegerNetwork(tuple(weights)), description)


def pack_file(magic: bytes, description: dict, shapes: Sequence[tuple[int, int]], numbers: bytes) -> bytes:
    """A model file of any kind: magic, description with the shapes of the layers, their numbers, SHA-256."""
    text = json.dumps(dict(description, layers=[list(shape) for shape in shapes]), sort_keys=True).encode()
    if len(text) > MAX_DESCRIPTION:
        raise FormatError("The description of the model is longer than 65536 bytes; shorten it.")
    body = magic + struct.pack("<I", len(text)) + text + numbers
    return body + hashlib.sha256(body).digest()


def unpack_file(data: bytes, magic: bytes, whose: str,
                layer_bytes: Callable[[int, int], int]) -> tuple[dict, list[tuple[int, int]], int]:
    """The description of a model file, the shapes of its layers, and where their numbers begin.

    Parameters
    ----------
    whose : str
        For the message where the file is of another kind.
    layer_bytes : function of (rows, columns)
        How many bytes a layer takes.

    Raises
    ------
    FormatError
        `data` is not whole, is damaged, or declares impossible layers.
    """
    if data[:8] != magic or len(data) < 44:
        raise FormatError(f"This is not a {whose} model file.")
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
        if 12 + length + sum(layer_bytes(*shape) for shape in shapes) + 32 != len(data):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError("The model file's description is not valid.") from error
    return description, shapes, 12 + length


@cache
def shipped_model(name: str) -> Model:
    """The model of that name that comes with this package."""
    return unpack_model((SHIPPED / f"{name}.mcmodel").read_bytes())


def find_shipped(sha256: str) -> IntegerNetwork:
    """The shipped network with that SHA-256.

    Raises
    ------
    FormatError
        None has it.
    """
    for path in sorted(SHIPPED.glob("*.mcmodel")):
        network = shipped_model(path.stem).network
        if network.sha256 == sha256:
            return network
    raise FormatError("The file needs a neural model that this version of MedCompress does not have; "
                      "decode it with the version that wrote it, or a later one.")
