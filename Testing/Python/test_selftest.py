"""The self-test says "exact" only where everything is, and its streams are those of the format."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import MedCompressLib as mc
from MedCompressLib import selftest
from MedCompressLib.cli import main
from MedCompressLib.codecs import codec_ids, get_codec

spec = importlib.util.spec_from_file_location("make_golden", Path(__file__).parents[1] / "make_golden.py")
make_golden = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_golden)


def test_there_is_a_stream_of_every_codec_and_preset():
    stored = {path.stem for path in selftest.GOLDEN_FOLDER.glob("*.mcz")}
    assert stored == set(make_golden.volumes())
    compressing = {(codec, preset) for codec in codec_ids(research=False) if codec != "raw"
                   for preset in get_codec(codec).presets}
    assert compressing <= {tuple(name.split("-")[:2]) for name in stored}


@pytest.mark.parametrize("name", make_golden.volumes())
def test_streams_hold_what_they_should(name):
    volume, codec, preset = make_golden.volumes()[name]
    path = selftest.GOLDEN_FOLDER / f"{name}.mcz"
    assert mc.read(path).equals(volume)
    assert (mc.info(path)["codec"], mc.info(path)["preset"]) == (codec, preset)


def test_one_line_on_this_machine(capsys):
    assert main(["selftest"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("exact on this machine: 10 streams") and text.count("\n") == 1


def test_exact_with_more_threads_of_the_blas():
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "4", "OMP_NUM_THREADS": "4"}
    done = subprocess.run([sys.executable, "-m", "MedCompressLib", "selftest"], env=environment, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def few(tmp_path, monkeypatch):
    """One quick stream of each codec."""
    names = ["wavelet-float64", "neural-fast", "runs-default"]
    for name in names:
        shutil.copy(selftest.GOLDEN_FOLDER / f"{name}.mcz", tmp_path)
    monkeypatch.setattr(selftest, "GOLDEN_FOLDER", tmp_path)
    return names


def test_progress_and_cancel(few):
    seen = []
    assert selftest.self_test(seen.append).ok
    assert seen == sorted(seen) and seen[-1] == 1 and len(seen) == 3

    def cancel(fraction):
        raise mc.Cancelled("enough")

    with pytest.raises(mc.Cancelled):
        selftest.self_test(cancel)


@pytest.mark.parametrize("codec_id", ["wavelet", "neural", "runs"])
def test_inexact_decoding_is_told(codec_id, few, monkeypatch, capsys):
    codec = get_codec(codec_id)
    decode = codec.decode

    def off_by_one(self, payload, shape):
        samples = decode(self, payload, shape).copy()
        samples.flat[samples.size // 2] ^= 1
        return samples

    monkeypatch.setattr(codec, "decode", off_by_one)
    assert list(selftest.self_test().problems) == [name for name in few if name.startswith(codec_id)]
    assert main(["selftest"]) == 1
    text = capsys.readouterr().out
    assert text.startswith("NOT EXACT") and text.count("\n") == 1


def test_inexact_encoding_is_told(few, monkeypatch):
    codec = get_codec("wavelet")
    encode = codec.encode
    monkeypatch.setattr(codec, "encode", lambda self, slab: encode(self, slab[..., ::-1]))
    report = selftest.self_test()
    assert not report.ok and "other bytes" in report.problems["wavelet-float64"]


def test_streams_that_are_missing_or_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(selftest, "GOLDEN_FOLDER", tmp_path)
    with pytest.raises(mc.MedCompressError, match="install MedCompress again"):
        selftest.self_test()
    (tmp_path / "a.mcz").write_bytes(b"damaged")
    assert "not an .mcz file" in selftest.self_test().problems["a"]
