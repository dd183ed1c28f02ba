"""Targets of size and fidelity through the public functions: they are met, and what was reached is stored and true."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import MedCompressLib as mc
from MedCompressLib.codecs.wavelet import irreversible
from MedCompressLib.codecs.wavelet.lifting import Level
from MedCompressLib.samples import SampleMap


def scan(shape=(10, 48, 56), noise=12.0):
    k, j, i = np.indices(shape[-3:])
    smooth = 400 * np.sin(j / 5) + 300 * np.cos(i / 7 + k) + np.where((j - 20)**2 + (i - 30)**2 < 200, 500, 0)
    return np.round(smooth + np.random.default_rng(0).normal(0, noise, shape)).astype(np.int16)


def psnr(original, decoded):
    error = decoded.astype(np.float64) - original
    return 20 * np.log10((float(original.max()) - float(original.min())) / np.sqrt((error**2).mean()))


@pytest.mark.parametrize("ratio", [6, 12])
def test_ratio_is_met(ratio):
    volume = mc.Volume(scan(), np.diag([0.7, 0.7, 2.5, 1]), metadata={"note": "kept"})
    data = mc.compress(volume, quality=mc.TargetRatio(ratio))
    facts = mc.info(data)
    assert ratio <= volume.voxels.nbytes / len(data) <= 1.02 * ratio
    assert facts["quality"]["kind"] == "lossy" and facts["quality"]["target"] == {"ratio": ratio}
    again = mc.decompress(data)
    reached = facts["quality"]["reached"]
    error = again.voxels.astype(int) - volume.voxels
    assert reached["max_error"] == np.abs(error).max() and reached["voxels"] == error.size
    assert reached["rmse"] == pytest.approx(np.sqrt((error.astype(float)**2).mean()))
    assert reached["psnr_db"] == pytest.approx(psnr(volume.voxels, again.voxels))
    assert again.metadata == volume.metadata and np.array_equal(again.ijk_to_ras, volume.ijk_to_ras)


@pytest.mark.parametrize("bits", [0.8, 2.0])
def test_bitrate_is_met(bits):
    voxels = scan((16, 64, 64))
    data = mc.compress(voxels, codec="wavelet", quality=mc.TargetBitrate(bits))
    assert 0.98 * bits <= 8 * len(data) / voxels.size <= bits


@pytest.mark.parametrize("decibels", [25, 40, 52])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_psnr_is_met(decibels, dtype):
    voxels = scan()
    if dtype is np.uint8:
        voxels = (voxels + 1100) // 10
    if dtype is np.int32:
        voxels = voxels.astype(dtype) * 1000
    voxels = (voxels / np.pi if np.dtype(dtype).kind == "f" else voxels).astype(dtype)
    data = mc.compress(voxels, quality=mc.TargetPSNR(decibels))
    quality, reached = mc.info(data)["quality"], psnr(voxels, mc.decompress(data).voxels)
    assert quality["kind"] == "lossy"
    assert decibels <= reached <= decibels + 0.1
    assert quality["reached"]["psnr_db"] == pytest.approx(reached, abs=1e-6)


@pytest.mark.parametrize("axes", ["tkji", "kjic"])
def test_sequences_and_components(axes):
    voxels = scan((6, 5, 30, 32))
    voxels = np.moveaxis(voxels, 0, -1) if axes == "kjic" else voxels
    volume = mc.Volume(voxels, axes=axes)
    again = mc.decompress(mc.compress(volume, quality=mc.TargetPSNR(45)))
    assert again.axes == axes and 45 <= psnr(voxels, again.voxels) <= 45.1


def test_lossless_where_that_is_smaller():
    labels = (scan() > 300).astype(np.uint8)
    for quality in (mc.TargetRatio(2), mc.TargetBitrate(4), mc.TargetPSNR(60)):
        data = mc.compress(labels, quality=quality)
        assert mc.info(data)["quality"] == {"kind": "lossless"}
        assert np.array_equal(mc.decompress(data).voxels, labels)


def test_a_constant_volume_is_lossless():
    data = mc.compress(np.full((3, 9, 9), 7, np.int16), quality=mc.TargetPSNR(40))
    assert mc.info(data)["quality"] == {"kind": "lossless"}


def test_what_is_too_small_is_refused():
    with pytest.raises(mc.UnsupportedError, match="so small"):
        mc.compress(scan((2, 9, 9)), quality=mc.TargetRatio(1000))


def test_lossy_files_have_slabs(monkeypatch):
    monkeypatch.setattr("MedCompressLib.slabs.SMALL_VOLUME_VOXELS", 0)
    voxels = scan((40, 40, 44))
    data = mc.compress(voxels, quality=mc.TargetPSNR(42), threads=2)
    assert mc.info(data)["slabs"]["count"] > 1 and mc.verify(data).ok
    assert np.array_equal(mc.decompress(data, slices=slice(11, 30)).voxels, mc.decompress(data).voxels[11:30])
    assert data == mc.compress(voxels, quality=mc.TargetPSNR(42), threads=1)


def test_progress_rises_and_may_cancel(tmp_path):
    seen = []
    mc.compress(scan(), quality=mc.TargetPSNR(42), progress=seen.append)
    assert seen == sorted(seen) and seen[0] == 0 and seen[-1] == 1

    def stop(fraction):
        if fraction > 0.5:
            raise mc.Cancelled("enough")

    with pytest.raises(mc.Cancelled):
        mc.write(tmp_path / "a.mcz", scan(), quality=mc.TargetPSNR(42), progress=stop)
    assert not list(tmp_path.iterdir())


def test_a_written_file_is_verified(tmp_path):
    mc.write(tmp_path / "a.mcz", scan(), quality=mc.TargetRatio(8))
    assert mc.verify(tmp_path / "a.mcz").ok
    with mc.open(tmp_path / "a.mcz") as lazy:
        assert np.array_equal(np.asarray(lazy[2]), mc.read(tmp_path / "a.mcz").voxels[2])


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(arrays(np.int16, st.tuples(*[st.integers(1, 7)] * 3), elements=st.integers(-2**15, 2**15 - 1)),
       st.integers(10, 80))
def test_any_voxels_and_any_psnr(voxels, decibels):
    data = mc.compress(voxels, quality=mc.TargetPSNR(decibels))
    again = mc.decompress(data).voxels
    assert np.array_equal(again, voxels) or psnr(voxels, again) >= decibels


@pytest.mark.parametrize(("kind", "value"), [
    ("TargetRatio", 0.5), ("TargetRatio", "20"), ("TargetRatio", True), ("TargetRatio", float("nan")),
    ("TargetBitrate", 0), ("TargetBitrate", -1), ("TargetBitrate", None), ("TargetPSNR", -1), ("TargetPSNR", 301),
    ("TargetPSNR", float("inf"))])
def test_nonsense_is_refused_in_one_sentence(kind, value):
    with pytest.raises(mc.UnsupportedError, match=f"^{kind} needs .*[.]$"):
        getattr(mc, kind)(value)


def test_other_codecs_have_no_targets():
    with pytest.raises(mc.UnsupportedError, match="'neural' has no targets"):
        mc.compress(scan(), codec="neural", quality=mc.TargetRatio(20))
    with pytest.raises(mc.UnsupportedError, match="no preset"):
        mc.compress(scan(), preset="nonsense", quality=mc.TargetRatio(20))
    for codec in ("best", None):
        with pytest.raises(mc.UnsupportedError, match=f"no codec {codec!r}; use one of auto"):
            mc.compress(scan(), codec=codec, quality=mc.TargetRatio(20))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_refused(value):
    voxels = scan().astype(np.float32)
    voxels[3, 4, 5] = value
    with pytest.raises(mc.UnsupportedError, match="finite"):
        mc.compress(voxels, quality=mc.TargetPSNR(40))


@pytest.mark.parametrize("factor", [1e136, 1e-140, 1e139, 1e305, 1e-146, 1e-300])
@pytest.mark.parametrize("target", [mc.TargetPSNR(0), mc.TargetPSNR(50), mc.TargetPSNR(300), mc.TargetRatio(2)])
def test_floats_that_are_very_large_or_small(factor, target):
    """What is reached can be told as long as errors have squares; else they are refused."""
    voxels = scan()[:2, :20, :20].astype(np.float64) * factor
    if 1e-142 < factor < 1e138:
        data = mc.compress(voxels, quality=target, threads=1)
        error = mc.decompress(data).voxels - voxels
        reached = mc.info(data)["quality"].get("reached", {"rmse": 0.0})
        assert reached["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-6)
    else:
        with pytest.raises(mc.UnsupportedError, match="squared"):
            mc.compress(voxels, quality=target, threads=1)


def test_a_range_beyond_24_bits_is_refused():
    voxels = np.array([0, 2**40, 5, 7] * 40, np.int64).reshape(4, 4, 10)
    with pytest.raises(mc.UnsupportedError, match="24 bits"):
        mc.compress(voxels + np.arange(10), quality=mc.TargetPSNR(40))


@pytest.mark.parametrize("values", [np.linspace(-3, 9, 60), np.linspace(5e5, 5e5 + 1, 60), -np.linspace(1, 2, 60),
                                    np.arange(-30, 30) * 0.25, np.array([-0.0, 0.0, 1e-30, 1] * 15)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_linear_map_of_floats(values, dtype):
    voxels = values.astype(dtype).reshape(1, 3, 4, 5)
    samples = SampleMap.from_config(SampleMap.fit_linear([voxels]).get_config())
    mapped = samples.nearest(voxels)
    again = samples.inverse(mapped)
    assert mapped.min() == 0 and mapped.max() == samples.maximum
    assert np.abs(again.astype(float) - voxels).max() <= samples.unit * 0.51 + np.spacing(np.abs(voxels).max())
    assert np.allclose(np.diff(again, axis=3), np.diff(mapped, axis=3) * samples.unit, rtol=1e-5,
                       atol=2 * float(np.spacing(np.abs(voxels).max())))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(arrays(np.int32, st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 19), st.integers(1, 21)),
              elements=st.integers(0, 2**16 - 1)), st.integers(0, 5), st.integers(0, 3))
def test_transform_comes_near_without_a_quantiser(volume, levels, depth_levels):
    one = 1 << irreversible.FRACTION_BITS
    done = irreversible.forward(volume.astype(np.float64), levels, depth_levels)
    low = np.rint((done[-1].low if done else volume) * one).astype(np.int64)
    for number in reversed(range(levels)):
        bands = {name: np.rint(band * one).astype(np.int64) for name, band in done[number].bands.items()}
        low = irreversible.merge(Level(low, bands), number < depth_levels)
    assert np.abs(low / one - volume).max() < 0.25


def test_norms_are_those_of_impulses():
    empty = irreversible.forward(np.zeros((1, 64, 64, 64)), 3, 2)
    for level, name in ((0, (0, 1, 1)), (1, (1, 0, 1)), (2, (0, 1, 0))):
        bands = {band: np.zeros(array.shape, np.int64) for band, array in empty[level].bands.items()}
        bands[name][0, bands[name].shape[1] // 2, bands[name].shape[2] // 2, bands[name].shape[3] // 2] = 1 << 20
        low = irreversible.merge(Level(np.zeros(empty[level].low.shape, np.int64), bands), level < 2)
        for number in reversed(range(level)):
            bands = {band: np.zeros(array.shape, np.int64) for band, array in empty[number].bands.items()}
            low = irreversible.merge(Level(low, bands), number < 2)
        assert np.sqrt(((low / 2**20)**2).sum()) == pytest.approx(irreversible.synthesis_norm(level, name, 2), rel=1e-4)


MASKS = {"empty": np.zeros((6, 30, 34), bool), "full": np.ones((6, 30, 34), bool),
         "first": np.arange(6 * 30 * 34).reshape(6, 30, 34) == 0,
         "last": np.arange(6 * 30 * 34).reshape(6, 30, 34) == 6 * 30 * 34 - 1,
         "scattered": np.random.default_rng(3).random((6, 30, 34)) < 0.1}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_regions_are_exact_whatever_the_background_loses(mask):
    voxels = scan(mask.shape)
    data = mc.compress(voxels, quality=mc.TargetPSNR(30), roi=mc.RegionOfInterest(mask))
    again = mc.decompress(data).voxels
    assert np.array_equal(again[mask], voxels[mask])
    assert psnr(voxels, again) >= 30 and mc.verify(data).ok


def test_regions_have_bounds_of_their_own_and_cost_extra():
    voxels = scan((8, 48, 56))
    labels = np.zeros(voxels.shape, np.uint8)
    labels[2:6, 10:30, 10:30], labels[1:4, 35:44, 20:50] = 1, 9
    plain = mc.compress(voxels, quality=mc.TargetBitrate(1.5))
    data = mc.compress(voxels, quality=mc.TargetBitrate(1.5), roi=mc.RegionOfInterest(labels, {9: 3}))
    off = np.abs(mc.decompress(data).voxels.astype(int) - voxels)
    assert (off[labels == 1].max(), off[labels == 9].max()) == (0, 3) and off[labels == 0].max() > 3
    quality = mc.info(data)["quality"]
    assert quality["regions"] == [0, 3, None]
    assert [part["max_error"] for part in quality["reached"]["regions"]] == [0, 3, off[labels == 0].max()]
    assert len(plain) < len(data) < len(plain) + voxels.itemsize * np.count_nonzero(labels)
    part = mc.decompress(data, slices=slice(3, 5))
    assert np.array_equal(part.voxels[labels[3:5] == 1], voxels[3:5][labels[3:5] == 1])


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.tuples(*[st.integers(1, 7)] * 3), st.randoms(use_true_random=False), st.sampled_from([0, 1, 7]))
def test_any_region_and_any_bound(shape, random, bound):
    rng = np.random.default_rng(random.randrange(2**32))
    voxels = rng.integers(-2000, 2000, shape, dtype=np.int16)
    labels = rng.integers(0, 3, shape, dtype=np.uint8)
    for quality in (mc.TargetPSNR(15), mc.NearLossless(60)):
        data = mc.compress(voxels, codec="wavelet", quality=quality, roi=mc.RegionOfInterest(labels, {2: bound}))
        off = np.abs(mc.decompress(data).voxels.astype(int) - voxels)
        assert not off[labels == 1].any() and off[labels == 2].max(initial=0) <= bound


def test_regions_need_whole_numbers():
    with pytest.raises(mc.UnsupportedError, match="integer voxels"):
        mc.compress(scan().astype(np.float32), quality=mc.TargetPSNR(30),
                    roi=mc.RegionOfInterest(np.zeros((10, 48, 56), bool)))
