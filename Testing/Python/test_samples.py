"""`SampleMap`: exact for every type and value, small where it can be, and deaf to nonsense."""

import base64
import json
import zlib

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from MedCompressLib.errors import FormatError, UnsupportedError
from MedCompressLib.samples import DTYPES, SampleMap
from MedCompressLib.samples.residue import decode_residue, encode_residue

RNG = np.random.default_rng(20)


def slabs_of(volume, slices=4):
    volume = volume.reshape((1,) * (4 - volume.ndim) + volume.shape)
    return [volume[:, k:k + slices] for k in range(0, volume.shape[1], slices)]


def check_round_trip(volume):
    """Fit, travel through JSON, and return bit for bit; returns the map."""
    slabs = slabs_of(volume)
    fitted = SampleMap.fit(slabs)
    again = SampleMap.from_config(json.loads(json.dumps(fitted.get_config())))
    assert again.get_config() == fitted.get_config()
    assert again.maximum == fitted.maximum < 2**24
    for slab in slabs:
        samples, residue = fitted.forward(slab)
        assert samples.dtype == np.int32 and samples.shape == slab.shape
        assert samples.min() >= 0 and samples.max() <= fitted.maximum
        back = again.inverse(samples, residue)
        assert back.dtype == slab.dtype and back.shape == slab.shape
        assert back.tobytes() == np.ascontiguousarray(slab).tobytes()
    return fitted


def smooth(shape=(8, 40, 48)):
    k, j, i = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    return np.sin(5 * k) + np.cos(7 * j) * i + 0.02 * RNG.standard_normal(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_bits_of_any_type(dtype, data):
    shape = data.draw(st.tuples(*[st.integers(1, 5)] * 3))
    raw = data.draw(hnp.arrays(f"u{np.dtype(dtype).itemsize}", shape))
    check_round_trip(raw.view(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_over_the_whole_type(dtype):
    kind = np.dtype(dtype)
    raw = RNG.integers(0, 256, (5, 20, 20 * kind.itemsize), dtype=np.uint8)
    check_round_trip(raw.view(kind))


@pytest.mark.parametrize("dtype", DTYPES)
def test_ends_of_the_type(dtype):
    info = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
    check_round_trip(np.array([[[info.min, info.max], [0, 1]]], dtype))
    check_round_trip(np.full((1, 1, 1), info.max, dtype))


def test_shapes_and_views():
    volume = RNG.integers(-1000, 1000, (6, 9, 7), dtype=np.int16)
    for view in (volume[:, ::-1], volume.transpose(2, 0, 1), volume[:1, :1], volume[:, :, :1], volume[:1, :1, :1]):
        check_round_trip(view)
    fitted = SampleMap.fit([volume.astype(">i2")])
    assert np.array_equal(fitted.inverse(*fitted.forward(volume.astype(">i2"))), volume)
    empty, residue = fitted.forward(volume[:0])
    assert fitted.inverse(empty, residue).shape == (0, 9, 7)


def test_offset_alone():
    fitted = check_round_trip(RNG.integers(-1024, 3000, (4, 64, 64)).astype(np.int16))
    assert len(fitted.starts) == 1 and fitted.maximum <= 4023


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_far_padding_costs_nothing(dtype):
    volume = np.round(400 * smooth()).astype(dtype)
    span = int(volume.max() - volume.min())  # which -0.0 among the floats widens by one
    volume[:, :, ::7] = -2000 if dtype == "int16" else -(2**30)
    assert check_round_trip(volume).maximum <= span + 2


def test_common_zero_bits_are_left_out():
    volume = (16 * np.round(100 * smooth())).astype(np.int16)
    fitted = check_round_trip(volume)
    assert fitted.zeros == 4 and fitted.maximum <= np.ptp(volume) // 16


def test_sparse_histogram_is_packed():
    used = np.sort(RNG.choice(65536, 300, replace=False)).astype(np.uint16)
    volume = used[np.clip(100 + 80 * smooth(), 0, 299).astype(int)]
    fitted = check_round_trip(volume)
    assert fitted.maximum <= 299
    assert len(json.dumps(fitted.get_config())) < 2000


def test_whole_numbers_in_floats():
    for dtype in ("float32", "float64"):
        fitted = check_round_trip(np.round(900 * smooth()).astype(dtype))
        assert fitted.scale == 1.0 and fitted.shift == 0


def test_negative_zero_stands_between_minus_one_and_zero():
    volume = np.float32([[[-2, -1, -0.0, 0.0, 1, 2]]])
    fitted = check_round_trip(volume)
    assert fitted.scale == 1.0
    assert fitted.forward(volume)[0].ravel().tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("scale", [2.361660561660562, 0.1, 1 / 4096, 3e-7, 1e12])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_multiples_of_one_number(scale, dtype):
    whole = np.round(900 * smooth()).astype(np.int64)
    fitted = check_round_trip((whole * np.float64(scale)).astype(dtype))
    assert fitted.scale == pytest.approx(scale, rel=1e-6) and fitted.maximum <= np.ptp(whole) + 1
    if dtype == "float32":
        narrow = check_round_trip(whole.astype(np.float32) * np.float32(scale))
        assert narrow.maximum <= np.ptp(whole) + 1


def test_few_values_without_a_scale_are_packed():
    whole = np.round(300 * smooth())
    fitted = check_round_trip((whole * 1.7 - 1000.3).astype(np.float32))
    assert fitted.shift == 0 and fitted.maximum < len(np.unique(whole))


def test_special_floats_survive_among_whole_numbers():
    volume = np.round(300 * smooth()).astype(np.float32)
    volume[0, 0, :4] = [np.nan, np.inf, -np.inf, -0.0]
    volume.view(np.uint32)[1, 0, 0] = 0x7FA00001  # a signalling NaN with a payload
    volume.view(np.uint32)[1, 0, 1] = 0xFFC12345
    volume[:, 10:, 20:] = np.nan
    assert check_round_trip(volume).maximum < 2000


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_real_floats_are_split(dtype):
    volume = smooth((8, 64, 64)).astype(dtype)
    fitted = check_round_trip(volume)
    assert fitted.shift > 0
    samples, residue = fitted.forward(volume[None])
    assert len(residue) < volume.nbytes and np.ptp(samples) < 2**24


def test_float32_kept_in_float64_leaves_its_zero_bits():
    assert check_round_trip(smooth().astype(np.float32).astype(np.float64)).zeros >= 29


def test_wide_integers_are_split():
    volume = np.round(1e14 * smooth()).astype(np.int64)
    assert check_round_trip(volume).shift > 20


def test_more_values_than_the_table_holds():
    volume = RNG.permutation(2**19).astype(np.uint64).reshape(8, 256, 256) * np.uint64(10**12 + 39)
    assert check_round_trip(volume).shift > 0


def test_fitted_to_all_slabs_and_to_nothing_else():
    volume = RNG.integers(0, 100, (8, 16, 16)).astype(np.int16) * 3
    volume[7, 15, 15] = 9000
    fitted = check_round_trip(volume)
    for wrong in (volume + 1, volume.astype(np.int32), np.full_like(volume, 9001), np.full_like(volume, -1)):
        with pytest.raises(UnsupportedError):
            fitted.forward(wrong)
    scaled = SampleMap.fit([np.float32([[[1, 2, 3]]])])
    for wrong in (0.5, np.nan, -0.0, np.inf, 9.0, -1.0):
        with pytest.raises(UnsupportedError):
            scaled.forward(np.float32([[[wrong]]]))


def test_what_cannot_be_stored():
    for slabs in ([], [np.zeros((0, 4, 4), np.int16)], [np.zeros((2, 2, 2), complex)], [np.zeros((2, 2, 2), bool)],
                  [np.zeros((2, 2, 2), np.float16)]):
        with pytest.raises(UnsupportedError):
            SampleMap.fit(slabs)


def test_damaged_samples_and_residue():
    volume = smooth((4, 32, 32)).astype(np.float32)
    fitted = SampleMap.fit([volume])
    samples, residue = fitted.forward(volume)
    for wrong, rest in ((samples, residue[:-1]), (samples, residue + b"0"), (samples, b""), (samples - 10**9, residue),
                        (samples + fitted.maximum, residue), (samples[:2], residue)):
        with pytest.raises(FormatError):
            fitted.inverse(wrong, rest)
    packed = encode_residue(np.zeros((1, 5, 9), np.uint64), 8)
    assert packed[0] == 1 and not decode_residue(packed, (1, 5, 9), 8).any()
    with pytest.raises(FormatError):     # a kind of plane that is neither stored (0) nor deflated (1)
        decode_residue(b"\2" + packed[1:], (1, 5, 9), 8)
    whole = SampleMap.fit([np.zeros((1, 2, 2), np.uint8)])
    with pytest.raises(FormatError):
        whole.inverse(np.zeros((1, 2, 2), np.int32), b"x")
    with pytest.raises(FormatError):
        whole.inverse(np.ones((1, 2, 2), np.int32))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_flipped_residue_is_refused_or_decodes(data):
    volume = np.linspace(-1, 1, 600, dtype=np.float32).reshape(1, 20, 30) ** 3
    fitted = SampleMap.fit([volume])
    samples, residue = fitted.forward(volume)
    broken = bytearray(residue)
    broken[data.draw(st.integers(0, len(residue) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert fitted.inverse(samples, bytes(broken)).shape == samples.shape
    except FormatError:
        pass


def config_with(**changes):
    config = SampleMap.fit([np.arange(12, dtype=np.int16).reshape(1, 3, 4)]).get_config()
    return {key: value for key, value in {**config, **changes}.items() if value is not None}


def table(numbers):
    planes = np.array(numbers, "<u8").view(np.uint8).reshape(-1, 8).T.tobytes()
    return base64.b64encode(zlib.compress(planes)).decode()


@pytest.mark.parametrize("config", [
    None, [], {}, config_with(dtype="float16"), config_with(dtype=["int16"]), config_with(extra=1),
    config_with(intervals=None), config_with(intervals=3), config_with(intervals=""), config_with(intervals="%%%%"),
    config_with(intervals="AAAA"), config_with(intervals=table([])), config_with(intervals=table([1])),
    config_with(intervals=table([0, 2**63, 2**63, 5])), config_with(intervals=table([2**64 - 1, 2**64 - 1])),
    config_with(intervals=table([0, 2**16])), config_with(intervals=table([0] * 2**20)),
    config_with(dtype="int64", intervals=table([0, 2**24])),
    config_with(zeros=-1), config_with(zeros=16), config_with(zeros=1.0), config_with(zeros="1"),
    config_with(shift=-1), config_with(shift=64), config_with(shift=True, dtype="int64", intervals=table([0, 2**24])),
    config_with(scale=1.0), config_with(dtype="float32", scale=0.0), config_with(dtype="float32", scale=-1.0),
    config_with(dtype="float32", scale=float("nan")), config_with(dtype="float32", scale=float("inf")),
    config_with(dtype="float32", scale="1"), config_with(dtype="float32", scale=1.0, zeros=3),
], ids=str)
def test_damaged_configuration(config):
    with pytest.raises(FormatError):
        SampleMap.from_config(config)


def test_samples_that_are_only_about_right():
    """As previews have them: brought into the range, and of the bits that were split off the middle."""
    start, stop = np.array([100], np.uint64), np.array([1117], np.uint64)
    near = SampleMap(np.dtype("uint32"), 0, None, start, stop, 3).inverse_near(np.array([-5, 0, 1, 127, 500]))
    assert near.dtype == np.uint32 and near.tolist() == [104, 104, 112, 1117, 1117]
    whole = SampleMap(np.dtype("uint32"), 0, None, start, stop, 0).inverse_near(np.array([-5, 0, 1, 5000]))
    assert whole.tolist() == [100, 100, 101, 1117]


@settings(max_examples=200, deadline=None)
@given(numbers=st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=12), shift=st.integers(0, 63),
       dtype=st.sampled_from(DTYPES))
def test_any_table_is_refused_or_consistent(numbers, shift, dtype):
    try:
        fitted = SampleMap.from_config({"dtype": dtype, "shift": shift, "intervals": table(numbers)})
    except FormatError:
        return
    assert 0 <= fitted.maximum < 2**24
    assert np.all(fitted.starts <= fitted.stops) and np.all(fitted.starts[1:] > fitted.stops[:-1])


def test_tables_at_and_beyond_their_longest_text():
    """2^18 characters, of which 48,000 random gaps of four bytes take 256,000."""
    gaps = np.random.default_rng(0).integers(0, 2**32, 50_000)
    at, beyond = (table([*gaps[:n], *[0] * n]) for n in (48_000, 50_000))
    assert len(at) < 2**18 < len(beyond)
    assert SampleMap.from_config(config_with(dtype="uint64", intervals=at)).maximum == 47_999
    with pytest.raises(FormatError):
        SampleMap.from_config(config_with(dtype="uint64", intervals=beyond))


def test_bombs_in_the_table_are_refused_before_memory_is_taken():
    bomb = base64.b64encode(zlib.compress(bytes(2**26))).decode()
    with pytest.raises(FormatError):
        SampleMap.from_config(config_with(intervals=bomb))


@pytest.mark.parametrize("name", ["train/ct_chest_ge_lidc0002.nrrd", "train/mr_brain_prisma_t1_fl2d_sag.nrrd",
                                  "public/ct_head_ge_hispeed.nrrd", "public/us_reconstructed_lnlate_f32.nrrd",
                                  "public/seg_brain_spl_hncma.nrrd"])
def test_real_volumes(data_file, name):
    volume = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(data_file(name))))
    fitted = check_round_trip(volume)
    assert fitted.maximum <= int(volume.max()) - int(volume.min()) and fitted.shift == 0
