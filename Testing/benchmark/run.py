"""How small and how fast: our codecs and presets beside what a user would pick instead.

    python Testing/benchmark/run.py FOLDER                  a report on your own volumes, in benchmark/
    python Testing/benchmark/run.py FOLDER --publish        the figures in README.md and docs/benchmark.md
    python Testing/benchmark/run.py FOLDER --only wavelet JPEG --volumes ct_ --threads 1        a part of it

Every volume in the folder (NRRD, NIfTI, MHA, MHD, NPY) is encoded and decoded by every contender with one thread and
with two, each contender in a process of its own (see measure.py), and every result is compared with the input. Slow
contenders are run once, with two threads, after all others, the small volumes first. Before these, the smallest scans
are stored with loss at several bit rates (see lossy.py).

What has been measured stands in results.json and is not measured again, so an interrupted run goes on where it was, as
does one that `--minutes` has ended; `--again NAME` repeats those whose names contain NAME. Tables and plots are made
from results.json alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from contenders import all_contenders, is_label_map
from lossy import rate_distortion
from previews import preview_curve
from report import write_report

import MedCompressLib as mc
from MedCompressLib.codecs import get_codec
from MedCompressLib.image_files import is_image_file

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
LONGEST_SECONDS = 3600
# Parts of the names of slow contenders, the slowest last.
SLOW = ("tomoz", "zstd 19", "x265", "JPEG XL e9", "neural default", "neural small")
LOSSY_VOLUMES = 3
# Volumes of 1, 2, 4, .. slabs, repeating the largest volume of images in the folder.
SCALED = {"MedCompress wavelet": ("wavelet", 64), "MedCompress neural fast": ("neural", 8)}


def main() -> None:
    """Measure what is missing, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--publish", action="store_true", help="write README.md, docs/ and results.json here")
    parser.add_argument("--output", type=Path, default=Path("benchmark"), help="folder of the report otherwise")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="contenders whose names contain this")
    parser.add_argument("--volumes", nargs="+", default=[""], metavar="NAME", help="volumes whose names contain this")
    parser.add_argument("--again", nargs="+", default=[], metavar="NAME", help="measure these contenders again")
    parser.add_argument("--no-scaling", action="store_true", help="leave out how speed grows with slabs and threads")
    parser.add_argument("--no-lossy", action="store_true", help="leave out what is measured at several bit rates")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after that long")
    options = parser.parse_args()
    output = PROJECT / "docs" if options.publish else options.output
    output.mkdir(exist_ok=True)
    results = Results(HERE / "results.json" if options.publish else output / "results.json")
    paths = sorted(path for path in options.folder.iterdir()
                   if is_image_file(path) and any(part in path.name for part in options.volumes))
    results.forget(options.again, paths)
    for path in paths:
        results.describe(path)
    end = time.monotonic() + 60 * options.minutes
    lossy = [] if options.no_lossy else scans(results, paths)[:LOSSY_VOLUMES]
    for name, jobs in plan(results, paths, options):
        for path in lossy if slowness(name) else []:
            if time.monotonic() < end:
                results.measure_lossy(path)
        missing = [job for job in jobs if not results.has(name, *job)]
        with Worker(name) as worker:
            for job in missing:
                answer = worker.answer(*job, end - time.monotonic()) if time.monotonic() < end else None
                if answer is None:
                    break
                results.add(name, *job, answer)
    write_report(results.data, output, PROJECT / "README.md" if options.publish else None)


def plan(results: Results, paths: list[Path], options: argparse.Namespace) -> list[tuple[str, list]]:
    """Contenders, each with its jobs (path, threads, slices), in the order in which they are measured."""
    names = [one.name for one in all_contenders() if any(part in one.name for part in options.only)]
    images = scans(results, paths)
    paths = sorted(paths, key=lambda path: results.volume(path)["voxels"])
    jobs = {}
    for name in sorted(names, key=slowness):
        counts = [max(options.threads)] if slowness(name) else options.threads
        jobs[name] = [(path, threads, 0) for path in paths for threads in counts]
        if name in SCALED and images and not options.no_scaling:
            codec, most = SCALED[name]
            jobs[name] += [(images[-1], threads, get_codec(codec).slab_slices << power)
                           for power in range(most.bit_length()) for threads in options.threads]
    return list(jobs.items())


def scans(results: Results, paths: list[Path]) -> list[Path]:
    """The 3D volumes of images of whole numbers, the smallest first."""
    chosen = [path for path in paths if not results.volume(path)["label_map"]
              and results.volume(path)["axes"] == "kji" and "int" in results.volume(path)["dtype"]]
    return sorted(chosen, key=lambda path: results.volume(path)["voxels"])


def slowness(name: str) -> int:
    """0 for most, more for those that are run once and last."""
    return next((1 + place for place, part in enumerate(SLOW) if part in name), 0)


class Worker:
    """A process that measures one contender; it is started when there is something to do, and again when it fails."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def answer(self, path: Path, threads: int, slices: int, seconds: float = float("inf")) -> dict | None:
        """What measure.py says of a job, or why it says nothing; None if it does not within so many seconds."""
        if self._process is None:
            self._errors = tempfile.TemporaryFile("w+")
            one_thread = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
            self._process = subprocess.Popen([sys.executable, HERE / "measure.py", self._name], text=True,
                                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
                                             env={**os.environ, **one_thread})
        alarm = threading.Timer(min(seconds, LONGEST_SECONDS), self._process.kill)
        alarm.start()
        try:
            self._process.stdin.write(json.dumps({"path": str(path), "threads": threads, "slices": slices}) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        late = not alarm.is_alive()
        alarm.cancel()
        if answer:
            return json.loads(answer)
        self._end()
        if late and seconds < LONGEST_SECONDS:
            return None
        self._errors.seek(0)
        last = (self._errors.read().strip() or "killed").splitlines()[-1][:200]
        return {"left_out": f"it took more than {LONGEST_SECONDS} s" if late else f"it failed: {last}"}

    def _end(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None


class Results:
    """results.json: volumes, and what was measured, by a key that names volume, contender, threads and slices."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.data = json.loads(path.read_text()) if path.exists() else {"volumes": {}, "measured": {}}
        self.data["machine"] = {"processor": processor(), "cores": os.cpu_count(), "system": platform.system(),
                                "python": platform.python_version()}

    def forget(self, names: list[str], paths: list[Path]) -> None:
        """Drop what contenders with these in their names have on these volumes."""
        volumes = {_stem(path) for path in paths}
        self.data["measured"] = {key: one for key, one in self.data["measured"].items() if one["volume"] not in volumes
                                 or not any(name in one["contender"] for name in names)}

    def volume(self, path: Path) -> dict:
        """What is known of a volume."""
        return self.data["volumes"][_stem(path)]

    def describe(self, path: Path) -> None:
        """Take a volume in, unless it is the one that is known under its name."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        if self.data["volumes"].get(_stem(path), {}).get("sha256") == digest:
            return
        volume = mc.read(path)
        self.data["volumes"][_stem(path)] = {
            "sha256": digest, "shape": list(volume.shape), "axes": volume.axes, "dtype": volume.dtype.name,
            "voxels": volume.voxels.size, "label_map": is_label_map(volume)}
        self.data["measured"] = {key: one for key, one in self.data["measured"].items() if one["volume"] != _stem(path)}
        self._save()

    def has(self, name: str, path: Path, threads: int, slices: int) -> bool:
        """Whether that is measured."""
        return _key(name, path, threads, slices) in self.data["measured"]

    def add(self, name: str, path: Path, threads: int, slices: int, found: dict) -> None:
        """Keep the figures, on the disk at once."""
        key = _key(name, path, threads, slices)
        self.data["measured"][key] = {"volume": _stem(path), "contender": name, "threads": threads,
                                      **({"slices": slices} if slices else {}), **found}
        self._save()
        print(key, found.get("left_out") or f"{8 * found['bytes'] / found['voxels']:.3f} bits per voxel, "
              f"{found['encode']['seconds']:.2f} s, {found['decode']['seconds']:.2f} s", flush=True)

    def measure_lossy(self, path: Path) -> None:
        """Rate and distortion of a volume, unless they are known."""
        known = self.data.setdefault("lossy", {})
        if _stem(path) not in known:
            voxels = mc.read(path).voxels
            known[_stem(path)] = rate_distortion(voxels) + preview_curve(voxels)
            self._save()
            print(f"{_stem(path)} | with loss | {len(known[_stem(path)])} rows", flush=True)

    def _save(self) -> None:
        self._path.write_text(json.dumps(self.data, indent=1) + "\n")


def _key(name: str, path: Path, threads: int, slices: int) -> str:
    return f"{_stem(path)} | {name} | {threads}" + (f" | {slices} slices" if slices else "")


def processor() -> str:
    """The processor's own name where the system tells it."""
    try:
        names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                 if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


if __name__ == "__main__":
    main()
