"""Volumes far larger than the memory they may take: from disk to disk with a few slabs at a time.

The default size takes a second or two. `MEDCOMPRESS_LARGE_SLICES` and `MEDCOMPRESS_LARGE_ROWS` set another one for the
slow tests, such as 2000 slices of 2048 x 2048 (a 16 GB micro-CT, which needs some 40 GB of disk and an hour), and
`MEDCOMPRESS_LARGE_FOLDER` where the files go.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import MedCompressLib as mc

SLICES = int(os.environ.get("MEDCOMPRESS_LARGE_SLICES", 2048))
ROWS = int(os.environ.get("MEDCOMPRESS_LARGE_ROWS", 512))
MOST_MEGABYTES = 800 * max(1, ROWS // 1024)  # a few slabs

# The command line as the user runs it, and after it, what its largest resident set was, in MB. (`ru_maxrss` would count
# that of the tests' own process.)
MEASURED = """
import re, sys
from MedCompressLib.cli import main
code = main(sys.argv[1:])
print("peak", int(re.search("VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) // 1024)
sys.exit(code)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def peak_of(*arguments: object) -> int:
    """Run a command line; its peak memory in MB."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", MEASURED, *map(str, arguments)], capture_output=True, text=True,
                          env=environment)
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.rsplit("peak ", 1)[1])
    print(f"{' '.join(map(str, arguments[:1]))}: peak {peak} MB")
    return peak


def write_tiled(path: Path, tile: np.ndarray, slices: int, rows: int) -> None:
    """An uncompressed NRRD file of `slices` slices of rows x rows voxels, made of copies of a volume."""
    reach = [-(-rows // length) for length in tile.shape[1:]]
    header = ("NRRD0005\ntype: int16\ndimension: 3\nspace: left-posterior-superior\n"
              f"sizes: {rows} {rows} {slices}\nspace directions: (0.02,0,0) (0,0.02,0) (0,0,0.02)\n"
              "kinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n")
    with path.open("wb") as file:
        file.write(header.encode())
        for number in range(slices):
            piece = tile[number % len(tile)]
            file.write(np.tile(piece, reach)[:rows, :rows].astype("<i2").tobytes())


def round_trip(folder: Path, tile: np.ndarray, slices: int, rows: int, codec: str) -> int:
    """Compress and restore a tiled volume by the command line; the peak memory of both in MB."""
    source, packed, restored = folder / "large.nrrd", folder / f"{codec}.mcz", folder / "restored.nrrd"
    write_tiled(source, tile, slices, rows)
    peak = peak_of("compress", source, packed, "--codec", codec, "--threads", "2", "--force")
    peak = max(peak, peak_of("decompress", packed, restored, "--threads", "2", "--force"))
    with mc.open(source) as before, mc.open(packed) as after:
        assert after.shape == (slices, rows, rows)
        for first in (0, slices // 2, slices - 16):
            start = time.perf_counter()
            part = after[first:first + 16]
            print(f"16 of {slices} slices: {time.perf_counter() - start:.2f} s")
            assert np.array_equal(part, before[first:first + 16])
    return peak


@pytest.fixture(scope="module")
def chest(data_file):
    return mc.read(data_file("train/ct_chest_ge_lidc0001.nrrd")).voxels


@pytest.fixture
def folder(tmp_path):
    chosen = os.environ.get("MEDCOMPRESS_LARGE_FOLDER")
    return Path(chosen) if chosen else tmp_path


def test_memory_does_not_grow_with_the_volume(tmp_path):
    tile = np.tile(np.arange(512) // 8, (1, 512, 1))
    small = round_trip(tmp_path, tile, 160, 512, "raw")
    large = round_trip(tmp_path, tile, 480, 512, "raw")
    assert large < small + 60  # of 168 MB more of voxels


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["wavelet", "neural"])
def test_a_gigabyte_in_800_megabytes(codec, chest, folder):
    assert round_trip(folder, chest, SLICES, ROWS, codec) < MOST_MEGABYTES


@pytest.mark.slow
def test_sixteen_slices_of_a_gigabyte_in_two_seconds(chest, folder):
    write_tiled(folder / "large.nrrd", chest, SLICES, ROWS)
    with mc.open(folder / "large.nrrd") as volume:
        mc.write(folder / "large.mcz", volume, "wavelet", verify=False, overwrite=True)
    times = []
    for _ in range(3):  # by the clock, as the user waits; what else the machine does only adds to it
        start = time.perf_counter()
        part = mc.decompress(folder / "large.mcz", slices=slice(SLICES // 2, SLICES // 2 + 16))
        times.append(time.perf_counter() - start)
    print(f"16 of {SLICES} slices: {', '.join(f'{seconds:.2f} s' for seconds in times)}")
    assert min(times) < 2
    with mc.open(folder / "large.nrrd") as volume:
        assert np.array_equal(part.voxels, volume[SLICES // 2:SLICES // 2 + 16])
