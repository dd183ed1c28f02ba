"""Kill a process while it writes a file, again and again: `python Testing/robustness/kills.py --count 50 --seed 1`.

A child process replaces a file by another and is killed (SIGKILL) at a random moment; afterwards the name must stand
for the whole old file or the whole new one. Half of the moments are spread over the whole time that writing takes,
half lie near its end, where the new file takes its name. A hidden `.part` file may stay, which nothing mistakes for a
volume.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER.parent)]

from MedCompressLib import Volume, read, verify, write  # noqa: E402

SHAPE = (12, 48, 48)


def volume(seed: int, codec: str) -> Volume:
    """Something for the codec to do: labels for "runs", a noisy image for all others."""
    k, j, i = np.indices(SHAPE)
    if codec == "runs":
        return Volume(((k // 4 + (j + i // 5) // 9 + seed) % 5).astype(np.uint8), metadata={"seed": seed})
    noise = np.random.default_rng(seed).normal(0, 5, SHAPE)
    return Volume((300 * np.sin(k / 3 + seed) + 9 * j - 4 * i + noise).astype(np.int16), metadata={"seed": seed})


def write_in_child(path: Path, new: Volume, codec: str) -> int:
    """Start to replace the file in a process of its own; returns its id."""
    child = os.fork()
    if child == 0:
        try:
            write(path, new, codec, threads=1, overwrite=True)
            os._exit(0)
        finally:
            os._exit(1)
    return child


def kill_writers(folder: Path, count: int, seed: int, codec: str) -> Counter:
    """Kill that many writers and count what was found afterwards: "old", "new", or, in capitals, what is wrong.

    A writer that is done before the signal comes does not count as killed.
    """
    path = folder / "volume.mcz"
    old, new = volume(1, codec), volume(2, codec)
    write(path, old, codec, threads=1)
    old_bytes = path.read_bytes()
    results: Counter = Counter()
    times = []
    for _ in range(3):
        started = time.perf_counter()
        _, status = os.waitpid(write_in_child(path, new, codec), 0)
        times.append(time.perf_counter() - started)
        if status or not read(path).equals(new):
            results["WRITER FAILED"] += 1
    seconds = sorted(times)[1]
    rng = np.random.default_rng(seed)
    kills = 0
    while kills < count and sum(results.values()) < 20 * count:
        path.write_bytes(old_bytes)
        child = write_in_child(path, new, codec)
        time.sleep(seconds * (rng.uniform(0, 1) if kills % 2 else rng.uniform(0.85, 1.1)))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            results["done before the kill"] += 1
            seconds *= 0.97          # writing has become faster than when it was timed
            continue
        kills += 1
        if not verify(path, threads=1).ok:
            results["DAMAGED"] += 1
            continue
        found = read(path, threads=1)
        results["old" if found.equals(old) else "new" if found.equals(new) else "ANOTHER VOLUME"] += 1
        for part in folder.glob(".*.part"):
            part.unlink()
    if kills < count:
        results["KILLS TOO FEW"] = count - kills
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill a writer at random moments and see what it leaves.")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--codec", default="wavelet")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = kill_writers(Path(folder), options.count, options.seed, options.codec)
    print(f"{options.codec} seed {options.seed}: {options.count} kills, {dict(results)}")
    return 1 if any(name.isupper() for name in results) else 0


if __name__ == "__main__":
    sys.exit(main())
