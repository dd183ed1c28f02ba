"""Chunks of Zarr arrays in our codecs, by numcodecs and by zarr itself."""

import importlib.metadata
import subprocess
import sys

import numpy as np
import pytest

import MedCompressLib as mc

numcodecs = pytest.importorskip("numcodecs", reason="the extra zarr is not installed")
zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")
from MedCompressLib.zarr_codec import ZarrCodec  # noqa: E402

DTYPES = ["i1", "u1", "<i2", ">i2", "<u2", ">u4", "<i8", "<f4", ">f4", "<f8", "?", "<f2", ">f2"]
SHAPES = [(), (7,), (5, 6), (4, 5, 6), (2, 3, 4, 5), (2, 2, 3, 4, 5), (1, 2, 1, 2, 3, 4)]


def chunk(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    values = np.random.default_rng(3).integers(0, 100, shape)
    return (np.asarray(values) > 50 if dtype == "?" else np.asarray(values)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_type(dtype):
    array = chunk(dtype, (4, 5, 6))
    assert np.asarray(ZarrCodec().decode(ZarrCodec().encode(array))).tobytes() == array.tobytes()


@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape(shape):
    array = chunk("<i2", shape)
    for laid_out in (array, np.asfortranarray(array)):
        decoded = ZarrCodec().decode(ZarrCodec().encode(laid_out))
        assert np.asarray(decoded).tobytes() == laid_out.tobytes("A")


def test_into_an_array_of_the_caller():
    array = chunk("<i2", (4, 5, 6))
    out = np.empty_like(array)
    ZarrCodec().decode(ZarrCodec().encode(array), out=out)
    assert np.array_equal(out, array)


def test_special_floats_bit_by_bit():
    array = np.array([[0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45]], dtype="<f4")
    array.view("u4")[0, 2] = 0x7FC12345
    assert np.asarray(ZarrCodec().decode(ZarrCodec().encode(array))).tobytes() == array.tobytes()


def test_configuration_restores_the_codec():
    codec = ZarrCodec(codec="neural", preset="fast", threads=2)
    again = numcodecs.get_codec(codec.get_config())
    assert again == codec and again.codec == "neural"


def test_numcodecs_finds_it_without_our_import():
    program = "import numcodecs; print(type(numcodecs.get_codec({'id': 'medcompress'})).__name__)"
    entry = any(one.name == "medcompress" for one in importlib.metadata.entry_points(group="numcodecs.codecs"))
    if not entry:
        pytest.skip("the package was installed before it had this entry point")
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "ZarrCodec\n"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("codec", ["auto", "wavelet", "runs"])
def test_arrays_on_disk(order, codec, tmp_path):
    voxels = np.cumsum(np.random.default_rng(0).integers(-3, 4, (10, 34, 30)), axis=2).astype("<i2")
    options = {"shape": voxels.shape, "chunks": (8, 32, 32), "dtype": voxels.dtype, "order": order}
    array = zarr.create_array(str(tmp_path / "a.zarr"), compressors=ZarrCodec(codec), zarr_format=2, **options)
    array[:] = voxels
    again = zarr.open_array(str(tmp_path / "a.zarr"), mode="r")
    assert np.array_equal(again[:], voxels)
    assert np.array_equal(again[3:9, ::7, 5], voxels[3:9, ::7, 5])


def test_what_cannot_be_stored():
    for array in (np.zeros(3, "c8"), np.array(["a"]), np.zeros(2, "M8[s]")):
        with pytest.raises(mc.UnsupportedError, match="not supported"):
            ZarrCodec().encode(array)
    with pytest.raises(mc.UnsupportedError, match="nothing in it"):
        ZarrCodec().encode(np.zeros((0, 3), "i2"))
    with pytest.raises(mc.FormatError):
        ZarrCodec().decode(b"damaged")


def test_the_library_does_not_need_it():
    program = ("import sys; sys.modules['numcodecs'] = None; import MedCompressLib as mc, numpy as np; "
               "mc.compress(np.zeros((2, 3, 4), 'u1'))")
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
