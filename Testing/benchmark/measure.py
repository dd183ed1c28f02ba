"""One contender on one volume, in a process of its own: python measure.py VOLUME CONTENDER THREADS [SLICES] -> JSON.

With SLICES, the volume is that many of its slices, which are repeated where it has fewer.

Runs until a second has passed or three times, and keeps the best: what disturbs a run only makes it slower. Processor
time counts all threads and programs that were started; on a machine with other work it says more than the clock.
Works on Linux. Memory is what the process took at its peak beyond what it held before (the volume, the libraries).
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from contenders import UnsuitableError, all_contenders

import MedCompressLib as mc

REPEATS = 3
ENOUGH_SECONDS = 1.0


def main(path: str, name: str, threads: int, slices: int = 0) -> dict:
    """Figures, or why there are none under "left_out"."""
    contender = next(one for one in all_contenders() if one.name == name)
    volume = mc.read(path)
    if slices:
        volume = mc.Volume(np.take(volume.voxels, np.arange(slices) % len(volume.voxels), axis=0), volume.ijk_to_ras)
    try:
        result = {"version": contender.version}
    except (ImportError, OSError) as error:
        return {"left_out": f"not installed: {error}"}
    try:
        prepared = contender.prepare(volume)
        warm_up(contender, threads)
        parts, encoding = timed(lambda: contender.encode(prepared, threads))
        decoded, decoding = timed(lambda: contender.decode(parts, threads))
    except UnsuitableError as error:
        return {**result, "left_out": str(error)}
    if not contender.is_restored(decoded, prepared):
        return {**result, "left_out": "it does not restore the voxels"}
    if not contender.in_process:
        del encoding["peak_mb"], decoding["peak_mb"]
    return {**result, "voxels": volume.voxels.size, "bytes": sum(map(len, parts)), "encode": encoding,
            "decode": decoding, "load": round(os.getloadavg()[0], 1)}


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
    print(json.dumps(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))))
