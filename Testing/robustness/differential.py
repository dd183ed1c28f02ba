"""Mutated files to both decoders: `python Testing/robustness/differential.py wavelet --count 2000 --seed 1`.

Digests would refuse nearly all of what mutated payloads, models and headers decode to, whatever it is. Here both
decoders take any digest, and must refuse the same files and make the same voxels of the others: the library with NumPy,
with compiled loops where numba is installed, and the second decoder. Files on which they differ are kept in the folder
`corpus` as `differ-...mcz`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

import reference  # noqa: E402

from MedCompressLib import FormatError, decompress  # noqa: E402
from MedCompressLib.checksum import crc32c  # noqa: E402
from MedCompressLib.compiled import SWITCH  # noqa: E402
from robustness.fuzz import BYTES, TARGETS, choose, keep, limited_memory, seeds  # noqa: E402
from robustness.mutations import OF_CODEC, OF_CONTAINER, mutate  # noqa: E402


class AnyDigest(bytes):
    """A digest that is equal to all others."""

    def __getitem__(self, _: object) -> AnyDigest:
        return self

    def __eq__(self, _: object) -> bool:
        return True

    def __ne__(self, _: object) -> bool:
        return False

    __hash__ = bytes.__hash__


@contextmanager
def any_digest() -> Iterator[None]:
    """Both decoders take any digest, and the second one's checksums are computed by the library, which is faster."""
    with (mock.patch("MedCompressLib.decode.combined_digest", lambda _: AnyDigest()),
          mock.patch("reference.decode.voxel_digest", lambda _: AnyDigest()),
          mock.patch("reference.container.crc32c", crc32c)):
        yield


def outcomes(data: bytes) -> dict[str, object]:
    """What each way to decode makes of a file: voxels as bytes, "refused", or how it broke."""
    found = {}
    for switch in "01" if importlib.util.find_spec("numba") else "0":
        with mock.patch.dict(os.environ, {SWITCH: switch}):
            found["compiled" if switch == "1" else "NumPy"] = _outcome(lambda: decompress(data, threads=1))
    return found | {"second decoder": _outcome(lambda: reference.decode(data))}


def _outcome(decode: Callable) -> object:
    try:
        return decode().voxels.tobytes()
    except (FormatError, reference.RefusedError):
        return "refused"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def compare(target: str, count: int, seed: int) -> Counter:
    """Decode `count` mutated files in all ways, and count how many are refused, decoded, or differ."""
    pool, rng, results = seeds(target), np.random.default_rng(seed), Counter()
    for number in range(count):
        mutated = mutate(choose(pool, rng).data, OF_CONTAINER if target == "container" else OF_CODEC, rng)
        with any_digest(), limited_memory(BYTES):
            found = outcomes(mutated)
        first, *others = found.values()
        differ = any(other != first for other in others) or (isinstance(first, str) and first != "refused")
        results["differ" if differ else "refused" if first == "refused" else "decoded"] += 1
        if differ:
            told = {way: what if isinstance(what, str) else "decoded" for way, what in found.items()}
            print(f"{target} seed {seed} number {number}: {told}\n  {keep('differ', target, mutated)}", flush=True)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description="Decode mutated files by both decoders and see where they differ.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    results = compare(options.target, options.count, options.seed)
    print(f"{options.target} seed {options.seed}: {options.count} files, {dict(results)}")
    return 1 if results["differ"] else 0


if __name__ == "__main__":
    sys.exit(main())
