"""Near-lossless through the public functions: the bound holds, padding is exact, what was reached is stored."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import MedCompressLib as mc
from MedCompressLib.metrics import Errors
from MedCompressLib.samples import SampleMap


def scan(shape=(6, 20, 24), dtype=np.int16, padding=None):
    rng = np.random.default_rng(0)
    k, j, i = np.indices(shape)
    voxels = (400 * np.sin(j / 5) + 300 * np.cos(i / 7 + k) + rng.normal(0, 12, shape)).astype(dtype)
    if padding is not None:
        voxels[:, :4] = padding
    return mc.Volume(voxels, np.diag([0.7, 0.7, 2.5, 1]), metadata={"note": "kept"})


@pytest.mark.parametrize("max_error", [1, 2, 5, 40])
@pytest.mark.parametrize("codec", ["neural", "wavelet"])
def test_the_bound_holds_and_is_reached(codec, max_error):
    volume = scan()
    data = mc.compress(volume, codec=codec, quality=mc.NearLossless(max_error))
    assert mc.info(data)["codec"] == codec
    again = mc.decompress(data)
    off = np.abs(again.voxels.astype(int) - volume.voxels)
    assert again.dtype == volume.dtype and again.metadata == volume.metadata
    assert off.max() == max_error
    quality = mc.info(data)["quality"]
    assert quality["kind"] == "near-lossless" and quality["max_error"] == max_error
    assert quality["reached"]["max_error"] == max_error
    assert quality["reached"]["rmse"] == pytest.approx(np.sqrt((off.astype(float)**2).mean()))


@pytest.mark.parametrize("codec", ["neural", "wavelet"])
def test_files_shrink_as_the_bound_grows(codec):
    volume = scan((8, 48, 48))
    sizes = [len(mc.compress(volume, codec=codec))]
    sizes += [len(mc.compress(volume, codec=codec, quality=mc.NearLossless(n))) for n in (1, 2, 5, 10)]
    saved = -8 * np.diff(sizes) / volume.voxels.size
    assert saved[0] > 1.2 and np.all(saved > 0.4)        # from 1 to 3 levels a step: log2(3) = 1.58 bits at most


def test_nothing_allowed_is_lossless():
    volume = scan()
    data = mc.compress(volume, codec="neural", quality=mc.NearLossless(0))
    assert mc.decompress(data).equals(volume) and mc.info(data)["quality"] == {"kind": "lossless"}


@pytest.mark.parametrize("padding", [-2000, 3000])
@pytest.mark.parametrize("codec", ["neural", "wavelet"])
def test_padding_stays_exact(codec, padding):
    volume = scan(padding=padding)
    again = mc.decompress(mc.compress(volume, codec=codec, quality=mc.NearLossless(30)))
    assert np.array_equal(again.voxels == padding, volume.voxels == padding)
    assert np.abs(again.voxels.astype(int) - volume.voxels).max() <= 30


def test_the_ends_of_the_type_do_not_wrap():
    voxels = np.random.default_rng(1).choice([0, 1, 3, 250, 254, 255], (4, 9, 9)).astype(np.uint8)
    again = mc.decompress(mc.compress(voxels, quality=mc.NearLossless(7)))
    assert np.abs(again.voxels.astype(int) - voxels).max() <= 7


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(arrays(np.int16, st.tuples(*[st.integers(1, 5)] * 3), elements=st.integers(-2**15, 2**15 - 1)),
       st.integers(1, 3000), st.sampled_from(["neural", "wavelet"]))
def test_any_voxels_and_any_bound(voxels, max_error, codec):
    again = mc.decompress(mc.compress(voxels, codec=codec, quality=mc.NearLossless(max_error)))
    assert np.abs(again.voxels.astype(int) - voxels).max() <= max_error


def test_a_file_with_a_bound_is_verified_when_written(tmp_path):
    path = tmp_path / "a.mcz"
    mc.write(path, scan(), quality=mc.NearLossless(3))
    assert mc.verify(path).ok
    with mc.open(path) as lazy:
        assert np.abs(np.asarray(lazy[2]).astype(int) - scan().voxels[2]).max() <= 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_are_refused(dtype):
    with pytest.raises(mc.UnsupportedError, match="integer voxels"):
        mc.compress(scan(dtype=dtype), quality=mc.NearLossless(1))


def test_lossless_codecs_say_so():
    with pytest.raises(mc.UnsupportedError, match="'runs' is lossless only"):
        mc.compress(scan(), codec="runs", quality=mc.NearLossless(1))


@pytest.mark.parametrize("value", [-1, 2.5, "2", True, None])
def test_bounds_are_whole_numbers(value):
    with pytest.raises(mc.UnsupportedError, match="whole number"):
        mc.NearLossless(value)
    with pytest.raises(mc.UnsupportedError, match="NearLossless"):
        mc.compress(scan(), quality=value if value is not None else 0)


def test_bounded_map_keeps_differences():
    values = np.concatenate([[-3000], np.arange(-200, 900, 3)]).astype(np.int16).reshape(1, 1, 1, -1)
    samples, bound = SampleMap.fit_bounded([values], 2)
    mapped, _ = samples.forward(values)
    assert (bound.max_error, bound.low) == (2, 1)
    assert np.array_equal(np.diff(mapped[0, 0, 0, 1:]), np.diff(values[0, 0, 0, 1:]))
    assert np.array_equal(samples.inverse(mapped), values)


def test_errors_add_up():
    rng = np.random.default_rng(2)
    first, second = rng.integers(-500, 500, (2, 3, 4, 5)).astype(np.int16)
    whole = Errors()
    for part in (slice(0, 1), slice(1, 3)):
        whole.add(Errors.between(first[part], second[part]))
    assert whole == Errors.between(first, second)
    off = second.astype(float) - first
    peak = float(int(first.max()) - int(first.min()))
    assert whole.psnr == pytest.approx(20 * np.log10(peak / np.sqrt((off**2).mean())))


def ball(shape, centre, radius):
    return sum((index - c)**2 for index, c in zip(np.indices(shape), centre, strict=True)) <= radius**2


@pytest.mark.parametrize("mask", [
    np.zeros((6, 20, 24), bool), np.ones((6, 20, 24), bool), ball((6, 20, 24), (3, 9, 12), 5),
    np.arange(6 * 20 * 24).reshape(6, 20, 24) == 0, np.arange(6 * 20 * 24).reshape(6, 20, 24) == 6 * 20 * 24 - 1,
    np.random.default_rng(3).random((6, 20, 24)) < 0.3], ids=["empty", "full", "ball", "first", "last", "scattered"])
@pytest.mark.parametrize("codec", ["neural", "wavelet"])
def test_region_of_interest_is_exact(codec, mask):
    volume = scan()
    again = mc.decompress(mc.compress(volume, codec=codec, quality=mc.NearLossless(25), roi=mc.RegionOfInterest(mask)))
    off = np.abs(again.voxels.astype(int) - volume.voxels)
    assert not off[mask].any()
    assert mask.all() or 20 <= off[~mask].max() <= 25


@pytest.mark.parametrize("codec", ["neural", "wavelet"])
def test_every_region_keeps_its_own_bound(codec):
    volume = scan((8, 40, 40))
    labels = np.zeros((8, 40, 40), np.int16)
    labels[ball(labels.shape, (4, 12, 12), 8)] = 1
    labels[ball(labels.shape, (4, 28, 28), 8)] = 7
    data = mc.compress(volume, codec=codec, quality=mc.NearLossless(30), roi=mc.RegionOfInterest(labels, {7: 4}))
    off = np.abs(mc.decompress(data).voxels.astype(int) - volume.voxels)
    assert (off[labels == 1].max(), off[labels == 7].max(), off[labels == 0].max()) == (0, 4, 30)
    quality = mc.info(data)["quality"]
    assert quality["regions"] == [0, 4, 30]
    assert [part["max_error"] for part in quality["reached"]["regions"]] == [0, 4, 30]
    assert quality["reached"]["regions"][1]["voxels"] == np.count_nonzero(labels == 7)


def test_everything_outside_regions_can_be_exact():
    """A bound of 0 counts for what is in no region; with it everywhere the file is lossless."""
    volume = np.random.default_rng(3).normal(100, 30, (4, 30, 32)).astype(np.int16)
    labels = np.zeros(volume.shape, np.uint8)
    labels[:, 5:20, 5:20] = 1
    data = mc.compress(volume, quality=mc.NearLossless(0), roi=mc.RegionOfInterest(labels, {1: 6}))
    errors = np.abs(mc.decompress(data).voxels.astype(int) - volume)
    assert errors[labels == 0].max() == 0 and 0 < errors[labels == 1].max() <= 6
    assert mc.info(data)["quality"]["regions"] == [0, 6]
    data = mc.compress(volume, quality=mc.NearLossless(0), roi=mc.RegionOfInterest(labels))
    assert mc.info(data)["quality"] == {"kind": "lossless"}


def test_region_counts_for_every_frame():
    frames = np.stack([scan().voxels + 10 * t for t in range(3)])
    mask = ball((6, 20, 24), (3, 9, 12), 5)
    volume = mc.Volume(frames, axes="tkji")
    again = mc.decompress(mc.compress(volume, quality=mc.NearLossless(9), roi=mc.RegionOfInterest(mask)))
    off = np.abs(again.voxels.astype(int) - frames)
    assert not off[:, mask].any() and off.max() == 9


def test_parts_of_a_file_with_regions():
    volume = scan((40, 16, 16))
    mask = ball(volume.shape, (30, 8, 8), 6)
    data = mc.compress(volume, quality=mc.NearLossless(12), roi=mc.RegionOfInterest(mask))
    part = mc.decompress(data, slices=slice(27, 33))
    assert np.array_equal(part.voxels[mask[27:33]], volume.voxels[27:33][mask[27:33]])
    assert np.array_equal(part.voxels, mc.decompress(data).voxels[27:33])


def test_margin_is_measured_in_mm():
    mask = np.zeros((9, 31, 31), bool)
    mask[4, 15, 15] = True
    regions, bounds = mc.RegionOfInterest(mask, margin=3.0).regions(mask.shape, (2.5, 1.0, 0.5), 8)
    k, j, i = np.indices(mask.shape)
    distance = np.sqrt((2.5 * (k - 4))**2 + (j - 15)**2 + (0.5 * (i - 15))**2)
    assert bounds == [0, 8]
    assert np.array_equal(regions == 0, distance <= 3.0)


def test_a_smaller_file_for_a_smaller_region():
    volume = scan((8, 48, 48))
    whole = len(mc.compress(volume, codec="neural"))
    sizes = [len(mc.compress(volume, quality=mc.NearLossless(20),
                             roi=mc.RegionOfInterest(ball(volume.shape, (4, 24, 24), radius)))) for radius in (4, 14)]
    assert sizes[0] < sizes[1] < whole


def test_regions_that_do_not_fit_are_refused():
    with pytest.raises(mc.UnsupportedError, match="shape"):
        mc.compress(scan(), quality=mc.NearLossless(3), roi=mc.RegionOfInterest(np.zeros((2, 2, 2), bool)))
    with pytest.raises(mc.UnsupportedError, match="everything is lossless"):
        mc.compress(scan(), roi=mc.RegionOfInterest(np.zeros((6, 20, 24), bool)))
    with pytest.raises(mc.UnsupportedError, match="array of booleans"):
        mc.RegionOfInterest(np.zeros((6, 20, 24)))
    for margin in (-1, "5", None):
        with pytest.raises(mc.UnsupportedError, match="margin"):
            mc.RegionOfInterest(np.zeros((6, 20, 24), bool), margin=margin)
    for wrong in ({"max_errors": 5}, {"priorities": [1, 2]}):
        with pytest.raises(mc.UnsupportedError, match="dictionary by label"):
            mc.RegionOfInterest(np.zeros((6, 20, 24), bool), **wrong)
    with pytest.raises(mc.UnsupportedError, match="Label 3"):
        mc.RegionOfInterest(np.zeros((6, 20, 24), int), {3: -1})
    with pytest.raises(mc.UnsupportedError, match="at most 16"):
        labels = np.arange(6 * 20 * 24).reshape(6, 20, 24) % 20
        mc.compress(scan(), quality=mc.NearLossless(50),
                    roi=mc.RegionOfInterest(labels, {n: n for n in range(1, 20)}))


@pytest.mark.parametrize(("dtype", "original", "decoded"), [
    ("uint32", 2**32 - 1, 3), ("int32", -2**31, 2**31 - 1), ("uint64", 2**64 - 1, 1), ("int64", -2**63, 2**63 - 1),
    ("int64", 2**62, 0), ("int64", 2**31, 0)])
def test_errors_of_wide_integers(dtype, original, decoded):
    difference = abs(original - decoded)
    errors = Errors.between(np.array([original, 7], dtype), np.array([decoded, 7], dtype))
    assert (errors.voxels, errors.changed, errors.maximum) == (2, 1, difference)
    assert errors.rmse == pytest.approx(difference / 2**0.5)


def test_constant_background_of_wide_integers():
    voxels = np.zeros((2, 8, 8), np.uint32)
    voxels[0, 0, 0] = 2**32 - 1
    mask = np.zeros(voxels.shape, bool)
    mask[1] = True
    data = mc.compress(voxels, quality=mc.ConstantBackground(0), roi=mc.RegionOfInterest(mask))
    assert mc.info(data)["quality"]["reached"]["max_error"] == 2**32 - 1
