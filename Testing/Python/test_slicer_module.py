"""The module as Slicer meets it: file, classes, import, self-test."""

import os
import re
import subprocess
import sys
import textwrap
import unittest
from pathlib import Path

import pytest

pytest_plugins = ["harness.fixtures"]
PROJECT = Path(__file__).resolve().parents[2]


def runPython(code, **environment):
    """Run code in a fresh interpreter that finds nothing of this project but Testing/."""
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": str(PROJECT / "Testing"), **environment}, cwd=PROJECT.anchor)


def test_classes_that_slicer_looks_for(application):
    from slicer import ScriptedLoadableModule as base

    import MedCompress

    for suffix, cls in {"": base.ScriptedLoadableModule, "Widget": base.ScriptedLoadableModuleWidget,
                        "Logic": base.ScriptedLoadableModuleLogic, "Test": base.ScriptedLoadableModuleTest}.items():
        found = getattr(MedCompress, "MedCompress" + suffix)
        assert issubclass(found, cls) and found.__name__ == "MedCompress" + suffix
    assert MedCompress.MedCompressFileReader and MedCompress.MedCompressFileWriter
    assert MedCompress.MedCompressLogic().moduleName == "MedCompress"


def test_what_the_menus_show(application):
    import slicer

    parent = slicer.modules.medcompress
    assert parent.title == "MedCompress" and parent.categories == ["Utilities"] and parent.dependencies == []
    assert len(parent.helpText) > 100 and parent.contributors
    assert not parent.icon.isNull()
    assert "MedCompress" in slicer.selfTests


def test_module_folder_holds_only_modules():
    """Slicer takes every .py file at the top level of the folder for a module."""
    names = sorted(path.name for path in (PROJECT / "MedCompress").glob("*.py"))
    assert names == ["MedCompress.py", "MedCompressDICOMPlugin.py"]


def test_import_is_fast_and_loads_nothing_heavy(tmp_path):
    """From a source checkout, in a process that has what Slicer has loaded anyway.

    Processor time, and measured by that of other imports, because a busy machine stretches both; the best of up to
    three tries, of which all but the first find compiled files, as in an installed Slicer.
    """
    code = f"""
        import sys, time
        from harness.application import start, loadModule
        start()
        import numpy, vtk.util.numpy_support, unittest, tempfile, json
        import slicer.parameterNodeWrapper, slicer.ScriptedLoadableModule, slicer.i18n
        assert not any("MedCompress" in path for path in sys.path)
        begin = time.process_time()
        loadModule({str(PROJECT / "MedCompress" / "MedCompress.py")!r})
        ours = time.process_time() - begin
        begin = time.process_time()
        import asyncio, ensurepip, http.server, imaplib, sqlite3, wsgiref.simple_server, xmlrpc.client
        print("ratio", ours / (time.process_time() - begin))
        print("heavy", [m for m in ("torch", "constriction", "pydicom", "SimpleITK", "scipy") if m in sys.modules])
        """
    for _attempt in range(3):
        run = runPython(code, PYTHONDONTWRITEBYTECODE="", PYTHONPYCACHEPREFIX=str(tmp_path))
        assert "heavy []" in run.stdout, run.stdout + run.stderr
        ratio = float(re.search(r"ratio ([\d.e-]+)", run.stdout).group(1))
        if ratio < 3:
            return
    raise AssertionError(f"importing MedCompress.py takes {ratio:.2f} times as long as some of Python's own modules")


def test_worker_does_not_need_slicer():
    """The background process has neither slicer nor qt."""
    run = runPython(f"""
        import sys
        sys.path[:0] = [{str(PROJECT)!r}, {str(PROJECT / "MedCompress")!r}]
        sys.modules["slicer"] = sys.modules["qt"] = sys.modules["vtk"] = None
        import MedCompressSlicer.Worker
        print("fine")
        """)
    assert run.stdout == "fine\n", run.stderr


def test_works_when_the_library_is_installed_elsewhere(tmp_path):
    """In a built extension MedCompress.py and the packages lie in one folder that is on the path."""
    (tmp_path / "MedCompressLib").symlink_to(PROJECT / "MedCompressLib")
    for entry in (PROJECT / "MedCompress").iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    run = runPython(f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from harness.application import start, loadModule
        start()
        loadModule({str(tmp_path / "MedCompress.py")!r})
        import MedCompressLib
        assert MedCompressLib.__file__.startswith({str(tmp_path)!r})
        assert {str(PROJECT)!r} not in sys.path
        print("fine")
        """)
    assert run.stdout == "fine\n", run.stderr


def test_sample_data(logic):
    """Registered when Slicer has started, made without a download, and good for what the tutorial does with it."""
    import numpy as np
    import slicer

    assert slicer.modules.sampleDataSourceCategories["MedCompress"]["title"] == "MedCompress"
    (source,) = slicer.modules.sampleDataSources["MedCompress"]
    assert source.uris == [] and Path(source.thumbnailFileName).is_file()
    volume, segmentation = source.customDownloader(source)
    assert volume.GetName() == source.sampleName and segmentation.GetSegmentation().GetNumberOfSegments() == 4
    assert slicer.util.arrayFromVolume(volume).nbytes < 5e6
    regions = logic.segmentROI(segmentation, ["liver", "spleen", "kidney", "spine"]).regions(volume)
    assert all(1000 < np.count_nonzero(regions.mask(index)) for index in range(4))


def test_module_test_passes_as_ctest_runs_it(scene):
    import MedCompress

    suite = unittest.TestLoader().loadTestsFromTestCase(MedCompress.MedCompressTest)
    assert suite.countTestCases() >= 6
    result = unittest.TextTestRunner(verbosity=0).run(suite)
    assert result.wasSuccessful(), result.failures + result.errors


def test_module_test_passes_from_the_panel(scene):
    import slicer

    slicer.selfTests["MedCompress"](msec=0)


@pytest.mark.parametrize("codec", ["auto", "raw"])
def test_real_ct_round_trip(logic, data_file, codec):
    """A real CT out of the public set through a node and back."""
    import numpy as np
    import SimpleITK as sitk
    import slicer

    candidates = sorted(data_file("public").glob("ct_*.nrrd"), key=lambda path: path.stat().st_size)
    if not candidates:
        pytest.skip("no CT in public/")
    voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(candidates[0])))[:6, 100:356, 100:356]
    node = slicer.util.addVolumeFromArray(voxels, np.diag([-0.7, -0.7, 2.5, 1]), "CT")
    restored, report = logic.roundTrip(node, codec=codec)
    assert report.identical and np.array_equal(slicer.util.arrayFromVolume(restored), voxels)
