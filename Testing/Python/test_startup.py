"""Importing the library and asking the command line for help are quick, whatever is installed beside them."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from stopwatch import least_seconds_of_python

import MedCompressLib as mc


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is of POSIX systems")
def test_import_takes_less_than_150_ms():
    assert least_seconds_of_python("-c", "import MedCompressLib") - least_seconds_of_python("-c", "pass") < 0.15


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is of POSIX systems")
def test_help_takes_less_than_400_ms():
    """Or, on a slow or busy machine, not much more than numpy alone."""
    numpy_alone = least_seconds_of_python("-c", "import numpy")
    assert least_seconds_of_python("-m", "MedCompressLib", "--help") < max(0.4, 2.2 * numpy_alone)


@pytest.mark.parametrize("program", ["import MedCompressLib", "import MedCompressLib; MedCompressLib.compress"])
def test_heavy_packages_are_imported_when_they_are_needed(program):
    heavy = "constriction", "SimpleITK", "pydicom", "torch", "numcodecs", "matplotlib"
    check = f"{program}; import sys; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True).stdout == "[]\n"


def test_every_public_name_is_there():
    assert set(mc.__all__) <= set(dir(mc))
    for name in mc.__all__:
        assert getattr(mc, name).__module__.startswith("MedCompressLib")
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        mc.absent  # noqa: B018
    types = tomllib.loads((Path(mc.__file__).parents[1] / "pyproject.toml").read_text())["tool"]["mypy"]["files"]
    for name in mc.__all__:
        assert f"{getattr(mc, name).__module__.replace('.', '/')}.py" in types
    names = {}
    exec("from MedCompressLib import *", names)
    assert set(mc.__all__) <= set(names)
