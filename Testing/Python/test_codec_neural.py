"""The neural codec: the contract of every codec, its exactness, and real volumes."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from codec_contract import CodecContract, smooth
from hypothesis import given
from hypothesis import strategies as st

import MedCompressLib as mc
from MedCompressLib.codecs.neural import NeuralCodec
from MedCompressLib.codecs.neural.bounded import quantise, reconstruct
from MedCompressLib.codecs.neural.experts import Experts, pack_experts, unpack_experts
from MedCompressLib.codecs.neural.fitting import InputSampler
from MedCompressLib.codecs.neural.model_file import Model, pack_model, shipped_model, unpack_model
from MedCompressLib.codecs.neural.neighbourhood import neighbourhood
from MedCompressLib.codecs.neural.network import EXACT, IntegerNetwork
from MedCompressLib.codecs.neural.predictor import n_network_inputs
from MedCompressLib.codecs.neural.presets import PRESETS
from MedCompressLib.codecs.neural.raster import KnownPredictions, row_blocks
from MedCompressLib.codecs.neural.training import Rounds, Samples, code_length, to_float
from MedCompressLib.codecs.neural.tuning import pack_change, tune, unpack_change
from MedCompressLib.codecs.neural.wavefront import run_wavefront, wavefront_order
from MedCompressLib.entropy import encode_groups
from MedCompressLib.errors import FormatError, UnsupportedError
from MedCompressLib.quality import SampleBound

SPACING = (2.5, 0.7, 0.7)


def _near(preset: str, temporal: bool = False):
    settings = PRESETS[preset]
    return neighbourhood(settings.radii, settings.n_inputs, settings.n_residuals, temporal)


class TestNeuralContract(CodecContract):
    codec_id = "neural"
    examples = 15


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("temporal", [False, True])
def test_every_tap_is_decoded_before(preset, temporal):
    near = _near(preset, temporal)
    assert np.all(near.taps @ near.strides < 0)
    assert np.all(near.residual_taps @ near.strides < 0)
    assert shipped_model(PRESETS[preset].model).network.n_inputs == n_network_inputs(near)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 9, 1), (1, 5, 6, 7), (3, 4, 5, 6), (2, 1, 3, 40)])
def test_wavefront_visits_every_voxel_once(shape):
    near = _near("small", shape[0] > 1)
    order = wavefront_order(shape, near)
    assert np.array_equal(np.sort(order), np.arange(np.prod(shape)))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shape", [(1, 7, 18, 21), (3, 4, 11, 13), (1, 1, 20, 20)])
def test_encoder_and_decoder_predict_the_same(preset, shape):
    slab = smooth(shape, 900, noise=0.02)
    predictor = NeuralCodec.fit([slab], 900, preset, SPACING)._predictor
    known = KnownPredictions(slab, predictor)
    expected = np.empty((3, *shape))
    for f, k, j, j_end in row_blocks(shape, 3):
        inputs, levels, reference, flat = known.rows(f, k, j, j_end)
        three = predictor.mean_and_group(inputs, levels, reference, flat, known.known.work)
        expected[:, f, k, j:j_end] = np.stack(three).reshape(3, j_end - j, shape[3])
    seen = np.zeros_like(expected)

    def voxels_of(index, centre, sign, group):
        seen.reshape(3, -1)[:, index] = centre, sign, group
        return slab.ravel()[index].astype(float)

    run_wavefront(shape, predictor, voxels_of)
    assert np.array_equal(seen, expected)


def test_a_slab_of_too_many_rows_is_refused():
    slab = np.zeros((1, 1, 2**18 + 1, 1), np.int32)
    with pytest.raises(UnsupportedError, match="rows"):
        NeuralCodec.fit([slab], 0, "fast", (1.0, 1.0, 1.0))
    codec = NeuralCodec.fit([slab[:, :, :8]], 0, "fast", (1.0, 1.0, 1.0))
    with pytest.raises(FormatError, match="rows"):
        codec.decode(codec.encode(slab[:, :, :8]), slab.shape)
    larger = np.zeros((1, 1, 512, 2**9 + 1), np.int32)
    assert np.array_equal(codec.decode(codec.encode(larger), larger.shape), larger)


@pytest.mark.parametrize(("shape", "refused"), [
    ((1, 1, 1, 2**17), False), ((1, 1, 1, 2**17 + 1), True), ((1, 1, 43691, 1), False), ((1, 1, 43692, 1), True),
    ((1, 14564, 1, 5), False), ((1, 14565, 1, 1), True), ((9363, 1, 1, 1), False), ((9364, 1, 1, 1), True)])
def test_a_slab_of_too_many_steps_is_refused(shape, refused):
    """With the strides 14, 9, 3, 1 of this preset, a slab has up to 2^17 steps."""
    codec = NeuralCodec.fit([np.zeros((2, 3, 8, 8), np.int32)], 0, "fast", (1.0, 1.0, 1.0))
    payload = codec.encode(np.zeros((1, 1, 1, 1), np.int32))
    with pytest.raises(FormatError, match="steps" if refused else "shorter than needed"):
        codec.decode(payload, shape)


def test_network_that_could_leave_the_exact_range_is_refused():
    sound = shipped_model("default").network
    first = sound.weights[0].astype(int)
    first[0, :-1] = EXACT // (511 * (first.shape[1] - 1)) + 1
    with pytest.raises(FormatError, match="exact"):
        IntegerNetwork((first.astype(np.int16), *sound.weights[1:]))
    first[0, :-1] -= 1
    first[0, -1] = 0
    IntegerNetwork((first.astype(np.int16), *sound.weights[1:]))


def test_experts_that_could_leave_the_exact_range_are_refused():
    with pytest.raises(FormatError, match="exact"):
        Experts([np.zeros(0)], [np.full((1, 2), 1 << 27, np.int64)])


@pytest.mark.parametrize("refused", [False, True])
def test_limits_are_those_of_the_format(refused):
    """As numbers, not as the library's constants: what lies on a limit passes, what lies one beyond does not."""
    weights = np.array([[16416, 16416, 1 + refused]], np.int16)           # 32832 * 511 + 32 * 2 is 2**24
    wide = np.zeros((1, 4096 + refused), np.int16)
    deep = [np.ones((1, 2), np.int16)] * (16 + refused)
    text = {"note": "n" * (65536 - len('{"layers": [[1, 2]], "note": ""}') + refused)}
    experts = np.tile([[1 << 14, 0]], (64 + refused, 1))
    nothing = IntegerNetwork((np.zeros((1, 2), np.int16),))
    change = b"\1" + encode_groups(np.array([0, 32767 + refused]), np.zeros(2, np.uint8), 1)
    for make in (lambda: IntegerNetwork((weights,)), lambda: IntegerNetwork((wide,)),
                 lambda: unpack_model(pack_model(Model(IntegerNetwork(tuple(deep)), {}))),
                 lambda: unpack_model(pack_model(Model(IntegerNetwork((deep[0],)), text))),
                 lambda: Experts([np.arange(len(experts) - 1.0)], [experts]),
                 lambda: Experts([np.zeros(0)], [np.array([[1 << 27, (1 << 27) - 1 + refused]])]),
                 lambda: unpack_change(change, nothing)):
        if not refused:
            make()
            continue
        with pytest.raises(FormatError):
            make()


@pytest.mark.parametrize("name, allowed, refused", [
    ("radii", [[8, 3]], [[9, 3]]), ("radii", [[2, 1]] * 4, [[2, 1]] * 5),
    ("regions", [0] * 15 + [3], [0] * 16 + [3]), ("residuals", 6, 5), ("residuals", 24, 25), ("inputs", 1, 0),
    ("maximum", 2**24 - 1, 2**24)])
def test_configurations_up_to_their_limits(name, allowed, refused):
    config = {"radii": [[5, 3], [3, 3]], "inputs": 12, "residuals": 14, "temporal": False, "maximum": 4095,
              "network": "none", "bound": [3, 0, 4095]}
    with pytest.raises(FormatError, match="neural model that this version"):
        NeuralCodec.from_config({**config, name: allowed}, b"")
    with pytest.raises(FormatError, match="configuration of the neural codec"):
        NeuralCodec.from_config({**config, name: refused}, b"")


def test_float32_sums_are_exact_at_the_bound():
    """The worst case the proof allows, in every order BLAS may choose: equal to integer arithmetic."""
    rng = np.random.default_rng(0)
    layer = rng.integers(-500, 500, (64, 65)).astype(np.int16)
    inputs = rng.choice([-511, 511], (65, 300)).astype(np.float32)
    inputs[-1] = 32
    network = IntegerNetwork((layer,))
    buffer = np.empty((65, 300), np.float32)
    exact = layer.astype(np.int64) @ inputs.astype(np.int64)
    assert np.abs(exact).max() > 1 << 20
    assert np.array_equal(network.forward(inputs, [buffer]), exact >> 6)


def test_model_file_round_trip_and_damage():
    model = shipped_model("default")
    data = pack_model(Model(model.network, {"note": "x"}))
    again = unpack_model(data)
    assert again.network.sha256 == model.network.sha256 and again.description["note"] == "x"
    for broken in (b"", data[:100], data[:-1], data[:50] + b"\0" + data[51:], b"X" + data[1:]):
        with pytest.raises(FormatError):
            unpack_model(broken)


def test_experts_round_trip():
    slab = smooth((1, 9, 40, 40), 4095)
    experts = NeuralCodec.fit([slab], 4095, "default", SPACING)._predictor.experts
    near = _near("default")
    again = unpack_experts(pack_experts(experts, near), near)
    for ours, theirs in zip(experts.weights + experts.thresholds, again.weights + again.thresholds, strict=True):
        assert np.array_equal(ours, theirs)


def test_fine_tuning_travels():
    slab = smooth((1, 12, 64, 64), 4095, noise=0.01)
    fitted = NeuralCodec.fit([slab], 4095, "default", SPACING)
    base = fitted._predictor.network
    samples = InputSampler([slab], fitted._predictor, np.random.default_rng(0)).draw(40_000)
    samples.residuals[:] += 2                                  # a volume whose references are all wrong
    volume = SimpleNamespace(draw=lambda n_voxels: samples, n_voxels=10**7, rough_share=1.0)
    tuned = tune(base, volume, 150, PRESETS["default"], lambda fraction: None)
    assert code_length(to_float(tuned), samples) < code_length(to_float(base), samples) - 0.1
    change = pack_change(tuned, base)
    assert unpack_change(change, base).sha256 == tuned.sha256
    codec = NeuralCodec(replace(fitted._predictor, network=tuned), PRESETS["default"].radii, base, change)
    again = NeuralCodec.from_config(codec.get_config(), codec.model)
    assert again._predictor.network.sha256 == tuned.sha256 != base.sha256
    assert np.array_equal(again.decode(codec.encode(slab), slab.shape), slab)


def test_every_voxel_is_drawn_before_any_is_drawn_again():
    slabs = [smooth((1, 6, 48, 64), 4095, noise=0.02), smooth((1, 3, 48, 64), 4095, noise=0.03)]
    predictor = NeuralCodec.fit(slabs, 4095, "fast", SPACING)._predictor
    whole = InputSampler(slabs, predictor, np.random.default_rng(0)).draw(10**9)
    sampler = InputSampler(slabs, predictor, np.random.default_rng(1))
    parts = Samples.join([sampler.draw(sampler.n_voxels // 3) for _ in range(3)])
    assert len(whole) == len(parts) == round(sampler.rough_share * sampler.n_voxels) > 0.9 * sampler.n_voxels
    assert np.array_equal(np.sort(whole.residuals), np.sort(parts.residuals))
    assert np.array_equal(np.sort(whole.inputs, axis=0), np.sort(parts.inputs, axis=0))
    assert len(sampler.draw(1)) <= 24 * 64


def test_rounds_keep_what_they_have_where_nothing_new_comes():
    draws = iter([1, 2, 0, 3])

    def draw():
        samples = Samples.empty(next(draws), 1)
        samples.residuals[:] = len(samples)
        return samples

    rng = np.random.default_rng(0)
    with ThreadPoolExecutor(1) as pool:
        rounds = Rounds(draw, 4, 2, pool)
        assert [rounds.batch(1, rng).residuals[0] for _ in range(10)] == [1, 1, 2, 2, 2, 2, 3, 3, 3, 3]


def test_every_sample_of_a_round_is_taken_before_any_is_taken_again():
    samples = Samples.empty(10, 1)
    samples.residuals[:] = np.arange(10)
    with ThreadPoolExecutor(1) as pool:
        rounds = Rounds(lambda: samples, 1, 100, pool)
        taken = np.concatenate([rounds.batch(4, np.random.default_rng(seed)).residuals for seed in range(10)])
    assert len(np.unique(taken[:8])) == 8
    assert np.array_equal(np.bincount(taken.astype(int)), np.full(10, 4))
    assert not np.array_equal(taken[:10], np.arange(10))


@pytest.mark.parametrize("max_error", [1, 2, 5])
def test_near_lossless_keeps_its_bound_and_the_padding(max_error):
    slab = smooth((1, 8, 40, 44), 3000, noise=0.02) + 10
    slab[:, :, :9, :9] = np.arange(9)                          # padding values, all below the interval
    slab[:, :, 30:, 30:] = 3500
    quality = SampleBound(max_error, 10, 3499)
    codec = NeuralCodec.fit([slab], 3500, "default", SPACING, quality=quality)
    again = NeuralCodec.from_config(codec.get_config(), codec.model)
    payload = codec.encode(slab)
    decoded = again.decode(payload, slab.shape)
    inside = (slab >= 10) & (slab <= 3499)
    assert np.array_equal(decoded[~inside], slab[~inside])
    assert np.abs(decoded - slab).max() == max_error
    assert decoded[inside].min() >= 10 and decoded[inside].max() <= 3499
    lossless = NeuralCodec.fit([slab], 3500, "default", SPACING)
    assert len(payload) < len(lossless.encode(slab)) * (1 - 0.1 * max_error**0.5)


@given(st.integers(0, 9), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.sampled_from([-1, 1])),
                                   min_size=1))
def test_every_sample_has_a_symbol_within_the_bound(max_error, cases):
    samples, centre, sign = np.array(cases, float).T
    bound = SampleBound(max_error, 7, 50)
    symbols = quantise(samples, centre, sign, bound, max_error)
    error = np.abs(reconstruct(symbols, centre, sign, bound, max_error) - samples)
    assert error.max() <= max_error
    assert not error[(samples < 7) | (samples > 50)].any()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["constant", "ramp", "sparse", "disk", "one-slice", "comb", "noise"])
def test_no_volume_is_larger_than_with_the_codec_wavelet(name, preset):
    rng = np.random.default_rng(2)
    k, j, i = np.indices((15, 48, 48))      # of fewer voxels all presets are tried, whichever was asked for
    voxels = {"constant": 0 * k + 7, "ramp": 100 * k + 7 * j + 3 * i, "sparse": 1000 * (rng.random(k.shape) < 0.0005),
              "disk": (j - 24) ** 2 + (i - 24) ** 2 < 300, "one-slice": smooth((1, 1, 48, 48), 4095)[0],
              "comb": smooth((1, 15, 48, 48), 4095)[0] // 50 * 50, "noise": rng.integers(0, 65536, k.shape)}[name]
    volume = mc.Volume.from_array(voxels.astype(np.uint16))
    ours, wavelet = (mc.compress(volume, codec=codec, preset=preset if codec == "neural" else None, threads=1)
                     for codec in ("neural", "wavelet"))
    assert len(ours) <= 1.01 * len(wavelet)
    assert mc.decompress(ours).equals(volume)


def test_thresholds_must_ascend():
    near = _near("fast")
    slab = smooth((1, 16, 96, 96), 4095, noise=0.02)
    experts = NeuralCodec.fit([slab], 4095, "fast", SPACING)._predictor.experts
    surrounding = next(number for number, part in enumerate(experts.thresholds) if len(part) > 1)
    experts.thresholds[surrounding][1] = experts.thresholds[surrounding][0]
    unpack_experts(pack_experts(experts, near), near)
    experts.thresholds[surrounding][1] -= 1
    with pytest.raises(FormatError, match="ascend"):
        unpack_experts(pack_experts(experts, near), near)
