"""Mutated `.mcz` files by the thousand: `python Testing/robustness/fuzz.py wavelet --count 100000 --seed 1`.

Each must be refused with a `FormatError` of one sentence, or decode to the voxels it was made of; within 5 seconds of
processor time and 1 GB of memory. What breaks that is kept in the folder `corpus` as `crash-...mcz`, which the tests
decode from then on. With `--grow`, files that reach new lines of the library are kept there too, by the name of what
came of them, and mutated further.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import resource
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER.parent)]

import surgery  # noqa: E402

import MedCompressLib  # noqa: E402
from MedCompressLib import FormatError, decompress  # noqa: E402
from MedCompressLib.codecs import codec_ids  # noqa: E402
from robustness.mutations import OF_CODEC, OF_CONTAINER, mutate  # noqa: E402

SECONDS = 5.0
WATCHDOG_SECONDS = 600  # of the clock, as what is stuck in compiled code only a signal ends
BYTES = 1 << 30
SEED_BYTES = 3500  # of the fixtures that are mutated
CORPUS = FOLDER / "corpus"
FIXTURES = FOLDER.parent / "fixtures"
LIBRARY = str(Path(MedCompressLib.__file__).parent)
TARGETS = ["container", *codec_ids()]


@dataclass(frozen=True)
class Seed:
    """A file that is mutated, its voxels, and about what it costs to decode."""

    data: bytes
    voxels: bytes
    cost: float


def seeds(target: str) -> list[Seed]:
    """The small fixtures of a codec, or of all."""
    manifest = json.loads((FIXTURES / "manifest.json").read_text())["volumes"]
    found = []
    for name, entry in manifest.items():
        if entry["codec"] in TARGETS and target in ("container", entry["codec"]) and entry["bytes"] < SEED_BYTES:
            data = (FIXTURES / f"{name}.mcz").read_bytes()
            voxels = decompress(data, threads=1).voxels.tobytes()
            found.append(Seed(data, voxels, (500 + len(voxels)) * (10 if entry["codec"] == "neural" else 1)))
    return found


def outcome(data: bytes, voxels: bytes | None = None) -> str:
    """What comes of a file: "refused", "right", or what is wrong; without `voxels` any volume is right."""
    result, seconds = _decoded(data, voxels, time.perf_counter)
    if seconds > SECONDS:  # by the clock, so that other programs may have taken the time
        result, seconds = _decoded(data, voxels, time.process_time)
    return result if seconds < SECONDS else f"SLOW, {result}"


def _decoded(data: bytes, voxels: bytes | None, clock: Callable[[], float]) -> tuple[str, float]:
    started = clock()
    try:
        decoded = decompress(data, threads=1).voxels.tobytes()
        result = "right" if voxels is None or decoded == voxels else "WRONG VOXELS"
    except FormatError as error:
        text = str(error)
        plain = 10 < len(text) < 600 and "\n" not in text and text.endswith((".", ")"))
        result = "refused" if plain else f"UNCLEAR {text!r}"
    except Exception as error:
        result = f"CRASH {type(error).__name__}: {error}"
    return result, clock() - started


def is_good(result: str) -> bool:
    return result in ("refused", "right")


@contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """No more address space than there is now and `more` bytes, so that a bomb is a `MemoryError`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class Coverage:
    """The lines of the library that some file has reached."""

    def __init__(self) -> None:
        self.lines: set[tuple[str, int]] = set()
        self.new = 0

    def __enter__(self) -> Coverage:
        self.new = 0
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _call(self, frame, _event, _argument):
        return self._line if frame.f_code.co_filename.startswith(LIBRARY) else None

    def _line(self, frame, _event, _argument):
        line = frame.f_code.co_filename, frame.f_lineno
        if line not in self.lines:
            self.lines.add(line)
            self.new += 1
        return self._line


def choose(pool: list[Seed], rng: np.random.Generator) -> Seed:
    """Which file is mutated next: more often those that are decoded sooner."""
    shares = np.cumsum([1 / seed.cost for seed in pool])
    return pool[int(np.searchsorted(shares, rng.uniform(0, shares[-1])))]


def fuzz(target: str, count: int, seed: int, grow: bool = False) -> Counter:
    """Decode `count` mutated files and count what comes of them; prints a line for each thousand."""
    pool = seeds(target)
    mutations = OF_CONTAINER if target == "container" else OF_CODEC
    rng = np.random.default_rng(seed)
    coverage = Coverage()
    for each in pool if grow else []:
        with coverage:
            outcome(each.data, each.voxels)
    results: Counter = Counter()
    for number in range(count):
        chosen = choose(pool, rng)
        mutated = mutate(chosen.data, mutations, rng)
        signal.alarm(WATCHDOG_SECONDS)
        with coverage if grow else limited_memory(BYTES):
            result = outcome(mutated, chosen.voxels)
        signal.alarm(0)
        results[result if is_good(result) else "broken"] += 1
        if not is_good(result):
            print(f"{target} seed {seed} number {number}: {result}\n  {keep('crash', target, mutated)}", flush=True)
        elif coverage.new:
            keep(result, target, mutated)
            if has_right_checksums(mutated):
                pool.append(Seed(mutated, chosen.voxels, chosen.cost))
        if (number + 1) % 1000 == 0:
            print(f"{target} seed {seed}: {number + 1} of {count}, {dict(results)}", flush=True)
    return results


def has_right_checksums(data: bytes) -> bool:
    """Whether a file can be taken apart, to be mutated further."""
    try:
        return isinstance(surgery.File.split(data).fields["codec"]["config"], dict)
    except (AssertionError, KeyError, TypeError, ValueError, struct.error):
        return False


def keep(kind: str, target: str, data: bytes) -> Path:
    CORPUS.mkdir(exist_ok=True)
    path = CORPUS / f"{kind}-{target}-{hashlib.sha256(data).hexdigest()[:8]}.mcz"
    path.write_bytes(data)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description="Decode mutated files and see that nothing breaks.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--grow", action="store_true", help="keep what reaches new lines (slow)")
    options = parser.parse_args()
    faulthandler.register(signal.SIGALRM, chain=True)  # shows where, then ends the process
    results = fuzz(options.target, options.count, options.seed, options.grow)
    print(f"{options.target} seed {options.seed}: {options.count} files, {dict(results)}")
    return 1 if results["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
