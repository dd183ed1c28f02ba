"""Sections 2 to 7 and 12: the file and its parts, every one of them checked."""

import json
import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from .checksums import crc32c
from .refuse import RefusedError, require

MAGIC = b"\x89MCZ\r\n\x1a\n"
VERSIONS = (1, 2)
VOLUME, ARCHIVE = 0, 1
FIXED = struct.Struct("<8s HH II II II I QQ 32s 16d I")
ENTRY = struct.Struct("<Q I I I I 8s")
CHUNK = struct.Struct("<II")
AXES = ("kji", "kjic", "tkji", "tkjic")
DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")

MAX_REGIONS = 16

# Section 12
MAX_AXIS = 2**31 - 1
MAX_VOXELS = 2**40
MAX_SLICE_VOXELS = 2**26
MAX_SLAB_VOXELS = 2**24
MAX_SLAB_SLICES = 2**14
MAX_SLABS = 2**20
MAX_HEADER = 2**22
MAX_METADATA = 2**24
MAX_MODEL = 2**26
MAX_LAYERS = 256
MAX_CHUNKS = 2**22
MAX_NESTING = 100
MAX_METADATA_NESTING = 64
LEAST_DETERMINANT = 1e-9


@dataclass
class Slab:
    """An entry of the index, the bytes it points to, and its place in the grid (section 7)."""

    chunks: list[bytes]
    residue: bytes
    storage: int
    digest: bytes
    frames: slice
    slices: slice


@dataclass
class File:
    """The sections of a file."""

    header: dict
    metadata: dict
    model: bytes
    slabs: list[Slab]
    voxel_digest: bytes
    ijk_to_ras: np.ndarray


def read(data: bytes, layers_wanted: list[int] | None = None, budget: int = 0) -> File:
    """Take a file apart; or of the chunks only those of some layers that come within the first bytes to be read."""
    require(data[:8] == MAGIC, "the magic is missing")
    require(len(data) >= FIXED.size, "the fixed part is not whole")
    (_, version, kind, header_length, header_crc, metadata_length, metadata_crc, slab_count, index_crc, model_crc,
     model_length, file_length, digest, *matrix, fixed_crc) = FIXED.unpack_from(data)
    require(version in VERSIONS, f"version {version} is unknown")
    require(fixed_crc == crc32c(data[:FIXED.size - 4]), "the fixed part is damaged")
    require(kind == VOLUME, "an archive, not a volume")
    require(file_length == len(data), "the file has another length than it says")
    for name, value, limit in (("header", header_length, MAX_HEADER), ("metadata", metadata_length, MAX_METADATA),
                               ("slab count", slab_count, MAX_SLABS), ("model", model_length, MAX_MODEL)):
        require(value <= limit, f"{name} beyond the limit")

    place = FIXED.size

    def section(length: int, crc: int) -> bytes:
        nonlocal place
        taken = data[place:place + length]
        require(len(taken) == length, "a section does not fit into the file")
        require(crc32c(taken) == crc, "a section is damaged")
        place += length
        return taken

    header, metadata = section(header_length, header_crc), section(metadata_length, metadata_crc)
    fields = parse_json(header, MAX_NESTING)
    check_header(fields)
    layers = fields.get("layers", 1)
    require(type(layers) is int and 1 <= layers <= MAX_LAYERS, "the layers")
    require(layers == 1 or layers * slab_count <= MAX_CHUNKS, "too many chunks")
    placed = chunk_order(fields, layers, slab_count)
    table_length = CHUNK.size * layers * slab_count if layers > 1 else 0
    index = section(slab_count * ENTRY.size + table_length, index_crc)
    model = section(model_length, model_crc)
    index, table = index[:slab_count * ENTRY.size], index[slab_count * ENTRY.size:]
    ijk_to_ras = np.array(matrix).reshape(4, 4)
    require(np.isfinite(ijk_to_ras).all() and ijk_to_ras[3].tolist() == [0, 0, 0, 1], "the matrix is not affine")
    require(is_invertible(ijk_to_ras[:3, :3]), "the matrix is not invertible")
    places = grid(fields)
    require(len(places) == slab_count, "the index does not belong to the grid")
    if layers_wanted is not None:
        slabs = [Slab([], b"", 0, b"", frames, slices) for frames, slices in places]
        take_first_chunks(data, place, table, placed, slabs, layers_wanted, budget)
        return File(fields, read_metadata(metadata), model, slabs, digest, ijk_to_ras)
    chunks, table_end, entries = {}, place, list(CHUNK.iter_unpack(table))
    for number in placed if layers > 1 else ():
        length, _ = entries[number]
        chunks[number] = data[place:place + length]
        require(len(chunks[number]) == length, "a chunk is not whole")
        place += length
    slabs, start = [], table_end
    for number, (entry, (frames, slices)) in enumerate(zip(ENTRY.iter_unpack(index), places, strict=True)):
        offset, payload_length, residue_length, crc, storage, slab_digest = entry
        own = [chunks[layer * slab_count + number] for layer in range(layers if layers > 1 else 0)]
        if layers == 1:
            own, start = [data[place:place + payload_length]], place
            place += payload_length
        residue = data[place:place + residue_length]
        payload = b"".join(own)
        require(offset == start and len(payload) == payload_length and len(residue) == residue_length,
                "a slab is not where it should be")
        require(crc32c(payload + residue) == crc, "a slab is damaged")
        require(storage in (0, 1), "the storage of a slab is unknown")
        slabs.append(Slab(own, residue, storage, slab_digest, frames, slices))
        place += residue_length
        start += len(own[0])
    require(place == len(data), "something follows the last slab")
    return File(fields, read_metadata(metadata), model, slabs, digest, ijk_to_ras)


def is_invertible(steps: np.ndarray) -> bool:
    """Whether the columns span a space, whatever their lengths."""
    largest = np.abs(steps).max(0)
    if not largest.all():
        return False
    steps = steps / largest
    return abs(np.linalg.det(steps / np.linalg.norm(steps, axis=0))) >= LEAST_DETERMINANT


def chunk_order(fields: dict, layers: int, slab_count: int) -> list[int]:
    """Places in the table of the chunks, in the order in which they stand in the file."""
    after, groups = layers, []
    if "first" in fields:
        first = fields["first"]
        require(isinstance(first, dict) and set(first) == {"after", "slabs"} and type(first["after"]) is int
                and isinstance(first["slabs"], list) and 1 <= first["after"] < layers, "the first slabs")
        after, groups = first["after"], first["slabs"]
        require(all(isinstance(group, list) and group for group in groups), "the first slabs")
        named = [number for group in groups for number in group]
        require(all(type(number) is int and 0 <= number < slab_count for number in named), "the first slabs")
        require(len(set(named)) == len(named), "the first slabs")
        groups = [*groups, [number for number in range(slab_count) if number not in named]]
    early = [layer * slab_count + number for layer in range(after) for number in range(slab_count)]
    return early + [layer * slab_count + number for group in groups for layer in range(after, layers)
                    for number in group]


def take_first_chunks(data: bytes, place: int, table: bytes, placed: list[int], slabs: list[Slab], layers: list[int],
                      budget: int) -> None:
    """The chunks of some layers, in the order of the file, as long as their bytes and all before the slabs suffice."""
    used, entries = place, list(CHUNK.iter_unpack(table))
    for number in placed:
        length, crc = entries[number]
        if number // len(slabs) in layers:
            used += length
            if used > budget or place + length > len(data):
                return
            require(crc32c(data[place:place + length]) == crc, "a chunk is damaged")
            slabs[number % len(slabs)].chunks.append(data[place:place + length])
        place += length


def parse_json(text: bytes, nesting: int) -> dict:
    """An object in JSON (sections 1, 4 and 5)."""
    def unique(pairs: list) -> dict:
        require(len(dict(pairs)) == len(pairs), "a key occurs twice")
        return dict(pairs)

    def no_constant(name: str) -> None:
        raise RefusedError(f"{name} is no JSON")

    def depth(value: object) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant)
        deep = depth(value) > nesting
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"no JSON: {error}") from error
    require(isinstance(value, dict) and not deep, "not an object, or nested too deep")
    return value


def check_header(header: dict) -> None:
    """Section 4, as far as it does not belong to sample map and codec."""
    missing = {"axes", "shape", "dtype", "slab", "samples", "codec", "quality"} - set(header)
    require(not missing, f"the header lacks {missing}")
    axes, shape, sequence, slab = header["axes"], header["shape"], header.get("sequence"), header["slab"]
    require(axes in AXES, "unknown axes")
    require(isinstance(shape, list) and len(shape) == len(axes), "a shape without the axes")
    require(all(type(n) is int and 1 <= n <= MAX_AXIS for n in shape), "the shape")
    require(header["dtype"] in DTYPES, "unknown dtype")
    check_quality(header["quality"])
    require((sequence is not None) == ("t" in axes), "a sequence is there exactly with a t axis")
    if sequence is not None:
        require(isinstance(sequence, dict) and set(sequence) == {"index_name", "unit", "values"}, "the sequence")
        values = sequence["values"]
        require(isinstance(values, list) and len(values) == shape[0], "one value for each frame")
        require(all(isinstance(text, str) for text in [sequence["index_name"], sequence["unit"], *values]), "strings")
    frames, slices, rows, columns = frames_shape(header)
    require(frames * slices * rows * columns <= MAX_VOXELS and rows * columns <= MAX_SLICE_VOXELS, "too many voxels")
    require(isinstance(slab, dict) and set(slab) == {"frames", "slices"}, "the slab")
    for size, most in ((slab["frames"], frames), (slab["slices"], slices)):
        require(type(size) is int and 1 <= size <= most, "the size of a slab")
    require(slab["slices"] <= MAX_SLAB_SLICES, "too many slices in a slab")
    of_slab = slab["frames"] * slab["slices"]
    require(of_slab == 1 or of_slab * rows * columns <= MAX_SLAB_VOXELS, "too many voxels in a slab")
    require(isinstance(header["samples"], dict) and header["samples"].get("dtype") == header["dtype"], "the samples")
    codec = header["codec"]
    require(isinstance(codec, dict) and set(codec) == {"id", "config", "preset"}, "the codec")
    require(isinstance(codec["id"], str) and isinstance(codec["preset"], str) and isinstance(codec["config"], dict),
            "the codec")


def check_quality(quality: object) -> None:
    """`quality` of section 4."""
    require(isinstance(quality, dict), "the quality")
    if quality == {"kind": "lossless"}:
        return
    if quality.get("kind") == "constant-background":
        require(set(quality) == {"kind", "value", "reached"} and type(quality["value"]) is int
                and isinstance(quality["reached"], dict), "unknown quality")
        return
    if quality.get("kind") == "lossy":
        require(set(quality) - {"regions"} == {"kind", "target", "reached"}, "unknown quality")
        regions = quality.get("regions", [None])
        require(isinstance(regions, list) and 1 <= len(regions) <= MAX_REGIONS
                and all(n is None or (type(n) is int and n >= 0) for n in regions), "the regions")
        target = quality["target"]
        require(isinstance(target, dict) and len(target) == 1 and isinstance(quality["reached"], dict), "the target")
        require(all(name in ("ratio", "bits_per_voxel", "psnr_db") and type(number) in (int, float) and number >= 0
                    for name, number in target.items()), "the target")
        return
    require(quality.get("kind") == "near-lossless" and set(quality) - {"regions"} == {"kind", "max_error", "reached"},
            "unknown quality")
    regions = quality.get("regions", [0])
    require(isinstance(regions, list) and 1 <= len(regions) <= MAX_REGIONS
            and all(type(n) is int and n >= 0 for n in regions), "the regions")
    require(type(quality["max_error"]) is int and quality["max_error"] > 0, "the largest error")


def frames_shape(header: dict) -> tuple[int, int, int, int]:
    """The shape of (frames, k, j, i), see section 1."""
    length = dict(zip(header["axes"], header["shape"], strict=True))
    return length.get("t", 1) * length.get("c", 1), length["k"], length["j"], length["i"]


def grid(header: dict) -> list[tuple[slice, slice]]:
    """Frames and slices of each slab (section 7)."""
    frames, slices, _, _ = frames_shape(header)
    high, deep = header["slab"]["frames"], header["slab"]["slices"]
    columns = math.ceil(slices / deep)
    count = math.ceil(frames / high) * columns
    require(count <= MAX_SLABS, "too many slabs")
    return [(slice(high * (n // columns), min(high * (n // columns) + high, frames)),
             slice(deep * (n % columns), min(deep * (n % columns) + deep, slices))) for n in range(count)]


def read_metadata(section: bytes) -> dict:
    """Section 5."""
    metadata = parse_json(inflate(section, MAX_METADATA), MAX_NESTING) if section else {}
    check_metadata(metadata, 0)
    return metadata


def check_metadata(value: object, within: int) -> None:
    """No value is within too many others, a number without end, or a text that is none."""
    require(within <= MAX_METADATA_NESTING, "metadata nested too deep")
    require(not isinstance(value, float) or math.isfinite(value), "a number beyond the range")
    if isinstance(value, dict):
        for name in value:
            check_metadata(name, within)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_metadata(inner, within + 1)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RefusedError("half a surrogate pair") from error


def inflate(stream: bytes, limit: int) -> bytes:
    """A zlib stream that ends where the bytes end and gives no more than `limit` bytes."""
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(stream, limit + 1)
    except zlib.error as error:
        raise RefusedError(f"no zlib stream: {error}") from error
    require(inflater.eof and not inflater.unused_data and len(data) <= limit, "a zlib stream too long or too short")
    return data
