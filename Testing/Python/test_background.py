"""A constant background: regions of interest exact, one value around them, and the file says so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import MedCompressLib as mc


def scan(shape=(5, 18, 22), axes="kji"):
    rng = np.random.default_rng(0)
    voxels = (rng.normal(0, 12, shape).cumsum(-1) + 40).astype(np.int16)
    sequence = mc.SequenceAxis("time", "s", [str(n) for n in range(shape[0])]) if "t" in axes else None
    return mc.Volume(voxels, np.diag([0.7, 0.7, 2.5, 1]), axes, sequence, {"note": "kept"})


def ball(shape=(5, 18, 22)):
    k, j, i = np.indices(shape)
    return (k - 2) ** 2 * 9 + (j - 8) ** 2 + (i - 11) ** 2 < 40


@pytest.mark.parametrize("codec", ["auto", "neural", "wavelet", "progressive", "runs", "raw"])
def test_exact_inside_and_one_value_around(codec):
    volume, mask = scan(), ball()
    data = mc.compress(volume, codec=codec, quality=mc.ConstantBackground(-1024), roi=mc.RegionOfInterest(mask))
    again = mc.decompress(data)
    expected = np.where(mask, volume.voxels, -1024)
    assert np.array_equal(again.voxels, expected)
    assert again.dtype == volume.dtype and again.metadata == volume.metadata
    assert np.array_equal(again.ijk_to_ras, volume.ijk_to_ras)
    quality, off = mc.info(data)["quality"], np.abs(expected.astype(int) - volume.voxels)
    assert quality["kind"] == "constant-background" and quality["value"] == -1024
    assert quality["reached"]["max_error"] == off.max()
    assert quality["reached"]["changed_voxels"] == np.count_nonzero(off)
    assert mc.verify(data).ok


def test_much_smaller_than_the_whole():
    volume = scan((8, 64, 64))
    roi = mc.RegionOfInterest(ball((8, 64, 64)))
    assert len(mc.compress(volume, quality=mc.ConstantBackground(0), roi=roi)) < len(mc.compress(volume)) / 4


def test_margin_and_labels():
    volume, mask = scan(), ball()
    labels = mask.astype(np.uint8) * (1 + (np.indices(mask.shape)[2] > 11))
    roi = mc.RegionOfInterest(labels, margin=0.7)
    kept = roi.regions(mask.shape, volume.spacing, None)[0] == 0
    assert kept.sum() > mask.sum()
    again = mc.decompress(mc.compress(volume, quality=mc.ConstantBackground(7), roi=roi))
    assert np.array_equal(again.voxels, np.where(kept, volume.voxels, 7))


def test_frames_and_components_have_the_same_regions():
    mask = ball()
    for shape, axes in (((3, 5, 18, 22), "tkji"), ((5, 18, 22, 2), "kjic")):
        volume = scan(shape, axes)
        data = mc.compress(volume, quality=mc.ConstantBackground(0), roi=mc.RegionOfInterest(mask))
        everywhere = mask[..., np.newaxis] if axes == "kjic" else mask
        assert np.array_equal(mc.decompress(data).voxels, np.where(everywhere, volume.voxels, 0))


def test_from_file_to_file(tmp_path):
    volume, mask = scan((40, 18, 22)), ball((40, 18, 22))
    mc.write(tmp_path / "scan.nrrd", volume)
    with mc.open(tmp_path / "scan.nrrd") as lazy:
        mc.write(tmp_path / "scan.mcz", lazy, quality=mc.ConstantBackground(0), roi=mc.RegionOfInterest(mask))
    assert np.array_equal(mc.read(tmp_path / "scan.mcz").voxels, np.where(mask, volume.voxels, 0))


@settings(max_examples=30, deadline=None)
@given(arrays(np.int16, (2, 4, 5)), arrays(bool, (2, 4, 5)), st.integers(-(2**15), 2**15 - 1))
def test_any_shape_of_region(voxels, mask, value):
    mask[0, 0, 0] = True
    data = mc.compress(voxels, quality=mc.ConstantBackground(value), roi=mc.RegionOfInterest(mask))
    assert np.array_equal(mc.decompress(data).voxels, np.where(mask, voxels, value))


def test_what_changes_nothing_is_lossless():
    volume = scan()
    everything = mc.RegionOfInterest(np.ones(volume.shape, bool))
    data = mc.compress(volume, quality=mc.ConstantBackground(0), roi=everything)
    assert mc.info(data)["quality"] == {"kind": "lossless"} and mc.decompress(data).equals(volume)


def test_what_neural_leaves_to_wavelet_says_so_too():
    k, j, i = np.indices((10, 48, 48))
    ramp = (100 * k + 7 * j + 3 * i).astype(np.int16)
    mask = np.ones(ramp.shape, bool)
    mask[0, 0, 0] = False
    assert mc.info(mc.compress(ramp, codec="neural"))["codec"] == "wavelet"
    data = mc.compress(ramp, codec="neural", quality=mc.ConstantBackground(1), roi=mc.RegionOfInterest(mask))
    assert mc.info(data)["codec"] == "wavelet" and mc.info(data)["quality"]["kind"] == "constant-background"


@pytest.mark.parametrize(("quality", "roi", "words"), [
    (mc.ConstantBackground(0), None, "needs a region of interest"),
    (mc.ConstantBackground(0), mc.RegionOfInterest(np.zeros((5, 18, 22), bool)), "is empty"),
    (mc.ConstantBackground(0), mc.RegionOfInterest(ball().astype(np.uint8), {1: 3}), "leave out their bounds"),
    (mc.ConstantBackground(0), mc.RegionOfInterest(ball((5, 18, 21))), "resample it"),
    (mc.ConstantBackground(40_000), mc.RegionOfInterest(ball()), "-32768 to 32767"),
])
def test_refusals(quality, roi, words):
    with pytest.raises(mc.UnsupportedError, match=words):
        mc.compress(scan(), quality=quality, roi=roi)


def test_refusals_of_types():
    for value in (1.5, True, None):
        with pytest.raises(mc.UnsupportedError, match="whole number"):
            mc.ConstantBackground(value)
    floats = mc.Volume(scan().voxels.astype(np.float32))
    with pytest.raises(mc.UnsupportedError, match="integer voxels"):
        mc.compress(floats, quality=mc.ConstantBackground(0), roi=mc.RegionOfInterest(ball()))
