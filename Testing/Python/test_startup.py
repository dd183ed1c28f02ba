"""Importing the library and asking the command line for help are quick, whatever is installed beside them."""

import resource
import subprocess
import sys

import pytest

import MedCompressLib as mc


def processor_seconds(*command: str) -> float:
    """The least of several runs, in processor time: that of the clock depends on what else the machine does."""
    runs = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        runs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(runs)


def test_import_takes_less_than_150_ms():
    assert processor_seconds("-c", "import MedCompressLib") - processor_seconds("-c", "pass") < 0.15


def test_help_takes_less_than_400_ms():
    assert processor_seconds("-m", "MedCompressLib", "--help") < 0.4


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
    names = {}
    exec("from MedCompressLib import *", names)
    assert set(mc.__all__) <= set(names)
