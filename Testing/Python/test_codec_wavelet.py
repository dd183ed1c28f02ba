"""The codec `wavelet`: the shared contract, the transform, the lattice, and what it promises on real volumes."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
from codec_contract import CodecContract, check_limit_of_weights, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from MedCompressLib.codecs import get_codec
from MedCompressLib.codecs.wavelet import WaveletCodec, lifting
from MedCompressLib.codecs.wavelet.contexts import Known, Terms, Weights, predict, term_counts, weighted_sum
from MedCompressLib.codecs.wavelet.lattice import Lattice, passes
from MedCompressLib.codecs.wavelet.quantiser import Quantiser
from MedCompressLib.compiled import SWITCH
from MedCompressLib.errors import FormatError, UnsupportedError
from MedCompressLib.quality import SampleBound

SPACING = (2.5, 0.7, 0.7)
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 19), st.integers(1, 21))


class TestWaveletContract(CodecContract):
    codec_id = "wavelet"


@settings(max_examples=60, deadline=None)
@given(arrays(np.int32, SHAPES, elements=st.integers(-(2**24), 2**24)), st.integers(0, 5), st.integers(0, 4))
def test_transform_restores_every_bit(volume, levels, depth_levels):
    done = lifting.forward(volume, levels, depth_levels)
    shapes = lifting.level_shapes(volume.shape, levels, depth_levels)
    low = done[-1].low if done else volume
    for number in reversed(range(levels)):
        assert low.shape == shapes[number + 1]
        for name, band in done[number].bands.items():
            assert band.shape == lifting.band_shape(shapes[number], name, number < depth_levels)
        low = lifting.merge(done[number]._replace(low=low), number < depth_levels)
    assert np.array_equal(low, volume)


@settings(max_examples=40, deadline=None)
@given(arrays(np.int32, SHAPES, elements=st.integers(-(2**31), 2**31 - 1)), st.integers(1, 3), st.integers(0, 2))
def test_compiled_transform_is_the_same(volume, levels, depth_levels):
    """Also where sums wrap, both ways."""
    pytest.importorskip("numba")
    results = []
    for switch in "01":
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(SWITCH, switch)
            done = lifting.forward(volume, levels, depth_levels)
            results.append([*(part for level in done for part in (level.low, *level.bands.values())),
                            lifting.merge(done[0], depth_levels > 0)])
    assert all(np.array_equal(*pair) for pair in zip(*results, strict=True))


def test_transform_by_hand():
    """x = 1 5 2 8: high = 5 - 1, 8 - 2; low = 1 + (4+4+2)/4, 2 + (4+6+2)/4, all divisions floored."""
    level, = lifting.forward(np.array([1, 5, 2, 8], np.int32).reshape(1, 1, 1, 4), 1, 0)
    assert level.bands[0, 0, 1].ravel().tolist() == [4, 6]
    assert level.low.ravel().tolist() == [3, 5]


def cut(lattice, array, mode="zero"):
    components = {component: np.zeros(lattice.size, np.int32) for component in lattice.components()}
    lattice.cut(array, mode, components)
    return components


@settings(max_examples=60, deadline=None)
@given(arrays(np.int32, SHAPES, elements=st.integers(-99, 99)), st.booleans(), st.data())
def test_a_tap_is_the_neighbour(array, cut_depth, data):
    lattice = Lattice(array.shape, cut_depth)
    components = cut(lattice, array)
    assert np.array_equal(lattice.join(components, array.shape), array)
    component = data.draw(st.sampled_from(lattice.components()))
    offset = data.draw(st.tuples(*[st.integers(-1, 1)] * 3))
    where, shift = lattice.tap(component, offset)
    own = np.zeros(lattice.size, np.int64)
    end = lattice.size - lattice.reach
    own[lattice.reach:end] = components[where][lattice.reach + shift:end + shift]
    padded = np.pad(array, [(0, 0), (1, 1), (1, 1), (1, 1)])
    moved = padded[:, *(slice(1 + o, 1 + o + n) for o, n in zip(offset, array.shape[1:], strict=True))]
    expected = cut(lattice, moved)[component]
    assert np.array_equal(lattice.inside(own, component, array.shape),
                          lattice.inside(expected, component, array.shape))


@pytest.mark.parametrize("cut_depth", [False, True])
def test_a_pass_knows_only_earlier_passes(cut_depth):
    order = passes(cut_depth)
    coded = {component: number for number, step in enumerate(order) for component in step.components}
    assert len(coded) == (8 if cut_depth else 4)
    for number, step in enumerate(order):
        for component in step.components:
            for offset in np.ndindex(3, 3, 3):
                offset = tuple(o - 1 for o in offset)
                where, _ = Lattice((1, 4, 4, 4), cut_depth).tap(component, offset)
                if step.knows(offset, cut_depth):
                    assert coded[where] < number


def real_volume(data_file, name):
    from MedCompressLib import read

    voxels = read(data_file(name)).voxels.astype(np.int32)
    return (voxels - voxels.min())[None]


@pytest.mark.parametrize(("name", "bits_per_voxel"), [("train/mr_brain_prisma_t1_fl2d_sag.nrrd", 4.30),
                                                      ("train/ct_chest_ge_lidc0003.nrrd", 5.0)])
def test_size_on_real_volumes(data_file, name, bits_per_voxel):
    volume = real_volume(data_file, name)
    slabs = [volume[:, k:k + WaveletCodec.slab_slices] for k in range(0, volume.shape[1], WaveletCodec.slab_slices)]
    codec = WaveletCodec.fit(slabs, int(volume.max()), "default", SPACING)
    payloads = [codec.encode(slab) for slab in slabs]
    restored = WaveletCodec.from_config(codec.get_config(), codec.model)
    for slab, payload in zip(slabs, payloads, strict=True):
        assert np.array_equal(restored.decode(payload, slab.shape), slab)
    assert 8 * (sum(map(len, payloads)) + len(codec.model)) / volume.size < bits_per_voxel


def test_depth_axis_follows_the_data():
    """Frames that hardly change are transformed along time; a volume of one frame along k."""
    still = np.repeat(smooth((1, 3, 48, 48), 4000, noise=0.05), 8, axis=0)
    still += np.random.default_rng(0).integers(0, 5, still.shape).astype(np.int32)
    assert WaveletCodec.fit([still], 4100, "default", SPACING).depth_axis == "frames"
    assert WaveletCodec.fit([still[:1]], 4100, "default", SPACING).depth_axis == "k"


def fixed_weights(depth_levels):
    """Weights that depend on nothing, so that the bytes depend on the stream format alone."""
    weights = {}
    for number in range(3):
        split = number < depth_levels
        for name in lifting.band_names(split):
            for step in passes(not split):
                n_mean, n_spread = term_counts(name, step, split)
                weights[number, name, step] = Weights((np.arange(n_mean, dtype=np.int32) * 37 + number) % 101 - 50,
                                                      (np.arange(n_spread, dtype=np.int32) * 29) % 83 + 3)
    return weights


def golden():
    slab = (np.arange(2 * 5 * 37 * 41) * 7919 % 10007 % 61).astype(np.int32).reshape(2, 5, 37, 41)
    slab[:, :, 5:20, 9:30] += 1500
    slab[:, :, :, 35:] = 0
    return slab, 1560


@pytest.mark.parametrize(("depth_levels", "depth_axis", "digest"), [
    (0, "k", "6753b192d0f7313b0eed87c81a16c3f2bf6c08bb030b50518351aa87ebc764ca"),
    (1, "k", "eace178294cfdff90e7ca548dcd518a4efa2c43d963f37b6b8be18fab8d3f099"),
    (2, "frames", "a84dee081ca57415b78e5f82b02077278d019438a073a510d2a56909387cd65e"),
])
@pytest.mark.parametrize("numba", [False, True])
def test_golden_streams(monkeypatch, depth_levels, depth_axis, digest, numba):
    """These bytes are part of the format: a change of any of them needs a new format version."""
    if numba:
        pytest.importorskip("numba")
    else:
        monkeypatch.setenv(SWITCH, "0")
    slab, maximum = golden()
    codec = WaveletCodec(maximum, 3, depth_levels, depth_axis, 3, fixed_weights(depth_levels))
    payload = codec.encode(slab)
    assert hashlib.sha256(codec.model + payload).hexdigest() == digest
    again = WaveletCodec.from_config(codec.get_config(), codec.model)
    assert np.array_equal(again.decode(payload, slab.shape), slab)


@settings(max_examples=30, deadline=None)
@given(SHAPES, st.booleans(), st.sampled_from([np.int32, np.int64]), st.integers(0, 5), st.integers(0, 2**32))
def test_compiled_predictions_are_the_same(shape, cut_depth, dtype, unit, seed):
    """Also where the sums wrap in 32 bits."""
    pytest.importorskip("numba")                      # once it is loaded, it is used for arrays of any size
    rng = np.random.default_rng(seed)
    size = 2**int(rng.integers(1, 25))
    known = Known(Lattice(shape, cut_depth), rng.integers(-size, size, shape, np.int32))
    known.values[:] = rng.integers(-size, size, len(known.values), np.int32)
    for name in known.bands:
        for step in known.lattice.passes:
            n_mean, n_spread = term_counts(name, step, not cut_depth)
            weights = Weights(rng.integers(-9000, 9000, n_mean, np.int32), rng.integers(-99, 9000, n_spread, np.int32))
            weights.mean[rng.random(n_mean) < 0.2] = 0
            for component in step.components:
                arguments = known, name, step, component, shape, weights, unit, dtype
                with pytest.MonkeyPatch.context() as patch:
                    patch.setenv(SWITCH, "0")
                    plain = predict(*arguments)
                compiled = predict(*arguments)
                assert [part.dtype for part in compiled] == [np.int32, np.uint8]
                assert all(np.array_equal(*pair) for pair in zip(plain, compiled, strict=True))


@pytest.mark.parametrize("shape", [(1, 8, 70, 61), (3, 1, 90, 40), (2, 5, 1, 300)])
def test_numba_chooses_the_same_weights(monkeypatch, shape):
    """Sums of floats in another order: rounded to integers they are the same."""
    pytest.importorskip("numba")
    slab = smooth(shape, 3000, noise=0.05)
    models = []
    for switch in "01":
        monkeypatch.setenv(SWITCH, switch)
        codec = WaveletCodec.fit([slab], 4000, "default", SPACING)
        models.append((codec.get_config(), codec.model, codec.encode(slab)))
    assert models[0] == models[1]


@pytest.mark.parametrize("volume", [np.random.default_rng(1).integers(0, 1000, (1, 8, 128, 128), np.int32),
                                    smooth((1, 8, 128, 128), 3000, noise=0.01)], ids=["noise", "smooth"])
def test_terms_that_tell_little_have_no_weight(volume):
    codec = WaveletCodec.fit([volume], 4000, "default", SPACING)
    weights = np.concatenate([part for pair in codec.weights.values() for part in (pair.mean, pair.spread)])
    assert 0 < np.count_nonzero(weights) < 0.3 * len(weights)
    restored = WaveletCodec.from_config(codec.get_config(), codec.model)
    assert np.array_equal(restored.decode(codec.encode(volume), volume.shape), volume)


def test_contradicting_configuration():
    config = WaveletCodec(100, 3, 2, "k", 3).get_config()
    with pytest.raises(FormatError, match="contradicts itself"):
        WaveletCodec.from_config({**config, "weight_sets": 2}, b"")
    with pytest.raises(FormatError, match="contradicts itself"):
        WaveletCodec.from_config({**config, "depth_axis": "t"}, b"")


@pytest.mark.parametrize("beyond", [{"maximum": 1 << 24}, {"levels": 17}, {"depth_levels": 5}])
def test_configurations_at_and_beyond_their_limits(beyond):
    at = {"maximum": (1 << 24) - 1, "levels": 16, "depth_levels": 4, "depth_axis": "k", "weight_sets": 5}
    assert WaveletCodec.check_config(at).levels == 16
    with pytest.raises(FormatError, match="whole number from 0 to"):
        WaveletCodec.check_config({**at, **beyond})


@pytest.mark.parametrize(("shape", "levels", "depth_levels", "fits"), [
    ((116508, 1, 1, 1), 1, 0, True), ((116509, 1, 1, 1), 1, 0, False),     # 4 * 6 * 6 places each, up to 2^24
    ((58254, 2, 1, 1), 1, 1, True), ((58255, 2, 1, 1), 1, 1, False),       # twice that, as the depth is split
    ((58254, 1, 2, 1), 2, 0, True), ((58255, 1, 2, 1), 2, 0, False),       # in both levels
    ((1, 1, 1, 1398090), 1, 0, True), ((1, 1, 1, 1398091), 1, 0, False),   # 4 * 6 * (699045 + 5)
    ((1, 1, 8192, 8192), 10, 0, True), ((1, 1, 16, 2**22), 1, 0, True), ((1, 1, 2, 2**25), 1, 0, False),
    ((1, 1, 8, 2**22), 1, 1, True), ((1, 1, 7, 2**23), 1, 1, False),       # 4.5 and 5.1 times the voxels
    ((2, 1, 2896, 2896), 1, 0, False), ((1, 2, 2896, 2896), 1, 0, True)])
def test_levels_of_many_short_lines(shape, levels, depth_levels, fits):
    """Up to the limit of the format, decoding goes on to the payload."""
    codec = WaveletCodec(100, levels, depth_levels, "k", levels)
    with pytest.raises(FormatError, match="shorter than needed" if fits else "too short, or too many"):
        codec.decode(codec_of_one_voxel().encode(np.zeros((1, 1, 1, 1), np.int32)), shape)


def codec_of_one_voxel() -> WaveletCodec:
    return WaveletCodec(100, 0, 0, "k", 0)


@pytest.mark.parametrize(("shape", "fits"), [
    ((349525, 1, 1, 1), True), ((349526, 1, 1, 1), False), ((1, 1, 3000, 3000), True), ((1, 1, 1, 2**23), False)])
def test_regions_of_many_short_lines(shape, fits):
    codec = WaveletCodec(100, 0, 0, "k", 0, bound=SampleBound(1, 0, 100)).with_regions([0, 1])
    regions = np.zeros(shape, np.uint8)
    with pytest.raises(FormatError, match="damaged" if fits else "too short, or too many"):
        codec.decode(b"", shape, regions)
    if not fits:
        with pytest.raises(UnsupportedError, match="another codec"):
            codec.add_layer(b"", np.zeros(shape, np.int32), regions)


@pytest.mark.parametrize("codec_id", ["wavelet", "progressive"])
@pytest.mark.parametrize("shape", [(120_000, 2, 1, 13), (60_000, 3, 1, 14)])
def test_volumes_of_many_short_lines(codec_id, shape):
    """They are coded without levels, or along the axis with which there are fewer margins."""
    slab = smooth(shape, 90, noise=0.2).astype(np.int32)
    codec = get_codec(codec_id).fit([slab], 100, "default", SPACING)
    again = get_codec(codec_id).from_config(codec.get_config(), codec.model)
    assert (codec.levels > 0) == (shape[0] < 100_000)
    assert np.array_equal(again.decode(codec.encode(slab), shape), slab)


LOSSY = {"maximum": 4095, "levels": 1, "depth_levels": 0, "depth_axis": "k", "weight_sets": 1}


@pytest.mark.parametrize("key, allowed, refused", [
    ("regions", [3], []), ("regions", [0] * 16, [0] * 17), ("regions", [None, 2**20], [None, 2**20 + 1]),
    ("steps", [[1, 2**40, 9], [1]], [[1, 2**40 + 1, 9], [1]]), ("steps", [[1, 9, 9], [1]], [[1, 9, 9], [0]]),
    ("points", [64, -64], [64, -65]), ("points", [-64, 64], [-64, 65]), ("weight_sets", 1, 0)])
def test_lossy_configurations_at_and_beyond_their_limits(key, allowed, refused):
    lossy = {"bound": [3, 0, 4095]} if key == "regions" else {"steps": [[4, 5, 6], [3]], "points": [0, 0]}
    WaveletCodec.check_config({**LOSSY, **lossy, key: allowed})
    with pytest.raises(FormatError):
        WaveletCodec.check_config({**LOSSY, **lossy, key: refused})


def test_weights_at_and_beyond_their_limit():
    slab = smooth((1, 4, 24, 24), 3000, noise=0.05)
    codec = WaveletCodec.fit([slab], 4000, "default", SPACING)
    check_limit_of_weights(codec, next(iter(codec.weights.values())).mean)


def test_contexts_of_lossy_files_see_about_quarters_of_the_first_step():
    low = np.array([1000, -1000, 7, 1 << 40])
    assert Quantiser(((40, 7, 900), (1,)), (0, 0)).seen(low, 0).tolist() == [125, -125, 0, 1 << 28]
    assert Quantiser(((3, 900, 900), (1,)), (0, 0)).seen(low, 0).tolist() == [1000, -1000, 7, 1 << 28]


def test_sums_that_leave_32_bits():
    """Two neighbours of 31 bits are added in 64, as in the compiled loop."""
    values = np.full(9, 2**31 - 1, np.int32)
    total = weighted_sum(values, Terms.of([[-1, 1, 0]]), np.array([3]), 0, SimpleNamespace(reach=1, size=9), np.int64)
    assert total[1:-1].tolist() == [3 * 3 * (2**31 - 1)] * 7


def test_the_lowest_integer_is_dequantised():
    lowest = np.array([-2**31], np.int32)
    assert Quantiser(((1 << 16,),), (0, 0)).dequantised(lowest, 1 << 16).tolist() == [-2**47]
