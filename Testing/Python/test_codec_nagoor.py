"""The codec nagoor: the contract of every codec with a small network, then exactness and its own networks."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from codec_contract import CodecContract, smooth

import MedCompressLib as mc
from MedCompressLib.codecs import codec_ids
from MedCompressLib.codecs.nagoor import NagoorCodec
from MedCompressLib.codecs.nagoor.model_file import MODELS, Model, pack_model, shipped_network, unpack_model
from MedCompressLib.codecs.nagoor.neighbourhood import NEIGHBOURHOODS, Canvas, decoding_order
from MedCompressLib.codecs.nagoor.network import EXACT, LeakyNetwork, partial_sum_bound, shifts
from MedCompressLib.errors import FormatError, UnsupportedError

SPACING = (2.5, 0.7, 0.7)


def small_network(preset: str) -> LeakyNetwork:
    """A mean of the near voxels, with a little nonsense, as a network of 16 hidden units."""
    rng = np.random.default_rng(4)
    taps = NEIGHBOURHOODS[preset].taps
    first = rng.integers(-2, 3, (16, len(taps)))
    first[0, np.abs(taps).sum(axis=1) == 1] = 80
    second = rng.integers(-3, 4, (1, 16))
    second[0, 0] = 127
    return LeakyNetwork((first.astype(np.int8), second.astype(np.int8)),
                        (rng.integers(-9999, 9999, 16).astype(np.int32), np.array([-2000], np.int32)))


class TestNagoorContract(CodecContract):
    """With the true neighbourhoods and a network that takes seconds instead of minutes."""

    codec_id = "nagoor"
    examples = 15

    @pytest.fixture(autouse=True)
    def small_networks(self, monkeypatch):
        networks = {preset: small_network(preset) for preset in NEIGHBOURHOODS}
        monkeypatch.setattr("MedCompressLib.codecs.nagoor.codec.shipped_network", networks.get)


def test_the_papers_neighbourhoods_and_networks():
    assert {name: len(near.taps) for name, near in NEIGHBOURHOODS.items()} == {"pyramid": 191, "cube": 665}
    for name, near in NEIGHBOURHOODS.items():
        network = shipped_network(name)
        assert [layer.shape[::-1] for layer in network.weights] == [
            (len(near.taps), 1024), (1024, 512), (512, 256), (256, 128), (128, 1)]
        assert np.all(near.taps @ near.strides < 0)


@pytest.mark.parametrize("preset", NEIGHBOURHOODS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 9, 1), (1, 5, 6, 7), (3, 4, 5, 6), (2, 1, 3, 40)])
def test_every_voxel_comes_once_and_after_its_neighbours(preset, shape):
    near = NEIGHBOURHOODS[preset]
    seen, order = Canvas(shape, near, True, bool), []
    seen.inside[:] = False
    for voxels in decoding_order(shape, near):
        places = seen.places(voxels)
        assert seen.cells[seen.offsets(near.taps) + places].all()
        seen.cells[places] = True
        order.append(voxels)
    assert np.array_equal(np.sort(np.concatenate(order)), np.arange(np.prod(shape)))


@pytest.mark.parametrize("preset", NEIGHBOURHOODS)
def test_its_own_networks_round_trip(preset):
    rng = np.random.default_rng(1)
    for slab, maximum in ((smooth((2, 3, 11, 12), 3000), 3000), (smooth((1, 4, 9, 9), 2**24 - 1), 2**24 - 1),
                          (rng.integers(0, 256, (1, 2, 9, 14), np.int32), 255)):
        codec = NagoorCodec.fit([slab], maximum, preset, SPACING)
        again = NagoorCodec.from_config(json.loads(json.dumps(codec.get_config())), codec.model)
        assert np.array_equal(again.decode(codec.encode(slab), slab.shape), slab)


@pytest.mark.parametrize("shape", [(1, 1, 4096, 4096), (200_000, 1, 1, 1), (1, 1, 1, 2**17 + 1), (1, 1, 18726, 1),
                                   (1, 3973, 1, 1)])
def test_slabs_with_too_much_around_them_or_too_many_steps_are_refused(shape):
    with pytest.raises(UnsupportedError, match="another codec"):
        NagoorCodec.fit([np.broadcast_to(np.int32(0), shape)], 0, "pyramid", SPACING)
    with pytest.raises(FormatError):
        NagoorCodec("pyramid", 0).decode(b"", shape)


@pytest.mark.parametrize("shape", [(1, 1, 1, 2**17), (1, 1, 18725, 1), (1, 3972, 1, 1)])
def test_slabs_of_so_many_steps_are_taken(shape):
    """With the strides 33, 7, 1 of the pyramid, up to 2^17 steps."""
    payload = NagoorCodec("pyramid", 0).encode(np.zeros((1, 1, 1, 1), np.int32))
    with pytest.raises(FormatError, match="shorter than needed"):
        NagoorCodec("pyramid", 0).decode(payload, shape)


@pytest.mark.slow
@pytest.mark.parametrize("preset", NEIGHBOURHOODS)
def test_a_real_volume_round_trips(preset, data_file):
    whole = mc.read(data_file("public/ct_chest_philips_lidc0314_z96.nrrd"))
    volume = mc.Volume(whole.voxels[44:52], whole.ijk_to_ras)
    data = mc.compress(volume, codec="nagoor", preset=preset, threads=1)
    assert mc.info(data)["codec"] == "nagoor"
    assert mc.decompress(data, threads=1).equals(volume)


def test_a_network_that_could_leave_the_exact_range_is_refused():
    sound = shipped_network("pyramid")
    second = sound.weights[1].copy()
    second[5] = np.where(np.arange(1024) % 2, 12, 0)                        # 2047 * 6144 in all
    bias = sound.biases[1].copy()
    bias[5] = EXACT - 2047 * 6144
    with pytest.raises(FormatError, match="exact"):
        LeakyNetwork((sound.weights[0], second, *sound.weights[2:]), (sound.biases[0], bias, *sound.biases[2:]))
    bias[5] -= 1
    LeakyNetwork((sound.weights[0], second, *sound.weights[2:]), (sound.biases[0], bias, *sound.biases[2:]))
    data = pack_model(Model(sound, {}))
    rows = [list(layer.shape) for layer in sound.weights]
    assert unpack_model(data).description == {"layers": rows}


def test_float32_sums_are_exact_at_the_bound():
    """The largest sums that the proof allows: equal to integer arithmetic, whatever order BLAS chooses."""
    rng = np.random.default_rng(0)
    sizes = [(1024, 600), (40, 1024), (1, 40)]
    weights = [rng.integers(-12, 13, sizes[0]), rng.integers(-15, 16, sizes[1]), rng.integers(-127, 128, sizes[2])]
    weights = [layer.astype(np.int8) for layer in weights]
    biases = [rng.integers(-5000, 5000, len(layer)).astype(np.int32) for layer in weights]
    assert max(partial_sum_bound(weights[1], biases[1], first=False)) > EXACT // 2
    network = LeakyNetwork(tuple(weights), tuple(biases))
    inputs = rng.choice([-2048, 2047], (600, 300))
    values = inputs
    for number, (layer, bias, shift) in enumerate(zip(weights, biases, shifts(3), strict=True)):
        values = (layer.astype(np.int64) @ values + bias[:, None]) >> shift
        if number < 2:
            values = values.clip(-2048, 2047)
            values = np.where(values >= 0, values, (values + 2) >> 2)
    assert np.array_equal(network.output(inputs.astype(np.float32)), values[0])


def test_the_largest_maximum_and_the_widest_layer():
    config = NagoorCodec("pyramid", 0).get_config()
    for maximum in (0, 2**24 - 1):
        assert NagoorCodec.from_config({**config, "maximum": maximum}, b"").get_config()["maximum"] == maximum
    for maximum in (-1, 2**24, True, 1.0):
        with pytest.raises(FormatError, match="configuration"):
            NagoorCodec.from_config({**config, "maximum": maximum}, b"")
    widest = np.zeros((1, 4096), np.int8)
    LeakyNetwork((widest,), (np.zeros(1, np.int32),))
    with pytest.raises(FormatError, match="impossible"):
        LeakyNetwork((np.zeros((1, 4097), np.int8),), (np.zeros(1, np.int32),))


@pytest.mark.parametrize("change", ["shape", "outputs", "wide", "bias"])
def test_layers_that_do_not_fit_are_refused(change):
    weights, biases = list(small_network("pyramid").weights), list(small_network("pyramid").biases)
    if change == "shape":
        weights[1] = weights[1][:, :-1]
    elif change == "outputs":
        weights[1], biases[1] = np.repeat(weights[1], 2, axis=0), np.repeat(biases[1], 2)
    elif change == "wide":
        weights[0] = np.zeros((16, 5000), np.int8)
    else:
        biases[0] = biases[0][:-1]
    with pytest.raises(FormatError):
        LeakyNetwork(tuple(weights), tuple(biases))


def test_model_file_round_trip_and_damage():
    network = small_network("pyramid")
    data = pack_model(Model(network, {"note": "x"}))
    again = unpack_model(data)
    assert again.network.sha256 == network.sha256 and again.description["note"] == "x"
    for broken in (b"", data[:100], data[:-1], data[:50] + b"\0" + data[51:], b"X" + data[1:]):
        with pytest.raises(FormatError):
            unpack_model(broken)


def test_it_is_for_research():
    assert "nagoor" in codec_ids() and "nagoor" not in codec_ids(research=False)
    assert sum(path.stat().st_size for path in MODELS.glob("*.mcmodel")) < 2_500_000


@pytest.mark.parametrize("settings", [{"OPENBLAS_NUM_THREADS": "4"}, {"OPENBLAS_CORETYPE": "Haswell"},
                                      {"OPENBLAS_CORETYPE": "Nehalem"}])
def test_other_processors_and_threads_decode_the_same(tmp_path, settings):
    slab = smooth((1, 5, 20, 22), 4095, noise=0.02)
    codec = NagoorCodec.fit([slab], 4095, "pyramid", SPACING)
    (tmp_path / "payload").write_bytes(codec.encode(slab))
    script = ("import json, sys; from pathlib import Path; import numpy as np\n"
              "from MedCompressLib.codecs.nagoor import NagoorCodec\n"
              "folder = Path(sys.argv[1])\n"
              "codec = NagoorCodec.from_config(json.loads(sys.argv[2]), b'')\n"
              "slab = codec.decode((folder / 'payload').read_bytes(), (1, 5, 20, 22))\n"
              "assert codec.encode(slab) == (folder / 'payload').read_bytes()\n"
              "np.save(folder / 'slab.npy', slab)\n")
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, str(tmp_path), json.dumps(codec.get_config())],
                   check=True, env={**os.environ, **settings})
    assert np.array_equal(np.load(tmp_path / "slab.npy"), slab)
