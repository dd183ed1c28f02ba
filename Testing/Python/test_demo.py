"""The demonstration: a real scan, a table, and one sentence for a wrong path."""

import numpy as np
import pytest

from MedCompressLib import Volume, demo, write
from MedCompressLib.cli import main


@pytest.fixture(autouse=True)
def quick_codecs(monkeypatch):
    """The neural codec has its own tests; here it would only take time."""
    monkeypatch.setattr(demo, "codec_ids", lambda research: ["wavelet", "runs", "raw"])


def test_the_scan_that_comes_with_nibabel(capsys):
    pytest.importorskip("nibabel")
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if "identical: " in line]
    assert len(rows) == 2 and all("identical: yes" in row for row in rows)
    assert any(row.startswith("gzip NRRD") for row in rows)
    assert any(row.startswith("MedCompress wavelet") for row in rows)


def test_label_maps_show_their_own_codec(tmp_path, capsys):
    labels = np.zeros((6, 40, 50), np.uint8)
    labels[2:5, 10:30, 5:45] = 3
    write(tmp_path / "labels.nrrd", Volume.from_array(labels))
    assert main(["demo", str(tmp_path / "labels.nrrd")]) == 0
    assert "MedCompress runs" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nothing.nrrd", "notes.txt", "empty"])
def test_a_wrong_path_gets_one_sentence(name, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    assert main(["demo", str(tmp_path / name)]) == 1
    printed = capsys.readouterr()
    assert name in printed.err and "Traceback" not in printed.err
    assert "identical" not in printed.out


def test_a_codec_that_fails_is_told(monkeypatch, tmp_path, capsys):
    real = demo.read

    def read_wrongly(path, *rest):
        volume = real(path, *rest)
        return Volume(volume.voxels + 1) if str(path).endswith(".mcz") else volume

    monkeypatch.setattr(demo, "read", read_wrongly)
    write(tmp_path / "a.nrrd", Volume.from_array(np.arange(60, dtype=np.int16).reshape(3, 4, 5)))
    assert main(["demo", str(tmp_path / "a.nrrd")]) == 1
    assert "identical: NO" in capsys.readouterr().out
