"""The header of an NRRD file: its lines, and what they say about the axes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

import numpy as np

from ..errors import FormatError, UnsupportedError
from ..volume import SequenceAxis

# Signs that turn a space into right, anterior, superior. Other spaces count as LPS, as in ITK and so in Slicer.
SPACES = {"right-anterior-superior": (1, 1, 1), "left-anterior-superior": (-1, 1, 1),
          "left-posterior-superior": (-1, -1, 1)}
_SHORT_SPACES = {"ras": "right-anterior-superior", "las": "left-anterior-superior", "lps": "left-posterior-superior"}
SPATIAL_KINDS = ("domain", "space")
FRAME_KINDS = ("list", "time", *SPATIAL_KINDS)
UNKNOWN_KINDS = ("???", "none", "")
LISTED_FILES = re.compile(r"LIST(\s+\d+)?")
INDEX_KEY = re.compile(r"axis \d+ index (type|values)")

_SYNONYMS = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip", "oldmin": "old min",
             "oldmax": "old max", "centerings": "centers", "axismins": "axis mins", "axismaxs": "axis maxs",
             "blocksize": "block size", "sampleunits": "sample units"}
_MAXIMUM_HEADER = 1 << 26
_MAXIMUM_SIZE = 1 << 62


@dataclass
class Header:
    """Fields (names in lower case), key/value pairs and, for `data file: LIST`, the files listed."""

    fields: dict[str, str] = field(default_factory=dict)
    key_values: dict[str, str] = field(default_factory=dict)
    listed_files: list[str] = field(default_factory=list)


def read_header(file: BinaryIO, path: Path) -> Header:
    """Read the lines up to the empty one that ends the header."""
    header = Header()
    magic = file.readline(16).strip()
    if not re.fullmatch(rb"NRRD000[1-5]", magic):
        raise FormatError(f"{path.name} is not an NRRD file of version 1 to 5.")
    total, listing = 0, False
    while line := file.readline(_MAXIMUM_HEADER):
        total += len(line)
        if total >= _MAXIMUM_HEADER:
            raise FormatError(f"The header of {path.name} does not end within {_MAXIMUM_HEADER >> 20} MiB.")
        text = _decoded(line).rstrip("\r\n")
        if not text:
            break
        if listing:
            header.listed_files.append(text.strip())
        elif not text.startswith("#"):
            _parse_line(text, header, path)
            listing = LISTED_FILES.fullmatch(header.fields.get("data file", "")) is not None
    return header


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _parse_line(text: str, header: Header, path: Path) -> None:
    name, separator, value = re.fullmatch(r"(.*?)(:=|: |:$|$)(.*)", text).groups()
    if separator == ":=":
        header.key_values[name] = re.sub(r"\\([\\n])", lambda match: "\n" if match[1] == "n" else "\\", value)
    elif separator:
        name = name.strip().lower()
        header.fields[_SYNONYMS.get(name, name)] = value.strip()
    else:
        raise FormatError(f"{path.name} has a line in its header that is neither a field nor a key: {text[:60]!r}.")


class Axes:
    """Role of every axis of the file, and with that the matrix, the order of axes and the sequence.

    Attributes
    ----------
    sizes : list of int
        Fastest axis first, as in the file.
    roles : str
        One letter for each: "s" spatial, "t" sequence, "c" components.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        fields = header.fields
        for name in ("type", "dimension", "sizes", "encoding"):
            if name not in fields:
                raise FormatError(f"the field {name!r} is missing from the NRRD header.")
        self.sizes = [int(size) for size in fields["sizes"].split()]
        if len(self.sizes) != int(fields["dimension"]) or min(self.sizes, default=0) < 1:
            raise FormatError("the fields 'dimension' and 'sizes' of the NRRD header do not fit together.")
        if math.prod(self.sizes) > _MAXIMUM_SIZE:
            raise FormatError("the NRRD header declares an impossible number of voxels.")
        self._kinds = self._per_axis("kinds", [""] * len(self.sizes), str.split)
        self._directions = self._read_directions()
        self._times = None
        self.roles = self._find_roles()
        self.order = ("t" if "t" in self.roles else "") + "kji" + ("c" if "c" in self.roles else "")
        self.ijk_to_ras = self._matrix()
        self.sequence = self._sequence() if "t" in self.roles else None

    @property
    def lengths(self) -> tuple[int, int, int, int, int]:
        """Lengths of the axes (t, k, j, i, c), 1 for those that are absent."""
        t, c = (math.prod(size for size, role in zip(self.sizes, self.roles, strict=True) if role == wanted)
                for wanted in "tc")
        i, j, *k = (size for size, role in zip(self.sizes, self.roles, strict=True) if role == "s")
        return t, math.prod(k), j, i, c

    @property
    def arranged(self) -> bool:
        """Whether the samples of the file already stand in the order of `order`."""
        return self.roles == "".join(sorted(self.roles, key="cst".index))

    def arrange(self, samples: np.ndarray) -> np.ndarray:
        """Samples in file order as a C-contiguous array of axes `order`."""
        array = samples.reshape(self.sizes[::-1])
        slow_to_fast = self.roles[::-1]
        wanted = [axis for role in "tsc" for axis, found in enumerate(slow_to_fast) if found == role]
        array = array.transpose(wanted)
        if self.roles.count("s") == 2:
            array = np.expand_dims(array, 1 if "t" in self.roles else 0)
        return np.ascontiguousarray(array)

    def _per_axis(self, name: str, default: list, split) -> list:
        text = self._header.fields.get(name)
        if text is None:
            return default
        values = split(text)
        if len(values) != len(self.sizes):
            raise FormatError(f"the field {name!r} of the NRRD header has {len(values)} entries for "
                              f"{len(self.sizes)} axes.")
        return values

    def _numbers(self, name: str) -> list[float]:
        return self._per_axis(name, [math.nan] * len(self.sizes), lambda text: [float(one) for one in text.split()])

    def _read_directions(self) -> list[np.ndarray | None] | None:
        if "space directions" not in self._header.fields:
            return None
        directions = self._per_axis("space directions", [], lambda text: re.findall(r"\([^()]*\)|[^\s()]+", text))
        return [_vector(text) for text in directions]

    def _find_roles(self) -> str:
        if self._directions is not None:
            spatial = [axis for axis, direction in enumerate(self._directions) if direction is not None]
            spatial = self._without_time(spatial)
        else:
            domain = (*SPATIAL_KINDS, *UNKNOWN_KINDS)
            spatial = [axis for axis, kind in enumerate(self._kinds) if kind.lower() in domain][:3]
        if not 2 <= len(spatial) <= 3:
            raise UnsupportedError(f"the image has {len(spatial)} spatial axes; a volume needs three, or two for one "
                                   "slice.")
        roles = "".join("s" if axis in spatial else self._other_role(axis, spatial) for axis in range(len(self.sizes)))
        for role, name in (("t", "list"), ("c", "component")):
            if roles.count(role) > 1:
                raise UnsupportedError(f"the image has {roles.count(role)} {name} axes; a volume can have one.")
        return roles

    def _other_role(self, axis: int, spatial: list[int]) -> str:
        kind = self._kinds[axis].lower()
        if kind in UNKNOWN_KINDS:  # the customary places: components fastest, frames slowest
            return "c" if axis < spatial[0] else "t"
        return "t" if kind in FRAME_KINDS else "c"

    def _without_time(self, spatial: list[int]) -> list[int]:
        """Split the time axis off a space of four dimensions, which is what ITK writes for 4D images."""
        vectors = np.array([self._directions[axis] for axis in spatial if len(self._directions[axis]) == 4])
        if not len(vectors):
            return spatial
        if len(vectors) != len(spatial):
            raise FormatError("the space directions of the NRRD header differ in length.")
        timed = [axis for axis, vector in zip(spatial, vectors, strict=True) if vector[3] != 0]
        if len(timed) != 1 or self._directions[timed[0]][:3].any():
            raise UnsupportedError("the time axis is mixed with the spatial axes.")
        origin = self._origin(4)
        self._times = (origin[3], self._directions[timed[0]][3])
        self._kinds[timed[0]] = "time"
        self._directions = [None if direction is None else direction[:3] for direction in self._directions]
        return [axis for axis in spatial if axis != timed[0]]

    def _origin(self, dimension: int) -> np.ndarray:
        origin = _vector(self._header.fields.get("space origin", "none"))
        if origin is None or np.isnan(origin).all():
            return np.zeros(dimension)
        if len(origin) < dimension:
            raise FormatError("the space origin and the space directions of the NRRD header differ in length.")
        return origin[:dimension]

    def _matrix(self) -> np.ndarray:
        spatial = [axis for axis, role in enumerate(self.roles) if role == "s"]
        if self._directions is not None:
            columns = [self._directions[axis] for axis in spatial]
            dimension = len(columns[0])
            if dimension not in (2, 3) or any(len(column) != dimension for column in columns):
                raise UnsupportedError("the space directions are not all of two or three numbers.")
            origin = self._origin(dimension)
        else:
            columns, origin = self._from_spacings(spatial)
            dimension = len(spatial)
        matrix = np.eye(4)
        matrix[:dimension, 3] = origin
        for index, column in enumerate(columns):
            matrix[:dimension, index] = column
        if len(columns) == 2 and dimension == 3:
            with np.errstate(all="ignore"):  # parallel axes are refused by Volume
                normal = np.cross(matrix[:3, 0], matrix[:3, 1])
                matrix[:3, 2] = np.nan_to_num(normal / np.linalg.norm(normal))
        with np.errstate(invalid="ignore"):  # infinite directions, too
            return np.diag([*SPACES[space_name(self._header.fields.get("space", ""))], 1]) @ matrix

    def _from_spacings(self, spatial: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Columns and origin of a file without orientation, as teem and ITK understand it."""
        spacings = [1.0 if math.isnan(value) else value for value in self._numbers("spacings")]
        # "axis mins" is the edge of the first sample, unless samples are centred on the grid's nodes
        centers = self._per_axis("centers", ["cell"] * len(self.sizes), str.split)
        origins = [0.0 if math.isnan(least) else least + (0 if center.lower() == "node" else spacing / 2)
                   for least, center, spacing in zip(self._numbers("axis mins"), centers, spacings, strict=True)]
        return np.diag([spacings[axis] for axis in spatial]), np.array([origins[axis] for axis in spatial])

    def _sequence(self) -> SequenceAxis:
        axis = self.roles.index("t")
        label = self._per_axis("labels", [""] * len(self.sizes), _quoted)[axis]
        unit = self._per_axis("units", [""] * len(self.sizes), _quoted)[axis]
        texts = [text for key, text in self._header.key_values.items()
                 if INDEX_KEY.fullmatch(key) and key.endswith("values")]
        # A space at the end may be one too many, or stand before an empty value.
        ways = [text.split(" ") for text in (texts[0], texts[0].strip(" "))] if len(texts) == 1 else []
        values = next((list(map(unquote, way)) for way in ways if len(way) == self.sizes[axis]), [])
        if self._times and not values:
            return SequenceAxis.evenly_spaced(label or "time", unit, self.sizes[axis], *self._times)
        return SequenceAxis(label or "frame", unit, values)


def _vector(text: str) -> np.ndarray | None:
    if text.strip().lower() == "none":
        return None
    if not (text.startswith("(") and text.endswith(")")):
        raise FormatError(f"{text[:40]!r} in the NRRD header is not a vector.")
    return np.array([float(number) for number in text[1:-1].split(",")])


def _quoted(text: str) -> list[str]:
    return [re.sub(r"\\(.)", r"\1", one) for one in re.findall(r'"((?:[^"\\]|\\.)*)"', text)]


def space_name(text: str) -> str:
    """The long name of a space, one of `SPACES`, with its time axis left off."""
    text = text.lower().removesuffix("-time")
    text = text[:3] if text[:3] in _SHORT_SPACES and text[3:] in ("", "t") else text
    text = _SHORT_SPACES.get(text, text)
    return text if text in SPACES else "left-posterior-superior"
