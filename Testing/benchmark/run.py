"""How small and how fast: our codecs and presets beside what a user would pick instead.

    python Testing/benchmark/run.py FOLDER                  a report on your own volumes, in benchmark/
    python Testing/benchmark/run.py FOLDER --publish        the figures in README.md and docs/benchmark.md
    python Testing/benchmark/run.py FOLDER --only wavelet JPEG --volumes ct_ --threads 1        a part of it

Every volume in the folder (NRRD, NIfTI, MHA, MHD, NPY) is encoded and decoded by every contender with one thread and
with two, each in a process of its own (see measure.py), and every result is compared with the input. What has been
measured stands in results.json and is not measured again, so an interrupted run goes on where it was, and slow rivals
are run once; `--again NAME` repeats those whose names contain NAME. Tables and plots are made from results.json alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from contenders import all_contenders, is_label_map
from report import write_report

import MedCompressLib as mc
from MedCompressLib.codecs import get_codec
from MedCompressLib.image_files import is_image_file

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
LONGEST_SECONDS = 3600
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
    options = parser.parse_args()
    output = PROJECT / "docs" if options.publish else options.output
    output.mkdir(exist_ok=True)
    results = Results(HERE / "results.json" if options.publish else output / "results.json")
    results.forget(options.again)
    paths = sorted(path for path in options.folder.iterdir()
                   if is_image_file(path) and any(part in path.name for part in options.volumes))
    for path in paths:
        results.describe(path)
    names = [one.name for one in all_contenders() if any(part in one.name for part in options.only)]
    for threads in options.threads:
        for name in names:
            for path in paths:
                results.measure(path, name, threads)
    if not options.no_scaling and paths:
        images = [path for path in paths if not results.volume(path)["label_map"]
                  and results.volume(path)["axes"] == "kji"]
        largest = max(images or paths, key=lambda path: results.volume(path)["voxels"])
        for name in set(names) & set(SCALED):
            codec, most = SCALED[name]
            for threads in options.threads:
                for power in range(most.bit_length()):
                    results.measure(largest, name, threads, get_codec(codec).slab_slices << power)
    write_report(results.data, output, PROJECT / "README.md" if options.publish else None)


class Results:
    """results.json: volumes, and what was measured, by a key that names volume, contender, threads and slices."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.data = json.loads(path.read_text()) if path.exists() else {"volumes": {}, "measured": {}}
        self.data["machine"] = {"processor": processor(), "cores": os.cpu_count(), "system": platform.system(),
                                "python": platform.python_version()}

    def forget(self, names: list[str]) -> None:
        """Drop what contenders with these in their names have."""
        self.data["measured"] = {key: one for key, one in self.data["measured"].items()
                                 if not any(name in one["contender"] for name in names)}

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

    def measure(self, path: Path, name: str, threads: int, slices: int = 0) -> None:
        """Measure, unless it is known already, and keep the result at once."""
        key = f"{_stem(path)} | {name} | {threads}" + (f" | {slices} slices" if slices else "")
        if key in self.data["measured"]:
            return
        command = [sys.executable, HERE / "measure.py", path, name, str(threads), *([str(slices)] if slices else [])]
        one_thread = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_SECONDS,
                                  env={**os.environ, **one_thread})
            found = json.loads(done.stdout) if done.returncode == 0 else {
                "left_out": f"it failed: {(done.stderr.strip() or 'killed').splitlines()[-1][:200]}"}
        except subprocess.TimeoutExpired:
            found = {"left_out": f"it took more than {LONGEST_SECONDS} s"}
        self.data["measured"][key] = {"volume": _stem(path), "contender": name, "threads": threads,
                                      **({"slices": slices} if slices else {}), **found}
        self._path.write_text(json.dumps(self.data, indent=1) + "\n")
        print(key, found.get("left_out") or f"{8 * found['bytes'] / found['voxels']:.3f} bits per voxel, "
              f"{found['encode']['seconds']:.2f} s, {found['decode']['seconds']:.2f} s", flush=True)


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
