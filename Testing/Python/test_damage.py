"""Damaged files: 200 of each codec are truncated, flipped or changed. Each is refused with a clear sentence; none gives
wrong voxels, hangs or takes much memory.

Beside plain damage, which the checksums catch, fields are changed and every checksum is made right again, so that
what stands behind them is reached: header, index, models, payloads.
"""

import json
import time
import tracemalloc
from functools import cache

import numpy as np
import pytest
import surgery

import MedCompressLib as mc
from MedCompressLib.codecs import codec_ids

FILES = 200
SHAPE = (12, 22, 24)
SECONDS = 20.0  # of processor time, with memory traced
BYTES = 1 << 30
INTERESTING = [0, 1, -1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 255, 256, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1,
               2**32, 2**40, 2**63, 2**64, -2**31, 1e300, 0.5, "", "x", "int32", None, True, [], {}, [0], [[]],
               "A" * 1000]


def labels() -> mc.Volume:
    k, j, i = np.indices(SHAPE)
    voxels = ((k // 4 + j // 9 + i // 13) % 5).astype(np.uint8)
    return mc.Volume(voxels, metadata={"Segments": ["a", "b"]})


def anatomy() -> mc.Volume:
    rng = np.random.default_rng(0)
    k, j, i = np.indices(SHAPE)
    voxels = 900 * np.sin(k / 5) + 500 * np.sin(j / 7) * np.cos(i / 9) + rng.normal(0, 8, k.shape)
    return mc.Volume(voxels.astype(np.int16), np.diag([0.7, 0.7, 2.5, 1.0]), metadata={"PatientID": "x", "n": [1, 2]})


def floats() -> mc.Volume:
    """With residue bytes."""
    return mc.Volume(np.random.default_rng(1).normal(0, 1, (3, 4, 20, 22)).astype(np.float32), axes="tkji")


@cache
def volume_and_file(name: str) -> tuple[mc.Volume, bytes]:
    """A volume and its file in a codec, or of floats, cut into a few slabs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("MedCompressLib.slabs.SMALL_VOLUME_VOXELS", 0)
        patch.setattr("MedCompressLib.slabs.SLAB_VOXELS", 4 * SHAPE[1] * SHAPE[2])
        if name == "floats":
            return floats(), mc.compress(floats())
        volume = labels() if name == "runs" else anatomy()
        data = mc.compress(volume, codec=name)
    assert mc.info(data)["codec"] == name and mc.info(data)["slabs"]["count"] >= 3
    return volume, data


def outcome(data: bytes, trace: bool = True) -> mc.Volume | str:
    """The volume, or what is said against the file; anything else than that, too long or too much, fails.

    Memory is traced on request only, since that makes everything several times slower.
    """
    if trace:
        tracemalloc.start()
    started = time.process_time()
    try:
        result = mc.decompress(data, threads=1)
    except mc.FormatError as error:
        result = str(error)
    finally:
        seconds = time.process_time() - started
        if trace:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < BYTES
    assert seconds < SECONDS
    if isinstance(result, str):
        assert 10 < len(result) < 600 and "\n" not in result and result.endswith((".", ")"))
    return result


def plain_damage(data: bytes, rng: np.random.Generator) -> bytes:
    """A truncation, flipped bits, random bytes, or a piece moved, doubled, removed or zeroed."""
    place, other = sorted(int(at) for at in rng.integers(0, len(data), 2))
    piece = int(rng.integers(1, 64))
    match rng.integers(8):
        case 0:
            return data[:place]
        case 1 | 2:
            damaged = bytearray(data)
            for at in rng.integers(0, len(data), rng.integers(1, 4)):
                damaged[at] ^= 1 << int(rng.integers(8))
            return bytes(damaged)
        case 3:
            return data[:place] + rng.bytes(piece) + data[place + piece:]
        case 4:
            return data[:place] + data[place + piece:]
        case 5:
            return data[:place] + rng.bytes(piece) + data[place:]
        case 6:
            return data[:place] + bytes(piece) + data[place + piece:]
        case _:
            return data[:place] + data[other:] + data[place:other]


def change_header(parts: surgery.File, rng: np.random.Generator) -> None:
    """One value of the header, however deep, becomes another."""
    fields = parts.fields
    where, key = fields, None
    while True:
        keys = list(where) if isinstance(where, dict) else list(range(len(where)))
        key = keys[rng.integers(len(keys))]
        if not isinstance(where[key], (dict, list)) or not where[key] or rng.integers(4) == 0:
            break
        where = where[key]
    value = where[key]
    if isinstance(value, int) and rng.integers(2):
        where[key] = value + int(rng.integers(-3, 4))
    elif isinstance(value, str) and value and rng.integers(2):
        at = int(rng.integers(len(value)))
        where[key] = value[:at] + chr(int(rng.integers(32, 127))) + value[at + 1:]
    else:
        where[key] = INTERESTING[rng.integers(len(INTERESTING))]
    parts.fields = fields


def change_slab(parts: surgery.File, rng: np.random.Generator) -> None:
    """Payload or residue of a slab is damaged, or what the index says of it."""
    slab = parts.slabs[rng.integers(len(parts.slabs))]
    match rng.integers(6):
        case 0:
            slab.storage = int(rng.choice([0, 1, 2, 2**32 - 1]))
        case 1:
            setattr(slab, ["offset", "payload_length", "residue_length"][rng.integers(3)], int(rng.integers(2**32)))
        case 2:
            slab.residue = plain_damage(slab.residue, rng) if slab.residue else rng.bytes(9)
        case _:
            slab.payload = plain_damage(slab.payload, rng) if slab.payload else rng.bytes(9)


def change_model(parts: surgery.File, rng: np.random.Generator) -> None:
    parts.model = plain_damage(parts.model, rng) if parts.model else rng.bytes(20)


def change_length(parts: surgery.File, rng: np.random.Generator) -> None:
    name = ["header_length", "metadata_length", "slab_count", "model_length", "file_length"][rng.integers(5)]
    wide = name in ("model_length", "file_length")
    parts.forced = {name: int(rng.integers(2**63 if wide else 2**32)) >> int(rng.integers(32))}


@pytest.mark.parametrize("name", [*codec_ids(research=False), "floats"])
def test_damage_is_refused(name):
    volume, data = volume_and_file(name)
    rng = np.random.default_rng(100)
    for number in range(FILES):
        damaged = plain_damage(data, rng)
        if damaged != data:
            assert isinstance(outcome(damaged, trace=number % 8 == 0), str)
    assert outcome(data).equals(volume)


@pytest.mark.parametrize("name", [*codec_ids(research=False), "floats"])
def test_changed_fields_with_right_checksums(name):
    """What is accepted has the right voxels: they are held against their digests."""
    volume, data = volume_and_file(name)
    rng = np.random.default_rng(200)
    refused = 0
    for number in range(FILES):
        parts = surgery.File.split(data)
        (change_header, change_slab, change_model, change_length)[number % 4](parts, rng)
        changed = parts.join()
        result = outcome(changed, trace=number // 4 % 4 == 0)
        if isinstance(result, str):
            refused += 1
            assert number % 8 or not mc.verify(changed, threads=1).ok
        else:
            assert result.voxels.tobytes() == volume.voxels.tobytes()
    assert refused > FILES / 2


@pytest.mark.parametrize("name", codec_ids(research=False))
def test_every_truncation_near_a_boundary(name):
    _, data = volume_and_file(name)
    boundary = 0
    for length in mc.info(data)["section_bytes"].values():
        for cut in range(max(boundary - 2, 0), min(boundary + 3, len(data))):
            assert isinstance(outcome(data[:cut], trace=False), str)
        boundary += length


def test_partial_decoding_never_returns_damage():
    volume, data = volume_and_file("raw")
    rng = np.random.default_rng(300)
    for _ in range(100):
        damaged = plain_damage(data, rng)
        for k in range(0, 12, 3):
            try:
                part = mc.decompress(damaged, slices=slice(k, k + 3), threads=1)
            except mc.FormatError:
                continue
            assert np.array_equal(part.voxels, volume.voxels[k:k + 3])


def test_reports_survive_damage_too():
    """`info` and `verify` say the same as decoding, and never fail otherwise."""
    _, data = volume_and_file("raw")
    rng = np.random.default_rng(400)
    for _ in range(100):
        damaged = plain_damage(data, rng)
        try:
            json.dumps(mc.info(damaged))
        except mc.FormatError:
            assert not mc.verify(damaged, threads=1).ok
        assert mc.verify(damaged, threads=1).ok == (damaged == data)
