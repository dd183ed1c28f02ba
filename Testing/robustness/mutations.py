"""Mutations of `.mcz` files: of the bytes, and of each part with the checksums made right again.

Checksums stop nearly all plain damage, so most mutations work behind them: on header, index, metadata, model, payload
and residue, and on the symbols inside group streams, which are coded again so that extreme values reach the decoders.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import surgery
from reference.entropy import Bytes, GroupStream
from reference.refuse import RefusedError

from MedCompressLib.entropy import encode_groups

VALUES = [0, 1, -1, 2, 7, 8, 15, 16, 17, 31, 32, 63, 64, 255, 256, 65535, 65536, 2**24 - 1, 2**24, 2**31 - 1, 2**31,
          2**32 - 1, 2**32, 2**40, 2**53, 2**63, 2**64, -2**31, 1e300, 0.5, "", "x", "int32", "A" * 1000, None, True,
          [], {}, [0], [[]]]
SYMBOLS = [0, 1, -1, 2, -2, 127, 255, 4096, -4096, 65535, 2**20, -2**20, 2**24, 2**30, 2**31 - 1, -2**31]
MOST_SYMBOLS = 20_000  # in a stream that is decoded and coded again

Random = np.random.Generator
Mutation = Callable[[surgery.File, Random], None]


def damage(data: bytes, rng: Random) -> bytes:
    """Bytes cut off, flipped, replaced, removed, inserted, zeroed, moved or repeated."""
    if not data:
        return rng.bytes(int(rng.integers(1, 40)))
    place, other = sorted(int(at) for at in rng.integers(0, len(data), 2))
    piece = int(2 ** rng.uniform(0, 6))
    match rng.integers(10):
        case 0:
            return data[:place]
        case 1 | 2 | 3:
            damaged = bytearray(data)
            for at in rng.integers(0, len(data), rng.integers(1, 5)):
                damaged[at] ^= 1 << int(rng.integers(8))
            return bytes(damaged)
        case 4:
            return data[:place] + rng.bytes(piece) + data[place + piece:]
        case 5:
            return data[:place] + data[place + piece:]
        case 6:
            return data[:place] + rng.bytes(piece) + data[place:]
        case 7:
            return data[:place] + bytes([rng.choice([0, 127, 128, 255])]) * piece + data[place + piece:]
        case 8:
            return data[:place] + data[other:] + data[place:other]
        case _:
            return data[:place] + data[place:place + piece] * int(rng.integers(2, 5)) + data[place + piece:]


def early_damage(data: bytes, rng: Random) -> bytes:
    """Damage among the first bytes, where sizes and tables stand."""
    cut = min(len(data), int(2 ** rng.uniform(2, 8)))
    return damage(data[:cut], rng) + data[cut:]


def other_symbols(stream: bytes, rng: Random) -> bytes:
    """A group stream (with some varints before it, or none) of which a few symbols have other values."""
    for varints in (0, 3):
        try:
            reader = Bytes(stream)
            for _ in range(varints):
                reader.varint()
            head = reader.place
            groups = GroupStream(reader, Bytes(stream[head:]).varint(), MOST_SYMBOLS)
        except RefusedError:
            continue
        symbols = [list(each) for each in groups.symbols]
        used = [group for group, each in enumerate(symbols) if each]
        for _ in range(rng.integers(1, 6) if used else 0):
            each = symbols[rng.choice(used)]
            if not each:
                continue
            place = int(rng.integers(len(each)))
            match rng.integers(5):
                case 0:
                    each.insert(place, each[place])
                case 1:
                    del each[place]
                case _:
                    each[place] = int(rng.choice(SYMBOLS))
        numbers = np.repeat(np.arange(len(symbols)), [len(each) for each in symbols]).astype(np.uint16)
        flat = np.array([symbol for each in symbols for symbol in each], np.int32)
        return stream[:head] + encode_groups(flat, numbers, len(symbols))
    return damage(stream, rng)


def any_damage(stream: bytes, rng: Random) -> bytes:
    return (damage, damage, early_damage, early_damage, other_symbols)[rng.integers(5)](stream, rng)


def mutate_slab(file: surgery.File, rng: Random) -> None:
    slab = file.slabs[rng.integers(len(file.slabs))]
    slab.payload = any_damage(slab.payload, rng)


def mutate_residue(file: surgery.File, rng: Random) -> None:
    slab = file.slabs[rng.integers(len(file.slabs))]
    slab.residue = damage(slab.residue, rng)


def mutate_model(file: surgery.File, rng: Random) -> None:
    file.model = any_damage(file.model, rng)


def change_value(where: dict | list, rng: Random) -> None:
    """One value, however deep, becomes another, or goes."""
    while True:
        keys = list(where) if isinstance(where, dict) else list(range(len(where)))
        if not keys:
            return
        key = keys[rng.integers(len(keys))]
        value = where[key]
        if not isinstance(value, (dict, list)) or not value or rng.integers(5) == 0:
            break
        where = value
    choice = rng.integers(8)
    if choice == 0:
        del where[key]
    elif isinstance(value, int) and choice < 5:
        where[key] = value + int(rng.integers(-3, 4))
    elif isinstance(value, str) and value and choice < 5:
        at = int(rng.integers(len(value)))
        where[key] = value[:at] + chr(int(rng.integers(32, 127))) + value[at + 1:]
    else:
        where[key] = deepcopy(VALUES[rng.integers(len(VALUES))])  # which may itself be changed later


def mutate_codec(file: surgery.File, rng: Random) -> None:
    fields = file.fields
    change_value(fields["codec"]["config"] or fields["codec"], rng)
    file.fields = fields


def mutate_header(file: surgery.File, rng: Random) -> None:
    fields = file.fields
    for _ in range(rng.integers(1, 3)):
        change_value(fields, rng)
    file.fields = fields


def mutate_header_text(file: surgery.File, rng: Random) -> None:
    file.header = damage(file.header, rng)


def mutate_metadata(file: surgery.File, rng: Random) -> None:
    deep = int(2 ** rng.uniform(0, 16))
    texts = [b"[" * deep + b"]" * deep, b'{"a":' * deep + b"1" + b"}" * deep, b'{"a":1,"a":2}', b'{"a":NaN}',
             b'{"a":1e999}', b'{"a":' + b"9" * deep + b"}", b'{"a":"\\ud800"}', b"\xff", b"", b"null", b'{"a":"\x00"}']
    match rng.integers(3):
        case 0:
            file.set_metadata(texts[rng.integers(len(texts))])
        case 1:
            file.set_metadata(damage(json.dumps({"a": [1, {"b": None}], "c": "text"}).encode(), rng))
        case _:
            file.metadata = damage(file.metadata, rng)


def mutate_index(file: surgery.File, rng: Random) -> None:
    if not file.slabs:
        return
    slab = file.slabs[rng.integers(len(file.slabs))]
    match rng.integers(5):
        case 0:
            slab.storage = int(rng.choice([0, 1, 2, 2**32 - 1]))
        case 1 | 2:
            name = ("offset", "payload_length", "residue_length")[rng.integers(3)]
            setattr(slab, name, int(rng.integers(2**32)) >> int(rng.integers(32)))
        case 3:
            place = int(rng.integers(len(file.slabs)))
            file.slabs.insert(place, file.slabs[rng.integers(len(file.slabs))])
        case _:
            file.slabs.remove(slab)


def mutate_fixed(file: surgery.File, rng: Random) -> None:
    name = ("header_length", "metadata_length", "slab_count", "model_length", "file_length")[rng.integers(5)]
    wide = name in ("model_length", "file_length")
    match rng.integers(3):
        case 0:
            file.matrix = tuple(float(rng.choice([0, 1, np.nan, np.inf, 1e308, 5e-324])) for _ in range(16))
        case 1:
            file.forced = {name: int(rng.integers(2**63 if wide else 2**32)) >> int(rng.integers(63 if wide else 32))}
        case _:
            file.version, file.reserved = (int(number) for number in rng.integers(0, 3, 2))


OF_CODEC: list[Mutation] = [mutate_slab] * 5 + [mutate_model] * 3 + [mutate_residue, mutate_codec]
OF_CONTAINER: list[Mutation] = [mutate_header, mutate_header_text, mutate_metadata, mutate_index, mutate_fixed]


def mutate(data: bytes, mutations: list[Mutation], rng: Random) -> bytes:
    """A mutated file; one in ten with plain damage, the others with right checksums."""
    if rng.integers(10) == 0:
        return damage(data, rng)
    file = surgery.File.split(data)
    if file.slabs and rng.integers(4) == 0:
        mutate_slab(file, rng)
    mutations[rng.integers(len(mutations))](file, rng)
    return file.join()
