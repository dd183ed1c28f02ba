"""Training a model on one's own scans, and using it."""

import numpy as np
import pytest

import MedCompressLib as mc
from MedCompressLib.cli import main
from MedCompressLib.codecs.neural.model_file import unpack_model
from MedCompressLib.errors import Cancelled, MedCompressError
from MedCompressLib.training import train


def _scan(seed: int) -> mc.Volume:
    """A texture no shipped model has seen: rows that jump between two levels, with a little noise."""
    rng = np.random.default_rng(seed)
    k, j, i = np.indices((12, 64, 64))
    stripes = 300 * ((i // 3 + j // 5 + k) % 2) + rng.integers(0, 40, (12, 64, 64)) ** 2 // 40
    return mc.Volume.from_array((1000 + stripes).astype(np.int16))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "site.mcmodel"
    fractions = []
    report = train(path, [_scan(0), _scan(1)], steps=360, seed=4, progress=fractions.append)
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    return path, report


def test_gain_on_slices_held_back(trained):
    _, report = trained
    assert report.after < report.before and report.gain_percent > 1 and report.samples > 10_000


def test_model_is_used_and_travels(trained):
    path, _ = trained
    volume = _scan(2)
    with_model = mc.compress(volume, codec="neural", model=path)
    assert with_model != mc.compress(volume, codec="neural")
    assert mc.decompress(with_model).equals(volume)
    assert mc.decompress(mc.compress(volume, model=path)).equals(volume)


def test_same_seed_same_model(trained, tmp_path):
    path, _ = trained
    train(tmp_path / "again.mcmodel", [_scan(0), _scan(1)], steps=360, seed=4)
    again, first = (unpack_model(file.read_bytes()).network for file in (tmp_path / "again.mcmodel", path))
    assert again.sha256 == first.sha256


def test_command_line(trained, tmp_path, capsys):
    scan, packed = tmp_path / "scan.nrrd", tmp_path / "scan.mcz"
    mc.write(scan, _scan(3))
    assert main(["train", str(tmp_path / "own.mcmodel"), str(scan), "--steps", "24", "--seed", "1"]) == 0
    assert "bits per voxel on slices held back" in capsys.readouterr().out
    assert main(["train", str(tmp_path / "own.mcmodel"), str(scan), "--steps", "24"]) != 0
    assert main(["compress", str(scan), str(packed), "--model", str(trained[0])]) == 0
    assert mc.read(packed).equals(mc.read(scan))


@pytest.mark.parametrize(("options", "message"), [({"preset": "tiny"}, "preset"), ({"steps": 0}, "step")])
def test_bad_options(tmp_path, options, message):
    with pytest.raises(MedCompressError, match=message):
        train(tmp_path / "x.mcmodel", [_scan(0)], **options)
    assert not list(tmp_path.iterdir())


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(MedCompressError, match="nothing to train on"):
        train(tmp_path / "x.mcmodel", [mc.Volume.from_array(np.zeros((8, 9, 9), np.int16))])
    with pytest.raises(MedCompressError, match="nothing to train on"):
        train(tmp_path / "x.mcmodel", [mc.Volume.from_array(np.arange(100, dtype=np.int16).reshape(1, 10, 10))])


def test_cancelling_leaves_nothing(tmp_path):
    def stop(fraction):
        if fraction > 0.3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        train(tmp_path / "x.mcmodel", [_scan(0)], steps=240, progress=stop)
    assert not list(tmp_path.iterdir())


def test_models_that_do_not_fit(trained, tmp_path):
    volume = _scan(2)
    with pytest.raises(MedCompressError, match="preset"):
        mc.compress(volume, codec="neural", preset="fast", model=trained[0])
    with pytest.raises(MedCompressError, match="model"):
        mc.compress(volume, codec="wavelet", model=trained[0])
    with pytest.raises(MedCompressError, match="cannot be read"):
        mc.compress(volume, codec="neural", model=tmp_path / "none.mcmodel")
    damaged = tmp_path / "damaged.mcmodel"
    damaged.write_bytes(trained[0].read_bytes()[:-3])
    with pytest.raises(MedCompressError, match="damaged"):
        mc.compress(volume, codec="neural", model=damaged)
