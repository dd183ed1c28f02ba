"""Change every number in the decoders, one at a time, and see that a test fails.

    python Testing/robustness/constants.py codecs/runs.py --unit-tests

A number in the source of the container, of a codec, of the entropy stage or of the sample maps grows by one, in a
process of its own. Then the fixtures are decoded and encoded again and the corpus is decoded; what that does not notice
is given to the unit tests of the module. What nothing notices is named. A number in a compiled loop is tried with that
loop compiled anew; all others with NumPy, and where nothing notices, once more with the compiled loops of the same
module, which may use it. Left out is what only chooses among encodings (the modules and functions in `CHOICES`:
changing it makes other files, and no wrong ones) and what needs PyTorch.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.abc
import importlib.machinery
import io
import os
import resource
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import constriction  # noqa: F401  (these before the fork, as they take long to import)
import numba
import numpy as np  # noqa: F401
import pydicom  # noqa: F401
import pytest

FOLDER = Path(__file__).resolve().parent
PROJECT = FOLDER.parents[1]
LIBRARY = PROJECT / "MedCompressLib"
UNIT_TESTS = {"checksum.py": "test_checksum.py", "slabs.py": "test_slabs.py",
              **dict.fromkeys(("header.py", "container.py", "decode.py"), "test_container.py"),
              "entropy": "test_entropy.py", "samples": "test_samples.py",
              "codecs/raw.py": "test_codec_raw.py", "codecs/runs.py": "test_codec_runs.py",
              **{f"codecs/{name}": f"test_codec_{name}.py" for name in ("wavelet", "progressive", "neural", "nagoor")}}
TRIED = {"entropy": ("runs", "wavelet", "progressive", "neural"), "samples": ("raw", "wavelet"),
         **{f"codecs/{name}": (name,) for name in ("wavelet", "progressive", "neural", "nagoor")},
         **{f"codecs/{name}.py": (name,) for name in ("raw", "runs")}}  # codecs whose fixtures and corpus are tried
CONTAINER = ("raw", "container")  # what is tried on all other parts
CHOICES = {"fitting.py", "choice.py", "fit", "fit_table", "_fit_shift", "_dearest_interval", "_code_length", "_sample",
           "fit_slabs", "training.py", "presets.py", "blas.py", "tune", "fit_experts", "_fit_one", "_solve",
           "pack_model", "rate_distortion.py", "torch_wavefront.py", "_fit_weights", "_merged", "_short_codes"}
IN_LOOPS = {"compiled_wavefront.py", "loops.py"}  # whose numbers only compiled loops use
SECONDS = 120  # of processor time


def numbers(path: Path, named: bool = False) -> Iterator[tuple[ast.Constant, bool]]:
    """The numbers in a source file that are not left out, or those of named constants and tables alone, and whether
    each is in a compiled loop."""
    def visit(node: ast.AST, in_loop: bool) -> Iterator[tuple[ast.Constant, bool]]:
        if isinstance(node, ast.FunctionDef):
            if node.name in CHOICES:
                return
            in_loop |= any(isinstance(name, ast.Name) and name.id == "compiled" for name in node.decorator_list)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield node, in_loop
        for child in ast.iter_child_nodes(node):
            yield from visit(child, in_loop)

    for statement in ast.parse(path.read_text()).body:
        if not named or isinstance(statement, ast.Assign | ast.AnnAssign):
            yield from visit(statement, path.name in IN_LOOPS)


def mutated_source(path: Path, node: ast.Constant) -> str:
    """The source with one of its numbers larger by one."""
    lines = path.read_bytes().split(b"\n")
    line = lines[node.lineno - 1]
    lines[node.lineno - 1] = line[:node.col_offset] + f"({node.value} + 1)".encode() + line[node.end_col_offset:]
    return b"\n".join(lines).decode()


class Mutated(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Imports one module of the library from other source."""

    def __init__(self, path: Path, source: str):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        super().__init__(".".join(parts[:-1] if parts[-1] == "__init__" else parts), str(path))
        self.source = source

    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname):
        return compile(self.source, self.path, "exec", dont_inherit=True)

    def compile_anew(self):
        """Have the loops of this module compiled, neither taken from numba's cache, which knows the file only, nor put
        there."""
        from MedCompressLib import compiled

        compiled._jit = lambda loop: numba.njit(loop, nogil=True, cache=loop.__module__ != self.name)


def part_of(path: Path) -> str:
    """The part of the library that a source file belongs to."""
    return next(part for part in UNIT_TESTS if (LIBRARY / part) in (path, *path.parents))


def fixtures_notice(codecs: tuple[str, ...]) -> bool:
    """Whether a fixture is decoded or encoded otherwise, or a file of the corpus has another outcome."""
    sys.path[:0] = [str(PROJECT), str(FOLDER.parent), str(FOLDER.parent / "Python")]
    try:
        import test_fixtures

        from robustness.fuzz import CORPUS, is_good, outcome

        tried = [name for name, entry in test_fixtures.MANIFEST.items() if entry["codec"] in codecs]
        for name in sorted(tried, key=lambda name: test_fixtures.MANIFEST[name]["bytes"]):
            test_fixtures.test_the_library_decodes(name)
            if test_fixtures.MANIFEST[name]["golden"]:
                test_fixtures.test_the_same_bytes_again(name)
        for path in sorted(path for codec in codecs for path in CORPUS.glob(f"*-{codec}-*.mcz")):
            assert is_good(result := outcome(path.read_bytes()))
            assert path.stem.startswith((result, "crash"))
    except BaseException:
        return True
    return False


def unit_tests_notice(path: Path) -> bool:
    """Whether one of the unit tests of the module fails."""
    test = UNIT_TESTS[part_of(path)]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return pytest.main(["-x", "-q", "-p", "no:cacheprovider", str(FOLDER.parent / "Python" / test)]) != 0


def who_notices(path: Path, node: ast.Constant | None, in_loop: bool, unit_tests: bool = False) -> str:
    """Who notices the change (None: no change): "fixtures", "unit tests" or "nobody"; in a process of its own."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))  # what never ends is noticed
        sys.stdout = sys.stderr = io.StringIO()
        os.environ["MEDCOMPRESS_NUMBA"] = str(int(in_loop))
        try:
            if node is not None:
                module = Mutated(path, mutated_source(path, node))
                sys.meta_path.insert(0, module)
                module.compile_anew()
            noticed = fixtures_notice(TRIED.get(part_of(path), CONTAINER))
            os._exit(1 if noticed else 2 if unit_tests and unit_tests_notice(path) else 3)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return {1: "fixtures", 2: "unit tests", 3: "nobody"}.get(os.waitstatus_to_exitcode(status), "fixtures")


def main() -> int:
    parser = argparse.ArgumentParser(description="Change every number in the decoders and see that a test fails.")
    parser.add_argument("parts", nargs="*", default=list(UNIT_TESTS), help=f"some of {', '.join(UNIT_TESTS)}")
    parser.add_argument("--unit-tests", action="store_true", help="try them on what the fixtures do not notice (slow)")
    parser.add_argument("--named", action="store_true", help="only named constants and tables")
    parser.add_argument("--every", type=int, default=1, help="only each so many-th number")
    options = parser.parse_args()
    survivors = 0
    for part in options.parts:
        place = LIBRARY / part
        if any(who_notices(place, None, in_loop, options.unit_tests) != "nobody" for in_loop in (False, True)):
            raise SystemExit(f"{part}: something fails without any change")
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            if path.name in CHOICES:
                continue
            lines, results = path.read_text().splitlines(), Counter()
            has_loops = "@compiled" in lines
            for node, in_loop in list(numbers(path, options.named))[::options.every]:
                result = who_notices(path, node, in_loop, options.unit_tests)
                if result == "nobody" and has_loops and not in_loop:
                    result = who_notices(path, node, True)
                results[result] += 1
                if result == "nobody":
                    text = lines[node.lineno - 1]
                    print(f"  line {node.lineno}: [{node.value}] in {text[:node.col_offset].strip()}"
                          f"[{node.value}]{text[node.end_col_offset:]}", flush=True)
            counts = ", ".join(f"{results[who]} by {who}" for who in ("fixtures", "unit tests", "nobody"))
            print(f"{path.relative_to(PROJECT)}: {results.total()} numbers, noticed {counts}", flush=True)
            survivors += results["nobody"]
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
