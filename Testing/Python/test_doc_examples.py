"""The examples in the documentation of the library run as they stand."""

import re
import textwrap

import numpy as np
import pytest

import MedCompressLib as mc


def example(text: str) -> str:
    """The indented block of a docstring, from its first line of code."""
    block = re.search(r"\n\n((?: {4,}\S.*\n| *\n)+)", text)
    return textwrap.dedent(block[1])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    voxels = np.cumsum(np.random.default_rng(0).integers(-3, 4, (64, 16, 16)), axis=2).astype(np.int16)
    mc.write("chest.nrrd", voxels)
    return tmp_path


def test_the_package(folder):
    mask = np.zeros((64, 16, 16), bool)
    mask[20:30] = True
    lines = [line for line in example(mc.__doc__).splitlines(keepends=True) if "pack(" not in line]
    names = {"mask": mask}
    exec("".join(lines), names)
    assert names["part"].shape == (16, 16, 16)
    assert np.array_equal(names["middle"], names["volume"].voxels[32])


def test_open(folder):
    mc.write("microct.mcz", np.zeros((1001, 8, 8), np.uint8))
    names = {"mc": mc}
    exec(textwrap.dedent(re.search(r"\n\n((?: {8}.*\n)+)", mc.open.__doc__)[1]), names)
    assert names["thin"].shape == (126, 1, 1) and mc.read("microct.nrrd").shape == (1001, 8, 8)


def test_zarr(folder):
    pytest.importorskip("zarr")
    from MedCompressLib import zarr_codec

    names = {}
    exec(example(zarr_codec.__doc__).replace("(2000, 2048, 2048)", "(4, 64, 64)").replace("(32, 512, 512)",
                                                                                        "(4, 32, 32)"), names)
    names["array"][:] = 7
    assert (names["array"][:] == 7).all()
