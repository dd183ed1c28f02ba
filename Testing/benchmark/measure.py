"""The worker that measures one contender: python measure.py CONTENDER, a job and its figures on each line, as JSON.

A job is {"path", "threads", "slices"}. With slices, the volume is that many of its slices, which are repeated where it
has fewer, and of each the middle of at most 256 x 256 voxels; with 0 it is the whole volume.

Runs until a second has passed or three times, and keeps the best: what disturbs a run only makes it slower. Processor
time counts all threads and programs that were started; on a machine with other work it says more than the clock.
Works on Linux. Memory is what the process took at its peak beyond what it held before (the volume, the libraries).
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from contenders import Contender, UnsuitableError, all_contenders

import MedCompressLib as mc

REPEATS = 3
ENOUGH_SECONDS = 1.0
SCALED_SIDE = 256

read = functools.lru_cache(maxsize=1)(mc.read)


def main(name: str) -> None:
    """Answer each job that comes in."""
    os.environ.setdefault("MEDCOMPRESS_NUMBA", "1")  # or the warm-up would do without what large volumes are given
    contender = next(one for one in all_contenders() if one.name == name)
    try:
        version, missing = contender.version, None
    except (ImportError, OSError) as error:
        missing = {"left_out": f"not installed: {error}"}
    for line in sys.stdin:
        job = json.loads(line)
        figures = missing or {"version": version, **measure(contender, **job)}
        print(json.dumps(figures), flush=True)


def measure(contender: Contender, path: str, threads: int, slices: int) -> dict:
    """Figures, or why there are none under "left_out"."""
    volume = scaled(read(path), slices) if slices else read(path)
    try:
        prepared = contender.prepare(volume)
        warm_up(contender, threads)
        parts, encoding = timed(lambda: contender.encode(prepared, threads))
        decoded, decoding = timed(lambda: contender.decode(parts, threads))
    except UnsuitableError as error:
        return {"left_out": str(error)}
    if not contender.is_restored(decoded, prepared):
        return {"left_out": "it does not restore the voxels"}
    if not contender.in_process:
        del encoding["peak_mb"], decoding["peak_mb"]
    return {"voxels": volume.voxels.size, "bytes": sum(map(len, parts)), "encode": encoding, "decode": decoding,
            "load": round(os.getloadavg()[0], 1)}


def scaled(volume: mc.Volume, slices: int) -> mc.Volume:
    """That many slices, smaller and repeated."""
    middle = tuple(slice(max(0, length - SCALED_SIDE) // 2, (length + SCALED_SIDE) // 2)
                   for length in volume.shape[1:3])
    voxels = np.take(volume.voxels[:, *middle], np.arange(slices) % volume.shape[0], axis=0)
    return mc.Volume(voxels, volume.ijk_to_ras)


@functools.cache
def warm_up(contender, threads: int) -> None:
    """Import and set up what is imported on first use."""
    small = mc.Volume(np.arange(2 * 64 * 64, dtype=np.uint8).reshape(2, 64, 64))
    try:
        prepared = contender.prepare(small)
        contender.decode(contender.encode(prepared, threads), threads)
    except UnsuitableError:
        return


def timed(work: Callable[[], object]) -> tuple[object, dict]:
    """Its result; the least wall and processor seconds of several runs, and its peak memory in MB."""
    runs = []
    before = forget_peak()
    while not runs or (len(runs) < REPEATS and sum(run[0] for run in runs) < ENOUGH_SECONDS):
        clock, used = time.perf_counter(), processor_seconds()
        result = work()
        runs.append((time.perf_counter() - clock, processor_seconds() - used))
    return result, {"seconds": round(min(run[0] for run in runs), 5),
                    "processor_seconds": round(min(run[1] for run in runs), 5),
                    "peak_mb": round((status("VmHWM") - before) / 1000, 1)}


def processor_seconds() -> float:
    """Of this process and of those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def forget_peak() -> int:
    """Give back what is free, and make the system count the peak memory anew; what is held now, in kB."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(field: str) -> int:
    """A figure of /proc/self/status, in kB."""
    return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


if __name__ == "__main__":
    main(sys.argv[1])
