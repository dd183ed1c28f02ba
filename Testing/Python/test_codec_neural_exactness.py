"""The neural codec gives the same bits however it computes: compiled or not, in PyTorch, with any BLAS and threads."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from codec_contract import smooth

import MedCompressLib as mc
from MedCompressLib.codecs.neural import NeuralCodec
from MedCompressLib.codecs.neural.experts import Experts
from MedCompressLib.codecs.neural.model_file import shipped_model
from MedCompressLib.codecs.neural.neighbourhood import neighbourhood
from MedCompressLib.codecs.neural.predictor import Predictor
from MedCompressLib.codecs.neural.presets import PRESETS
from MedCompressLib.codecs.neural.raster import KnownPredictions, row_blocks
from MedCompressLib.codecs.neural.torch_wavefront import SWITCH as TORCH
from MedCompressLib.compiled import SWITCH
from MedCompressLib.errors import FormatError
from MedCompressLib.quality import SampleBound
from MedCompressLib.selftest import GOLDEN_FOLDER

SPACING = (2.5, 0.7, 0.7)
SHAPES = [(1, 1, 1, 1), (1, 1, 9, 1), (1, 5, 1, 7), (1, 1, 1, 50), (4, 1, 1, 1), (1, 9, 1, 1), (2, 1, 3, 40),
          (3, 4, 5, 6), (1, 7, 18, 21)]


@pytest.fixture
def ways(monkeypatch):
    """A function that calls another as it is with compiled loops and as it is without, for two results."""
    pytest.importorskip("numba")

    def both(function):
        results = []
        for switch in "10":
            monkeypatch.setenv(SWITCH, switch)
            results.append(function())
        return results

    return both


def random_codec(shape, maximum: int, preset: str, seed: int, bound: SampleBound | None = None) -> NeuralCodec:
    """A codec whose experts no volume would give: many classes, means beyond the range."""
    rng, settings = np.random.default_rng(seed), PRESETS[preset]
    near = neighbourhood(settings.radii, settings.n_inputs, settings.n_residuals, shape[0] > 1)
    thresholds, weights = [], []
    for surrounding in range(4):
        n_classes = int(rng.integers(1, 6))
        rows = np.rint(rng.normal(0, 2.0**13 / np.sqrt(len(near.taps)), (n_classes, len(near.taps)))).astype(np.int64)
        rows[:, ~near.usable[surrounding]] = 0
        rows[:, 0] += (1 << 14) - rows.sum(axis=1)
        weights.append(rows)
        thresholds.append(np.sort(rng.integers(0, 1 + maximum * (surrounding + 1), n_classes - 1)).astype(float))
    base = shipped_model(settings.model).network
    return NeuralCodec(Predictor(near, Experts(thresholds, weights), base, maximum), settings.radii, base, b"", bound)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_compiled_loops_give_the_same_bits(ways, preset, shape):
    slab = smooth(shape, 900, noise=0.02)
    slab[..., shape[2] // 2:, shape[3] // 2:] = 7                                     # flat voxels too
    for codec in (NeuralCodec.fit([slab], 900, preset, SPACING), random_codec(shape, 900, preset, sum(shape))):
        compiled, plain = ways(lambda codec=codec: codec.encode(slab))
        assert compiled == plain
        for decoded in ways(lambda codec=codec, data=plain: codec.decode(data, shape)):
            assert np.array_equal(decoded, slab)


@pytest.mark.parametrize("shape", [(1, 1, 9, 1), (2, 3, 11, 13)])
def test_compiled_loops_give_the_encoder_the_same_samples(ways, shape):
    slab = smooth(shape, 900, noise=0.02)
    predictor = random_codec(shape, 900, "default", 3)._predictor

    def rows():
        known = KnownPredictions(slab, predictor)
        return [[part.copy() for part in known.rows(*block)] for block in row_blocks(shape, 3)]

    for compiled, plain in zip(*ways(rows), strict=True):
        for one, other in zip(compiled, plain, strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize("maximum", [1, 65535, (1 << 24) - 1])
def test_compiled_loops_hold_the_largest_numbers(ways, maximum):
    shape = (2, 3, 6, 9)
    slab = np.random.default_rng(0).choice([0, maximum], shape).astype(np.int32)
    codec = random_codec(shape, maximum, "default", 5)
    compiled, plain = ways(lambda: codec.encode(slab))
    assert compiled == plain
    for decoded in ways(lambda: codec.decode(plain, shape)):
        assert np.array_equal(decoded, slab)


@pytest.mark.parametrize("shape", [(1, 1, 9, 30), (2, 3, 8, 11)])
@pytest.mark.parametrize("allowed", [(), (0, 3, 1)])
def test_compiled_loops_give_the_same_bits_near_losslessly(ways, shape, allowed):
    slab = smooth(shape, 3000, noise=0.02)
    slab[..., :3, :4] = 2900
    codec = random_codec(shape, 3000, "fast", 1, SampleBound(3, 10, 2800, allowed))
    regions = np.random.default_rng(2).integers(0, len(allowed), shape) if allowed else None
    compiled, plain = ways(lambda: codec.encode(slab, regions))
    assert compiled == plain
    first, second = ways(lambda: codec.decode(plain, shape, regions))
    assert np.array_equal(first, second)
    assert np.abs(first - slab).max() == 3


def test_any_number_of_threads(monkeypatch):
    volume = smooth((1, 36, 172, 172), 2000, noise=0.01)[0].astype(np.int16)
    data = mc.compress(volume, "neural", "fast", threads=1)
    for threads in (2, 4):
        assert mc.compress(volume, "neural", "fast", threads=threads) == data
        assert np.array_equal(mc.decompress(data, threads=threads).voxels, volume)
    monkeypatch.setenv(SWITCH, "0")
    assert np.array_equal(mc.decompress(data, threads=4).voxels, volume)


@pytest.fixture(scope="module")
def fitted():
    """A slab and the codec fitted to it."""
    slab = smooth((1, 6, 40, 44), 4095, noise=0.02)
    return slab, NeuralCodec.fit([slab], 4095, "default", SPACING)


@pytest.mark.parametrize("settings", [{"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                                      {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"},
                                      {"OPENBLAS_CORETYPE": "Haswell"}, {"OPENBLAS_CORETYPE": "Nehalem"},
                                      {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"},
                                      {"NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX"},
                                      pytest.param({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
                                                   marks=pytest.mark.slow)])
@pytest.mark.parametrize("numba", ["0", "1"])
def test_other_processors_and_threads_decode_the_same(fitted, tmp_path, settings, numba):
    slab, codec = fitted
    (tmp_path / "payload").write_bytes(codec.encode(slab))
    (tmp_path / "model").write_bytes(codec.model)
    script = ("import json, sys; from pathlib import Path; import numpy as np\n"
              "from MedCompressLib.codecs.neural import NeuralCodec\n"
              "folder = Path(sys.argv[1])\n"
              "codec = NeuralCodec.from_config(json.loads(sys.argv[2]), (folder / 'model').read_bytes())\n"
              "slab = codec.decode((folder / 'payload').read_bytes(), (1, 6, 40, 44))\n"
              "assert codec.encode(slab) == (folder / 'payload').read_bytes()\n"
              "np.save(folder / 'slab.npy', slab)\n")
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, str(tmp_path), json.dumps(codec.get_config())],
                   check=True, env={**os.environ, **settings, SWITCH: numba})
    assert np.array_equal(np.load(tmp_path / "slab.npy"), slab)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def on_device(request, monkeypatch):
    """A function that calls another while only PyTorch can decode, on that device."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()

    def call(function):
        with monkeypatch.context() as patch:
            patch.setenv(TORCH, request.param)
            patch.setattr(NeuralCodec, "decode", None)                   # what the processor would do instead
            return function()

    torch.set_num_threads(1)                  # for operations this small, more only wait for each other
    yield call
    torch.set_num_threads(threads)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_torch_decodes_the_same_bits(on_device, preset, shape):
    slab = smooth(shape, 900, noise=0.02)
    slab[..., shape[2] // 2:, shape[3] // 2:] = 7
    thin = np.ascontiguousarray(slab[:, :max(1, shape[1] // 2)])    # the last slab may have fewer slices
    for codec in (NeuralCodec.fit([slab], 900, preset, SPACING), random_codec(shape, 900, preset, sum(shape))):
        payloads = [codec.encode(slab), codec.encode(thin)]
        first, second = on_device(lambda codec=codec, payloads=payloads:
                                  codec.decode_many(payloads, [slab.shape, thin.shape]))
        assert np.array_equal(first, slab) and np.array_equal(second, thin)


@pytest.mark.parametrize("maximum", [1, 65535, (1 << 24) - 1])
def test_torch_holds_the_largest_numbers(on_device, maximum):
    slab = np.random.default_rng(0).choice([0, maximum], (2, 3, 6, 9)).astype(np.int32)
    codec = random_codec(slab.shape, maximum, "default", 5)
    payload = codec.encode(slab)
    [decoded] = on_device(lambda: codec.decode_many([payload], [slab.shape]))
    assert np.array_equal(decoded, slab)


@pytest.mark.parametrize("preset", PRESETS)
def test_torch_decodes_files(on_device, preset):
    data = (GOLDEN_FOLDER / f"neural-{preset}.mcz").read_bytes()
    assert on_device(lambda: mc.decompress(data)).equals(mc.decompress(data))


def test_torch_names_the_damaged_slab(on_device):
    data = bytearray((GOLDEN_FOLDER / "neural-default.mcz").read_bytes())
    data[-5] ^= 1
    with pytest.raises(FormatError, match="slab 0"):
        on_device(lambda: mc.decompress(bytes(data)))
    slab = smooth((1, 4, 9, 11), 900)
    codec = NeuralCodec.fit([slab], 900, "fast", SPACING)
    payload = codec.encode(slab)
    for shape in ((1, 4, 9, 12), (1, 4, 9, 10)):
        with pytest.raises(FormatError):
            on_device(lambda shape=shape: codec.decode_many([payload], [shape]))
