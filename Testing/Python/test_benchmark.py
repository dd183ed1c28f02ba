"""The benchmark measures, keeps what it has measured, and writes its report."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import MedCompressLib as mc

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmark"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def run(folder: Path, *options: str) -> tuple[str, dict, str]:
    """What is printed, the results and the report of one run on a folder."""
    output = folder.parent / f"{folder.name}-report"
    done = subprocess.run([sys.executable, BENCHMARK / "run.py", folder, "--output", output, "--threads", "1",
                           "--no-scaling", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((output / "results.json").read_text()), (output / "benchmark.md").read_text()


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(2):
        voxels = np.cumsum(rng.integers(-3, 4, (4, 30, 40)), axis=2).astype(np.int16)
        mc.write(tmp_path / f"scan{number}.nrrd", voxels)
    return tmp_path


def test_measures_once_and_reports(folder):
    pytest.importorskip("imagecodecs")
    contenders = ["gzip NRRD", "JPEG XL e7", "MedCompress wavelet", "runs"]
    printed, results, report = run(folder, "--only", *contenders)
    assert printed.count("\n") == len(results["measured"]) == 8
    assert results["measured"]["scan0 | gzip NRRD | 1"]["bytes"] > 500
    assert "left_out" in results["measured"]["scan0 | MedCompress runs | 1"]
    assert "| **MedCompress wavelet** |" in report and "| gzip NRRD |" in report and "MedCompress runs:" in report
    again, same, _ = run(folder, "--only", *contenders)
    assert again == "" and same["measured"] == results["measured"]
    printed, anew, _ = run(folder, "--only", *contenders, "--again", "gzip", "--volumes", "scan1")
    assert printed.startswith("scan1 | gzip NRRD | 1") and printed.count("\n") == 1
    assert anew["measured"].keys() == results["measured"].keys()


def test_a_run_of_no_time_measures_nothing(folder):
    printed, results, report = run(folder, "--minutes", "0")
    assert printed == "" and results["measured"] == {} and report.startswith("# Benchmark")


def test_a_worker_that_dies_is_told(folder, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARK)
    import run as benchmark

    with benchmark.Worker("JPEG-LS") as worker:
        assert worker.answer(folder / "scan0.nrrd", 1, 0, seconds=0.01) is None
    with benchmark.Worker("no such contender") as worker:
        assert "it failed" in worker.answer(folder / "scan0.nrrd", 1, 0)["left_out"]
