"""The JSON texts of an `.mcz` file: the header, which says what the voxels are and how they are coded, and the
metadata.

Knows the meaning of every header field and nothing of where in the file the text stands.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .errors import FormatError, UnsupportedError
from .roi import MAX_REGIONS
from .slabs import MOST_SLICES, SlabGrid
from .volume import AXES, DTYPES, SequenceAxis

# Limits of the format (FORMAT.md lists them all), so that no file makes a reader take memory or time without bound.
HEADER_LIMIT = 4 << 20
JSON_DEPTH_LIMIT = 100
AXIS_LIMIT = (1 << 31) - 1
VOLUME_LIMIT = 1 << 40
SLICE_LIMIT = 1 << 26
SLAB_LIMIT = 1 << 24
LAYER_LIMIT = 256
CHUNK_LIMIT = 1 << 22

_DTYPE_NAMES = {dtype.name: dtype for dtype in DTYPES}
# A JSON string, also one that is never closed, so that each byte is looked at once.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


class First(NamedTuple):
    """Slabs whose layers come before those of others.

    Attributes
    ----------
    after : int
        So many layers of all slabs come before them.
    groups : tuple of tuples of int
        Numbers of slabs: all layers of the first group's come before those of the second.
    """

    after: int
    groups: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Header:
    """What a decoder must know beside the model and the payloads.

    Attributes
    ----------
    shape : tuple of int
        Shape of the voxels in the order of `axes`.
    dtype : numpy.dtype
        Type of a voxel.
    axes : str
        "kji", "kjic", "tkji" or "tkjic", as in `Volume`.
    sequence : SequenceAxis or None
        Only with a t axis.
    codec_id, preset : str
        The codec, and the preset it was fitted with (for information only).
    codec_config : dict
        `Codec.get_config()`.
    samples_config : dict
        `SampleMap.get_config()`.
    quality : dict
        {"kind": "lossless"}, or {"kind": "near-lossless", "max_error": whole number, "reached": {...}} where no voxel
        is off by more; `reached` is what was measured, for information. With "regions", a list of whole numbers, each
        slab has a map of regions, and these are their bounds. Or {"kind": "lossy", "target": {...}, "reached": {...}},
        or {"kind": "constant-background", "value": whole number, "reached": {...}}.
    slab_frames, slab_slices : int
        Of one slab, see `SlabGrid`.
    layers : int
        In how many layers the payload of a slab stands in the file.
    first : First, optional
        Which slabs come first; only with layers.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    axes: str
    sequence: SequenceAxis | None
    codec_id: str
    codec_config: dict
    preset: str
    samples_config: dict
    quality: dict
    slab_frames: int
    slab_slices: int
    layers: int = 1
    first: First | None = None

    @property
    def components(self) -> int:
        """Number of components of a voxel, 1 without a c axis."""
        return self.shape[-1] if "c" in self.axes else 1

    @property
    def frames_shape(self) -> tuple[int, int, int, int]:
        """Shape (frames, k, j, i) with frames = t * components."""
        t = self.shape[0] if "t" in self.axes else 1
        k = self.axes.index("k")
        return t * self.components, *self.shape[k:k + 3]

    @property
    def grid(self) -> SlabGrid:
        """The slabs."""
        return SlabGrid(self.frames_shape, self.slab_frames, self.slab_slices)

    def chunk_order(self) -> np.ndarray:
        """Which chunk comes when: numbers layer * slabs + slab, in the order of the file."""
        numbers = np.arange(self.layers * len(self.grid)).reshape(self.layers, -1)
        if self.first is None:
            return numbers.ravel()
        named = [slab for group in self.first.groups for slab in group]
        groups = [*self.first.groups, np.setdiff1d(np.arange(len(self.grid)), named)]
        rest = numbers[self.first.after:]
        return np.concatenate([numbers[:self.first.after].ravel(), *(rest[:, list(group)].ravel() for group in groups)])

    def to_json(self) -> bytes:
        """Canonical text: keys sorted, no spaces, UTF-8.

        Raises
        ------
        UnsupportedError
            The volume is beyond a limit of the format.
        """
        self._check(UnsupportedError)
        sequence = self.sequence and {"index_name": self.sequence.index_name, "unit": self.sequence.unit,
                                      "values": self.sequence.values}
        fields = {
            "axes": self.axes,
            "codec": {"config": self.codec_config, "id": self.codec_id, "preset": self.preset},
            "dtype": self.dtype.name,
            "quality": self.quality,
            "samples": self.samples_config,
            "sequence": sequence,
            "shape": list(self.shape),
            "slab": {"frames": self.slab_frames, "slices": self.slab_slices},
        }
        if self.layers > 1:
            fields["layers"] = self.layers
        if self.first:
            fields["first"] = {"after": self.first.after, "slabs": [list(group) for group in self.first.groups]}
        text = dump_json(fields, sort_keys=True)
        if len(text) > HEADER_LIMIT:
            raise UnsupportedError(f"The header takes {len(text)} bytes, more than the {HEADER_LIMIT} that the format "
                                   "allows; shorten the values of the sequence axis.")
        return text

    @classmethod
    def from_json(cls, text: bytes) -> Header:
        """Raise FormatError when the text is not a header."""
        fields = parse_json(text, "header")
        codec = _take(fields, "codec", dict, "header")
        slab = _take(fields, "slab", dict, "header")
        _check_keys(codec, {"id", "config", "preset"}, "codec")
        _check_keys(slab, {"frames", "slices"}, "slab")
        dtype = _take(fields, "dtype", str, "header")
        if dtype not in _DTYPE_NAMES:
            raise FormatError(f"The file has voxels of type {dtype[:40]!r}, which this version does not know.")
        shape = _take(fields, "shape", list, "header")
        if not all(type(length) is int for length in shape):
            raise FormatError("The shape in the file's header is not made of whole numbers.")
        header = cls(
            shape=tuple(shape),
            dtype=_DTYPE_NAMES[dtype],
            axes=_take(fields, "axes", str, "header"),
            sequence=_sequence(_take(fields, "sequence", (dict, type(None)), "header")),
            codec_id=_take(codec, "id", str, "codec"),
            codec_config=_take(codec, "config", dict, "codec"),
            preset=_take(codec, "preset", str, "codec"),
            samples_config=_take(fields, "samples", dict, "header"),
            quality=_take(fields, "quality", dict, "header"),
            slab_frames=_take(slab, "frames", int, "slab"),
            slab_slices=_take(slab, "slices", int, "slab"),
            layers=_take({"layers": 1} | fields, "layers", int, "header"),
            first=_first(fields["first"]) if "first" in fields else None,
        )
        header._check(FormatError)
        return header

    def _check(self, error: type[Exception]) -> None:
        if self.axes not in AXES or len(self.shape) != len(self.axes):
            raise error(f"Axes {self.axes[:40]!r} do not fit the shape {self.shape[:8]}.")
        if not all(1 <= length <= AXIS_LIMIT for length in self.shape):
            raise error(f"A volume of shape {self.shape} is beyond the format's limits.")
        if ("t" in self.axes) != (self.sequence is not None):
            raise error(f"Axes {self.axes!r} and the sequence axis do not fit together.")
        if self.sequence and len(self.sequence.values) != self.shape[0]:
            raise error(f"The sequence axis has {len(self.sequence.values)} values for {self.shape[0]} frames.")
        if not _is_quality(self.quality):
            raise error("The file asks for a kind of quality that this version does not know; update MedCompress.")
        check_grid(self.grid, error)
        if not 1 <= self.layers <= LAYER_LIMIT or (self.layers > 1 and self.layers * len(self.grid) > CHUNK_LIMIT):
            raise error(f"{self.layers} layers in {len(self.grid)} slabs are beyond the format's limits.")
        if self.first:
            slabs = [number for group in self.first.groups for number in group]
            if (not 1 <= self.first.after < self.layers or not all(self.first.groups)
                    or len(set(slabs)) != len(slabs) or not all(0 <= number < len(self.grid) for number in slabs)):
                raise error("The slabs that should come first are not such that the file has them.")


def _first(fields: object) -> First:
    groups = fields.get("slabs") if isinstance(fields, dict) and set(fields) == {"after", "slabs"} else None
    if (not isinstance(groups, list) or type(fields["after"]) is not int
            or not all(isinstance(group, list) and all(type(number) is int for number in group) for group in groups)):
        raise FormatError("The header of the file has no valid 'first'.")
    return First(fields["after"], tuple(map(tuple, groups)))


def _is_quality(quality: dict) -> bool:
    if quality.get("kind") == "near-lossless":
        regions = quality.get("regions", [0])
        return (set(quality) - {"regions"} == {"kind", "max_error", "reached"} and type(quality["max_error"]) is int
                and quality["max_error"] > 0 and isinstance(quality["reached"], dict) and isinstance(regions, list)
                and 1 <= len(regions) <= MAX_REGIONS
                and all(type(allowed) is int and allowed >= 0 for allowed in regions))
    if quality.get("kind") == "lossy":
        regions = quality.get("regions", [None])
        return (set(quality) - {"regions"} == {"kind", "target", "reached"} and _is_target(quality["target"])
                and isinstance(quality["reached"], dict) and isinstance(regions, list)
                and 1 <= len(regions) <= MAX_REGIONS
                and all(allowed is None or (type(allowed) is int and allowed >= 0) for allowed in regions))
    if quality.get("kind") == "constant-background":
        return (set(quality) == {"kind", "value", "reached"} and type(quality["value"]) is int
                and isinstance(quality["reached"], dict))
    return quality == {"kind": "lossless"}


def _is_target(target: object) -> bool:
    return (isinstance(target, dict) and len(target) == 1 and set(target) <= {"ratio", "bits_per_voxel", "psnr_db"}
            and all(type(value) in (int, float) and value >= 0 for value in target.values()))


def check_grid(grid: SlabGrid, error: type[Exception]) -> None:
    """Raise `error` when volume or slabs are beyond a limit of the format."""
    frames, k, j, i = grid.shape
    if math.prod(grid.shape) > VOLUME_LIMIT:
        raise error(f"A volume of {frames} frames of {k} x {j} x {i} voxels is beyond the format's limits.")
    if not (1 <= grid.frames <= frames and 1 <= grid.slices <= k):
        raise error(f"Slabs of {grid.frames} frames by {grid.slices} slices do not fit the volume.")
    slices = grid.frames * grid.slices
    if j * i > SLICE_LIMIT or (slices > 1 and slices * j * i > SLAB_LIMIT):
        raise error(f"Slices of {j} x {i} voxels, {slices} in a slab, are beyond the format's limits "
                    f"({SLICE_LIMIT} voxels in a slice, {SLAB_LIMIT} in a slab of several).")
    if grid.slices > MOST_SLICES:
        raise error(f"Slabs of {grid.slices} slices are beyond the format's limits ({MOST_SLICES}).")


def dump_json(value: dict, sort_keys: bool = False) -> bytes:
    """Compact JSON in UTF-8; the order of the keys is kept unless it is to be sorted."""
    try:
        return json.dumps(value, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False,
                          separators=(",", ":")).encode("utf-8")
    except ValueError as error:  # not a number, text that is not Unicode, integers of thousands of digits
        raise UnsupportedError(f"The metadata cannot be written as JSON: {error}.") from None


def parse_json(text: bytes, what: str) -> dict:
    """A JSON object of bounded depth without repeated keys or constants that are not JSON, else FormatError."""
    nesting = np.frombuffer(_STRING.sub(b"", text), dtype=np.uint8)
    opening = (nesting == ord("[")) | (nesting == ord("{"))
    closing = (nesting == ord("]")) | (nesting == ord("}"))
    depth = np.cumsum(opening.astype(np.int8) - closing.astype(np.int8), dtype=np.int32)
    if depth.size and depth.max() > JSON_DEPTH_LIMIT:
        raise FormatError(f"The {what} of the file is nested deeper than {JSON_DEPTH_LIMIT}.")
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"The {what} of the file is not valid JSON: {str(error)[:200]}.") from None
    if type(value) is not dict:
        raise FormatError(f"The {what} of the file is not a JSON object.")
    return value


def _unique_keys(pairs: list[tuple[str, object]]) -> dict:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is repeated")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _take(fields: dict, name: str, kind: type | tuple[type, ...], where: str) -> object:
    value = fields.get(name)
    if not isinstance(value, kind) or (kind is int and type(value) is not int):
        raise FormatError(f"The {where} of the file has no valid {name!r}.")
    return value


def _check_keys(fields: dict, known: set[str], where: str) -> None:
    if unknown := set(fields) - known:
        raise FormatError(f"The {where} of the file has an entry {min(unknown)[:40]!r}, which it cannot have.")


def _sequence(fields: dict | None) -> SequenceAxis | None:
    if fields is None:
        return None
    values = _take(fields, "values", list, "sequence axis")
    _check_keys(fields, {"index_name", "unit", "values"}, "sequence axis")
    try:
        return SequenceAxis(_take(fields, "index_name", str, "sequence axis"),
                            _take(fields, "unit", str, "sequence axis"), values)
    except UnsupportedError as error:
        raise FormatError(f"The sequence axis of the file is not valid: {error}") from None
