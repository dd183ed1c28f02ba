"""Pytest fixtures of the headless Slicer; a test file asks for them with `pytest_plugins = ["harness.fixtures"]`."""

from pathlib import Path

import pytest

from . import pythonqt
from .application import loadModule, start

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def application():
    """The running headless Slicer with the module MedCompress loaded."""
    app = start()
    loadModule(PROJECT / "MedCompress" / "MedCompress.py")
    app.emit("startupCompleted()")
    return app


@pytest.fixture
def scene(application):
    """The application's scene, empty."""
    import slicer

    slicer.mrmlScene.Clear()
    yield slicer.mrmlScene
    slicer.mrmlScene.Clear()


@pytest.fixture
def logic(scene):
    """The module's logic."""
    import MedCompress

    return MedCompress.MedCompressLogic()


@pytest.fixture
def panel(scene, request):
    """The module's widget, entered; cleaned up afterwards. Nothing may have been stored on its Qt widgets.

    The test sees properties as PythonQt has them; unsaid, that would depend on which code ran last.
    """
    import slicer

    pythonqt.usesPythonQt(request.module.__name__)
    module = slicer.modules.medcompress
    representation = module.widgetRepresentation()
    representation.enter()
    yield slicer.modules.MedCompressWidget
    stray = pythonqt.strayAttributes()
    pythonqt.loadedWidgets.clear()
    slicer.modules.MedCompressWidget.cleanup()
    representation.deleteLater()
    module._widget = None
    assert stray == [], "PythonQt refuses new attributes on widgets"
