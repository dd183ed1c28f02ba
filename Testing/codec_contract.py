"""What every codec must keep, as tests: subclass `CodecContract` in the codec's own test file.

    from codec_contract import CodecContract

    class TestRawContract(CodecContract):
        codec_id = "raw"
"""

import json
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from MedCompressLib.codecs import get_codec
from MedCompressLib.errors import Cancelled, FormatError, MedCompressError

SPACING = (2.5, 0.7, 0.7)
SHAPES = [(1, 1, 1, 1), (1, 1, 1, 7), (1, 1, 9, 1), (1, 5, 1, 1), (4, 1, 1, 1), (1, 1, 2, 2), (1, 2, 3, 3),
          (2, 3, 5, 7), (1, 1, 33, 65), (1, 17, 31, 33), (1, 16, 32, 32), (7, 3, 19, 20), (3, 9, 8, 128)]


def smooth(shape: tuple[int, int, int, int], maximum: int, noise: float = 0.01) -> np.ndarray:
    """Something like anatomy: low waves with a little noise, from 0 to `maximum`."""
    grid = np.indices(shape).astype(float)
    waves = np.sin(grid[1] / 5 + grid[0] / 9) + np.sin(grid[2] / 7) * np.cos(grid[3] / 11)
    waves = (waves + 2) / 4 + np.random.default_rng(1).normal(0, noise, shape)
    return np.clip(waves * maximum, 0, maximum).astype(np.int32)


def sparse(shape: tuple[int, int, int, int], maximum: int) -> np.ndarray:
    """Zeros with a few spikes of any height."""
    rng = np.random.default_rng(2)
    return np.where(rng.random(shape) < 0.01, rng.integers(0, maximum + 1, shape), 0).astype(np.int32)


def blocks(shape: tuple[int, int, int, int], maximum: int) -> np.ndarray:
    """Like labels: boxes of one value each."""
    frame, k, j, i = np.indices(shape)
    return ((frame + k // 4 + 3 * (j // 6) + 5 * (i // 9)) % min(maximum + 1, 6)).astype(np.int32)


def noise(shape: tuple[int, int, int, int], maximum: int) -> np.ndarray:
    """Nothing to predict."""
    return np.random.default_rng(3).integers(0, maximum + 1, shape).astype(np.int32)


def extremes(shape: tuple[int, int, int, int], maximum: int) -> np.ndarray:
    """Only 0 and `maximum`, the largest differences there can be."""
    return (np.random.default_rng(4).integers(0, 2, shape) * maximum).astype(np.int32)


def slabs() -> list:
    """(slab, maximum) of many shapes and kinds, with names."""
    cases = [pytest.param(smooth(shape, 4095), 4095, id=f"smooth-{'x'.join(map(str, shape))}") for shape in SHAPES]
    shape = (1, 6, 21, 23)
    cases += [pytest.param(make(shape, maximum), maximum, id=f"{make.__name__}-{maximum}")
              for make in (smooth, sparse, blocks, noise, extremes) for maximum in (1, 255, 65535, 2**24 - 1)]
    cases += [pytest.param(np.full(shape, value, np.int32), maximum, id=f"constant-{value}-of-{maximum}")
              for value, maximum in ((0, 0), (0, 4095), (4095, 4095), (2**24 - 1, 2**24 - 1), (7, 300))]
    cases.append(pytest.param(np.repeat(smooth((1, 4, 24, 24), 4095), 9, axis=0), 4095, id="equal-frames"))
    return cases


def variants(config: dict) -> list[dict]:
    """The configuration with each field, however deep, missing, of another type, or far out of range."""
    changed = []
    for key, value in config.items():
        changed.append({name: other for name, other in config.items() if name != key})
        changed += [{**config, key: other} for other in (None, -1, 2**70, 1e300, "x", [], {}, [[]], True)]
        if isinstance(value, dict):
            changed += [{**config, key: other} for other in variants(value)]
        if isinstance(value, list) and value:
            changed += [{**config, key: other} for other in (value[:-1], value * 3, [None] * len(value),
                                                             [-1] * len(value), [2**40] * len(value))]
        if isinstance(value, int):
            changed += [{**config, key: other} for other in (0, value + 1, 255, 2**31)]
    return changed


def check_limit_of_weights(codec, weights: np.ndarray) -> None:
    """A fitted codec is read again with 2^20 as one of its weights, and refused with one more."""
    for weight in (1 << 20, -(1 << 20)):
        weights[0] = weight
        codec.from_config(codec.get_config(), codec.model)
        weights[0] += np.sign(weight)
        with pytest.raises(FormatError, match="beyond its limit"):
            codec.from_config(codec.get_config(), codec.model)


class CodecContract:
    """Tests of the guarantees in `MedCompressLib.codecs`.

    Attributes
    ----------
    codec_id : str
        Set by the subclass.
    examples : int
        How many random slabs are tried.
    memory_limit, time_limit
        Of decoding one damaged payload of a small slab, in bytes and seconds.
    damaged_shape, damages
        Of that slab, and how many times each kind of damage is tried.
    """

    codec_id: str
    examples = 30
    memory_limit = 200 << 20
    time_limit = 5.0
    damaged_shape = (1, 6, 24, 26)
    damages = 20

    @pytest.fixture
    def codec_class(self):
        return get_codec(self.codec_id)

    def fit(self, slab_list: list[np.ndarray], maximum: int, preset: str | None = None):
        """A codec fitted with the given preset or the default one."""
        codec_class = get_codec(self.codec_id)
        return codec_class.fit(slab_list, maximum, preset or next(iter(codec_class.presets)), SPACING)

    def decode_bounded(self, codec, payload: bytes, shape: tuple[int, int, int, int]) -> np.ndarray | None:
        """The decoded array or None for FormatError; anything else, or too much time or memory, fails."""
        tracemalloc.start()
        started = time.process_time()
        try:
            result = codec.decode(payload, shape)
        except FormatError as error:
            assert str(error)
            result = None
        finally:
            seconds = time.process_time() - started
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert seconds < self.time_limit
        assert peak < self.memory_limit
        if result is not None:
            assert result.shape == shape and result.dtype == np.int32
        return result

    def test_class_describes_itself(self, codec_class):
        assert codec_class.codec_id == self.codec_id
        assert codec_class.presets and all(name and text for name, text in codec_class.presets.items())
        assert codec_class.slab_slices >= 1

    @pytest.mark.parametrize(("slab", "maximum"), slabs())
    def test_round_trip(self, slab, maximum):
        slab = slab.copy()
        slab.flags.writeable = False
        codec = self.fit([slab], maximum)
        payload = codec.encode(slab)
        again = codec.decode(payload, slab.shape)
        assert isinstance(payload, bytes)
        assert again.dtype == np.int32 and again.shape == slab.shape
        assert np.array_equal(again, slab)

    def test_every_preset(self, codec_class):
        slab = smooth((1, 8, 24, 26), 4095)
        for preset in codec_class.presets:
            codec = self.fit([slab], 4095, preset)
            assert np.array_equal(codec.decode(codec.encode(slab), slab.shape), slab), preset

    def test_random_slabs(self):
        small = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 12), st.integers(1, 12))

        @settings(max_examples=self.examples, deadline=None, derandomize=True,
                  suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
        @given(st.data(), small, st.integers(0, 24))
        def check(data, shape, bits):
            maximum = 2**bits - 1
            slab = data.draw(arrays(np.int32, shape, elements=st.integers(0, maximum)))
            codec = self.fit([slab], maximum)
            assert np.array_equal(codec.decode(codec.encode(slab), shape), slab)

        check()

    def test_slabs_of_different_sizes_share_one_codec(self):
        whole = smooth((2, 13, 20, 22), 1000)
        parts = [whole[:, :5], whole[:, 5:10], whole[:, 10:], whole[:1, 12:]]
        codec = self.fit(parts, 1000)
        for part in parts:
            assert np.array_equal(codec.decode(codec.encode(part), part.shape), part)

    def test_values_the_fit_did_not_see(self):
        codec = self.fit([smooth((1, 6, 20, 22), 4095)], 4095)
        for make in (noise, extremes, sparse, blocks):
            slab = make((1, 5, 20, 22), 4095)
            assert np.array_equal(codec.decode(codec.encode(slab), slab.shape), slab), make.__name__

    def test_input_layout_does_not_matter(self):
        slab = smooth((2, 6, 20, 22), 4095)
        codec = self.fit([slab], 4095)
        turned = np.ascontiguousarray(slab.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
        assert codec.encode(turned) == codec.encode(slab)
        assert codec.encode(np.repeat(slab, 2, axis=1)[:, ::2]) == codec.encode(slab)

    def test_config_and_model_are_all_that_decoding_needs(self, codec_class):
        slab = smooth((1, 9, 30, 28), 4095)
        codec = self.fit([slab], 4095)
        text = json.dumps(codec.get_config(), allow_nan=False)
        again = codec_class.from_config(json.loads(text), bytes(codec.model))
        assert again.get_config() == codec.get_config()
        assert again.model == codec.model
        payload = codec.encode(slab)
        assert again.encode(slab) == payload
        assert np.array_equal(again.decode(payload, slab.shape), slab)

    def test_fit_and_encode_are_repeatable(self):
        slab = smooth((1, 9, 30, 28), 4095)
        first, second = self.fit([slab], 4095), self.fit([slab], 4095)
        assert first.get_config() == second.get_config() and first.model == second.model
        assert first.encode(slab) == second.encode(slab)

    def test_threads_do_not_matter(self):
        parts = [smooth((1, 4, 30, 28), 4095, noise=0.01 * n) for n in range(8)]
        codec = self.fit(parts, 4095)
        alone = [codec.encode(part) for part in parts]
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(codec.encode, parts)) == alone
            decoded = list(pool.map(lambda payload: codec.decode(payload, parts[0].shape), alone))
        assert all(np.array_equal(again, part) for again, part in zip(decoded, parts, strict=True))

    def test_unknown_preset(self):
        with pytest.raises(MedCompressError, match="nonsense"):
            self.fit([smooth((1, 2, 8, 8), 100)], 100, "nonsense")

    def test_fit_can_be_cancelled(self, codec_class):
        slab = smooth((1, 9, 30, 28), 4095)
        fractions = []
        codec_class.fit([slab], 4095, next(iter(codec_class.presets)), SPACING, fractions.append)
        assert all(0 <= fraction <= 1 for fraction in fractions) and fractions == sorted(fractions)

        def stop(fraction):
            raise Cancelled("enough")

        if fractions:
            with pytest.raises(Cancelled):
                codec_class.fit([slab], 4095, next(iter(codec_class.presets)), SPACING, stop)

    def test_damaged_payloads(self):
        slab = smooth(self.damaged_shape, 4095)
        codec = self.fit([slab], 4095)
        payload = codec.encode(slab)
        rng = np.random.default_rng(5)
        damaged = [b"", payload + b"\0", payload[1:], payload[:-1], b"\0" * len(payload), b"\xff" * len(payload),
                   b"\xff" * 9, b"\0" * 9, rng.bytes(len(payload))]
        damaged += [payload[:cut] for cut in rng.integers(0, len(payload), self.damages)]
        damaged += [rng.bytes(int(length)) for length in rng.integers(1, 300, self.damages)]
        for place in [*range(min(2 * self.damages, len(payload))), *rng.integers(0, len(payload), 2 * self.damages)]:
            flipped = bytearray(payload)
            flipped[place] ^= 1 << int(rng.integers(8))
            damaged.append(bytes(flipped))
        for place in rng.integers(0, len(payload), self.damages):
            replaced = bytearray(payload)
            replaced[place:place + 4] = rng.bytes(4)
            damaged.append(bytes(replaced))
        for broken in damaged:
            self.decode_bounded(codec, broken, slab.shape)

    def test_payload_of_another_shape(self):
        slab = smooth((1, 6, 24, 26), 4095)
        codec = self.fit([slab], 4095)
        payload = codec.encode(slab)
        for shape in ((1, 1, 1, 1), (1, 6, 24, 27), (2, 3, 24, 26), (1, 12, 48, 52), (1, 1, 6 * 24 * 26, 1)):
            self.decode_bounded(codec, payload, shape)

    def test_damaged_config(self, codec_class):
        slab = smooth((1, 4, 24, 26), 4095)
        codec = self.fit([slab], 4095)
        payload = codec.encode(slab)
        for config in [{}, {"unknown": 1}, *variants(json.loads(json.dumps(codec.get_config())))]:
            try:
                other = codec_class.from_config(config, codec.model)
            except FormatError:
                continue
            self.decode_bounded(other, payload, slab.shape)

    def test_damaged_model(self, codec_class):
        slab = smooth((1, 4, 24, 26), 4095)
        codec = self.fit([slab], 4095)
        config, model, payload = codec.get_config(), codec.model, codec.encode(slab)
        rng = np.random.default_rng(6)
        models = [b"", model + b"\0", model[:-1], b"\xff" * len(model), rng.bytes(100), rng.bytes(len(model))]
        for place in rng.integers(0, max(len(model), 1), 20 if model else 0):
            flipped = bytearray(model)
            flipped[place] ^= 1 << int(rng.integers(8))
            models.append(bytes(flipped))
        for broken in models:
            if broken == model:
                continue
            try:
                other = codec_class.from_config(config, broken)
            except FormatError:
                continue
            self.decode_bounded(other, payload, slab.shape)
