"""The codec nagoor: the paper's own two models as profiles, for comparison rather than for use.

Method: Nagoor, Whittle, Deng, Mora and Jones, "Lossless compression for volumetric medical images using deep neural
network with local sampling" (ICIP 2020): a multi-layer perceptron predicts each voxel from the intensities of its
causal 3D neighbourhood, and the residual is entropy-coded. Kept from the paper: neighbourhoods, network, intensities
as inputs, training. Different, so that files decode everywhere: integers throughout and wavefront order. Different,
because it is what all our codecs use: residuals are coded in groups by the errors of earlier predictions, each with
a table of its own, where the paper has a plain arithmetic coder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ...entropy import GroupDecoder, encode_groups
from ...errors import FormatError, UnsupportedError
from ...quality import SampleBound
from .. import Codec, Progress
from ..blas import one_thread_blas
from .model_file import shipped_network
from .neighbourhood import NEIGHBOURHOODS, Canvas, decoding_order
from .network import LeakyNetwork

CENTRE = 2048
"""The sample, of 12 bits, that is 0 for the network."""

QUARTERS = 4
BLOCK = 2048
"""How many voxels the encoder predicts at once."""

_ERROR_TAPS = np.array([(0, 0, -1), (0, -1, 0), (0, -1, -1), (0, -1, 1), (0, 0, -2), (0, -2, 0), (-1, 0, 0)])
_ERROR_WEIGHTS = np.array([8, 8, 4, 4, 2, 2, 4])
_MOST_CELLS = 1 << 25              # of a slab with what lies around it
_MOST_STEPS = 1 << 17              # whose voxels may be few, but take their time
_MOST_SPREAD = 65535
_PHASED = 16                       # classes below this have a group for each quarter
N_GROUPS = QUARTERS * _PHASED + 60 - _PHASED


class NagoorCodec(Codec):
    """One of the two networks, and how many bits its inputs leave out."""

    codec_id = "nagoor"
    presets: ClassVar[dict[str, str]] = {
        "pyramid": "the model of Nagoor et al. 2020 with 191 inputs, for comparison: minutes for a few slices, and "
                   "larger files than the other codecs make",
        "cube": "the model of Nagoor et al. 2020 with 665 inputs, for comparison: minutes for a few slices, and larger "
                "files than the other codecs make"}
    slab_slices = 24

    def __init__(self, preset: str, maximum: int):
        self._preset = preset
        self._maximum = maximum
        self._neighbourhood = NEIGHBOURHOODS[preset]
        self._shift = max(0, maximum.bit_length() - 12)

    @property
    def _network(self) -> LeakyNetwork:
        return shipped_network(self._preset)

    @classmethod
    def fit(cls, slabs: Sequence[np.ndarray], maximum: int, preset: str, spacing: tuple[float, float, float],
            progress: Progress | None = None, quality: SampleBound | None = None) -> NagoorCodec:
        cls.check_preset(preset)
        for slab in slabs:
            _check_size(slab.shape, preset, UnsupportedError)
        return cls(preset, maximum)

    def get_config(self) -> dict:
        return {"neighbourhood": self._preset, "maximum": self._maximum, "network": self._network.sha256}

    @classmethod
    def from_config(cls, config: dict, model: bytes) -> NagoorCodec:
        preset, maximum = config.get("neighbourhood"), config.get("maximum")
        if (set(config) != {"neighbourhood", "maximum", "network"} or not isinstance(preset, str)
                or preset not in NEIGHBOURHOODS or type(maximum) is not int or not 0 <= maximum < 1 << 24 or model):
            raise FormatError("The configuration of the codec nagoor is not valid.")
        if shipped_network(preset).sha256 != config.get("network"):
            raise FormatError("The file needs a network that this version of MedCompress does not have; decode it with "
                              "the version that wrote it.")
        return cls(preset, maximum)

    def encode(self, slab: np.ndarray) -> bytes:
        return encode_groups(*self.residuals(slab), N_GROUPS)

    @one_thread_blas()
    def residuals(self, slab: np.ndarray, voxels: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """What is entropy-coded of some voxels (flat indices; all in decoding order by default): (n,) int32 residuals
        and (n,) uint8 groups, as if predictions of voxels not among them had been right."""
        state = _State(self, slab.shape)
        if voxels is None:
            voxels = np.concatenate(list(decoding_order(slab.shape, self._neighbourhood)))
        blocks = [slice(start, start + BLOCK) for start in range(0, len(voxels), BLOCK)]
        places, samples = state.places(voxels), slab.ravel()[voxels].astype(np.int64)
        state.put_slab(slab)
        means = np.concatenate([state.means(places[block]) for block in blocks])
        state.put_errors(places, samples, means)
        groups = np.concatenate([state.groups(places[block], means[block]) for block in blocks])
        return (samples - (means >> 2)).astype(np.int32), groups

    @one_thread_blas()
    def decode(self, payload: bytes, shape: tuple[int, int, int, int]) -> np.ndarray:
        _check_size(shape, self._preset, FormatError)
        decoder = GroupDecoder(payload, N_GROUPS, int(np.prod(shape)))
        state = _State(self, shape)
        slab = np.empty(int(np.prod(shape)), np.int32)
        for voxels in decoding_order(shape, self._neighbourhood):
            places = state.places(voxels)
            means = state.means(places)
            samples = (means >> 2) + decoder.decode(state.groups(places, means))
            if samples.min() < 0 or samples.max() > self._maximum:
                raise FormatError("The compressed data is damaged: a voxel lies outside the range of the volume.")
            slab[voxels] = samples
            state.put_inputs(places, samples)
            state.put_errors(places, samples, means)
        return slab.reshape(shape)


def _check_size(shape: tuple[int, int, int, int], preset: str, error: type[Exception]) -> None:
    neighbourhood = NEIGHBOURHOODS[preset]
    if math.prod(neighbourhood.around(shape)) > _MOST_CELLS or neighbourhood.n_steps(shape) > _MOST_STEPS:
        raise error(f"The codec nagoor takes slabs of up to {_MOST_CELLS} voxels with those around them, and "
                    f"{_MOST_STEPS} steps; use another codec.")


class _State:
    """What is known of a slab: the network's inputs, and how far its predictions were off."""

    def __init__(self, codec: NagoorCodec, shape: tuple[int, int, int, int]):
        neighbourhood = codec._neighbourhood
        self._network, self._shift, self._most = codec._network, codec._shift, QUARTERS * codec._maximum
        self._inputs = Canvas(shape, neighbourhood, -CENTRE, np.float32)
        self._errors = Canvas(shape, neighbourhood, 0, np.int64)
        self._taps, self._error_taps = self._inputs.offsets(neighbourhood.taps), self._errors.offsets(_ERROR_TAPS)
        self.places = self._inputs.places

    def put_slab(self, slab: np.ndarray) -> None:
        self._inputs.inside[:] = (slab >> self._shift) - CENTRE

    def put_inputs(self, places: np.ndarray, samples: np.ndarray) -> None:
        self._inputs.cells[places] = (samples >> self._shift) - CENTRE

    def put_errors(self, places: np.ndarray, samples: np.ndarray, means: np.ndarray) -> None:
        self._errors.cells[places] = np.abs(QUARTERS * samples - means)

    def means(self, places: np.ndarray) -> np.ndarray:
        """(n,) int64: the predictions in quarters of a sample."""
        output = self._network.output(self._inputs.cells[self._taps + places]).astype(np.int64)
        return np.clip((output + QUARTERS * CENTRE) << self._shift, 0, self._most)

    def groups(self, places: np.ndarray, means: np.ndarray) -> np.ndarray:
        """(n,) uint8: by the size of earlier errors and, where they are small, by the quarter of the mean."""
        spread = np.minimum(_ERROR_WEIGHTS @ self._errors.cells[self._error_taps + places] >> 4, _MOST_SPREAD)
        octave = np.maximum(np.frexp(spread.astype(np.float64))[1] - 3, 0)
        level = 4 * octave + (spread >> octave)
        fine = QUARTERS * level + (means & (QUARTERS - 1))
        return np.where(level < _PHASED, fine, level + (QUARTERS - 1) * _PHASED).astype(np.uint8)


CODEC = NagoorCodec
