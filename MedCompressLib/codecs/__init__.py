"""One interface for every codec, and the registry that finds a codec by its id.

A codec is what numcodecs means by one: an id, `encode`, `decode`, and a JSON configuration that together with the
model bytes and the payload is all that decoding needs. A codec sees *slabs*: int32 arrays of shape
(frames, k, j, i) whose values were brought into [0, maximum] by `MedCompressLib.samples`. It never sees files,
geometry, floats or padding rules.

Guarantees every codec makes (tested for each of them by `Testing/codec_contract.py`):

* `decode(encode(slab), slab.shape)` equals `slab` when the quality is lossless;
* `encode` is a pure function of the slab, the configuration and the model: the same bytes on every machine, with any
  number of threads;
* `decode` of any byte string returns an array of the asked shape or raises `FormatError`; it takes no memory beyond a
  small multiple of the asked shape;
* instances are immutable after construction and safe to share between threads.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from ..compiled import load_if_worth
from ..errors import FormatError, UnsupportedError
from ..progress import Progress
from ..quality import SampleBound, SampleStep


class Codec(ABC):
    """A codec fitted to one volume.

    Attributes
    ----------
    codec_id : str
        The name in the file and on the command line.
    presets : dict of str to str
        Preset name to one sentence for the user; the first is the default.
    slab_slices : int
        How many slices (k) a slab should have when the volume allows it.
    near_lossless : bool
        Whether `fit` takes a bound on the error. If that has regions, `encode` and `decode` take `regions` as well: an
        array of the slab's shape with the region of every sample.
    lossy : bool
        Whether `fit` takes a step (`SampleStep`). Then there are also `sampled(slabs)`, on what part of a volume to
        try steps; `at_step(step)`, the same codec with another step; and `encode_measured(slab)`, the payload with the
        samples that it decodes to. With regions as well, `with_regions(errors)` is the same codec with a second layer,
        and `add_layer(payload, slab, regions)` the payload with it.
    lossy_slab_slices : int
        `slab_slices` with a step.
    has_compiled_loops : bool
        Whether numba, where it is installed, is to be loaded for a large volume (see `compiled`).
    previews : bool
        Whether a slab is coded in layers, the first of which can be decoded alone.
    """

    codec_id: str
    presets: dict[str, str]
    slab_slices: int = 16
    near_lossless: bool = False
    lossy: bool = False
    lossy_slab_slices: int = 16
    has_compiled_loops: bool = False
    previews: bool = False

    @property
    def format_version(self) -> int:
        """The earliest version of the file format that has what this codec writes."""
        return 1

    @property
    def at_once(self) -> int:
        """How many slabs `decode_many` likes to have at once; 1: it gains nothing over `decode` on several threads."""
        return 1

    @classmethod
    @abstractmethod
    def fit(cls, slabs: Sequence[np.ndarray], maximum: int, preset: str, spacing: tuple[float, float, float],
            progress: Progress | None = None, quality: SampleBound | SampleStep | None = None) -> Codec:
        """Choose every parameter for one volume.

        Parameters
        ----------
        slabs : sequence of (frames, k, j, i) int32 arrays
            The whole volume; may be lazy, so take each slab as seldom as possible.
        maximum : int
            No sample is above it; none is below 0. At most 2**24 - 1.
        preset : str
            A key of `presets`.
        spacing : (k, j, i) in mm
            A hint only: it may steer choices, never exactness.
        progress : callable, optional
            Called with a fraction in [0, 1]; may raise to cancel.
        quality : SampleBound or SampleStep, optional
            What decoded samples may be off by, for codecs that are `near_lossless`, or how coarse they may become, for
            those that are `lossy`; without it they are exact.
        """

    @classmethod
    def check_preset(cls, preset: str) -> None:
        """Raise UnsupportedError, naming the presets there are, unless `preset` is one of them."""
        if preset not in cls.presets:
            raise UnsupportedError(f"The codec {cls.codec_id!r} has no preset {preset!r}; it has "
                                   f"{', '.join(cls.presets)}.")

    @classmethod
    def prepare(cls, n_voxels: int) -> None:
        """Load what makes work on a volume of that many voxels faster."""
        if cls.has_compiled_loops:
            load_if_worth(n_voxels)

    def fit_regions(self, slab: np.ndarray, regions: np.ndarray) -> None:  # noqa: B027
        """Choose, right after `fit`, what depends on where the regions lie; from a slab and the regions in it."""

    @abstractmethod
    def get_config(self) -> dict:
        """Plain JSON from which, with the model bytes, `from_config` restores an equal codec."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: dict, model: bytes) -> Codec:
        """Raise FormatError when the configuration or the model is not valid."""

    @property
    def model(self) -> bytes:
        """What is shared by all slabs of this volume (tables, weights) and travels in the file once."""
        return b""

    @abstractmethod
    def encode(self, slab: np.ndarray) -> bytes:
        """Payload of one slab, an int32 array of shape (frames, k, j, i) with values in [0, maximum]."""

    @abstractmethod
    def decode(self, payload: bytes, shape: tuple[int, int, int, int]) -> np.ndarray:
        """The slab again: an int32 array of `shape`. Raise FormatError on a payload that cannot be one."""

    def decode_many(self, payloads: Sequence[bytes], shapes: Sequence[tuple[int, int, int, int]]) -> list[np.ndarray]:
        """Several lossless slabs of one volume again."""
        return [self.decode(payload, shape) for payload, shape in zip(payloads, shapes, strict=True)]

    @property
    def n_layers(self) -> int:
        """In how many layers a slab is coded. The first layers of all slabs can be decoded without the others."""
        return 1

    @property
    def overview_layers(self) -> int:
        """How many of the first layers are worth having of all slabs before any slab is told exactly."""
        return 1

    @property
    def max_reduction(self) -> int:
        """How often rows and columns can be halved in previews."""
        return 0

    def layers_for(self, reduction: int) -> list[int]:
        """Numbers of the layers that a volume at 1 / 2**reduction of the size in the slice needs."""
        return list(range(self.n_layers))

    def encode_layers(self, slab: np.ndarray) -> list[bytes]:
        """The layers of one slab in the order of their coding."""
        return [self.encode(slab)]

    def decode_layers(self, slabs: Sequence[dict[int, bytes]], shape: tuple[int, int, int, int],
                      reduction: int = 0) -> list[np.ndarray]:
        """Slabs of `shape` as far as some layers tell them, at 1 / 2**reduction of the rows and columns.

        Each of `slabs` has the first of `layers_for(reduction)`, by number, the same for all. With all of them and no
        reduction, the result is exact; otherwise values may lie a little outside the samples' range.
        """
        return [self.decode(chunks[0], shape) for chunks in slabs]


_MODULES = {"wavelet": ".wavelet", "progressive": ".progressive", "neural": ".neural", "runs": ".runs", "raw": ".raw",
            "nagoor": ".nagoor"}
_RESEARCH = {"nagoor"}


def codec_ids(research: bool = True) -> list[str]:
    """Ids of all codecs, the default one first; with or without those that are there to be compared with."""
    return [codec_id for codec_id in _MODULES if research or codec_id not in _RESEARCH]


def get_codec(codec_id: str) -> type[Codec]:
    """The codec class of that id, imported on first use.

    Raises
    ------
    FormatError
        No such codec in this version.
    """
    if codec_id not in _MODULES:
        raise FormatError(f"There is no codec named {codec_id[:40]!r}; this version has {', '.join(_MODULES)}.")
    return importlib.import_module(_MODULES[codec_id], __name__).CODEC


def has_previews(codec_id: str) -> bool:
    """Whether that is the id of a codec with layers; "auto" is none."""
    return codec_id in _MODULES and get_codec(codec_id).previews
