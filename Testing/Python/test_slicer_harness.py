"""The headless Slicer is loud about what it does not know, as the application would be."""

import logging
import os
from pathlib import Path

import pytest
from harness import pythonqt
from harness.pythonqt import usesPythonQt

pytest_plugins = ["harness.fixtures"]
usesPythonQt(__name__)

UI = """<ui version="4.0"><widget class="qMRMLWidget" name="top"><layout class="QVBoxLayout" name="layout">
<item><widget class="{widget}" name="child"/></item></layout></widget></ui>"""


def load(tmp_path, widget):
    import slicer

    path = tmp_path / "panel.ui"
    path.write_text(UI.format(widget=widget))
    return slicer.util.loadUI(str(path))


def test_unknown_widget_class(application, tmp_path):
    with pytest.raises(RuntimeError):
        load(tmp_path, "qMRMLMagicWidget")


def test_unknown_names(application):
    import qt
    import slicer

    for owner, name in ((slicer.app, "mainWindow"), (slicer.modules, "magic"), (qt, "Signal"), (slicer, "qMagic")):
        with pytest.raises(AttributeError):
            getattr(owner, name)
    with pytest.raises(ValueError, match="no signal"):
        slicer.app.connect("magic()", print)


def test_properties_are_attributes(application):
    import qt

    edit, slider = qt.QLineEdit(), qt.QSlider()
    edit.text = "some"
    slider.value = 7
    assert (edit.text, slider.value) == ("some", 7)
    for call in (lambda: edit.text(), lambda: slider.value()):
        with pytest.raises(TypeError):
            call()


def test_attributes_stored_on_widgets_are_found(application, tmp_path):
    top = load(tmp_path, "QPushButton")
    assert pythonqt.strayAttributes() == []
    child = next(w for w in pythonqt.loadedWidgets if w.name == "child")
    child.text = "a property"
    child.secret = 1
    assert pythonqt.strayAttributes() == [("QPushButton", "child", "secret")]
    pythonqt.loadedWidgets.clear()
    assert top is not None


def test_string_connections(application):
    import qt

    got = []

    def withoutArguments():
        got.append("clicked")

    def withArgument(value):
        got.append(value)

    button, box = qt.QPushButton(), qt.QComboBox()
    box.addItems(["a", "b"])
    button.connect("clicked()", withoutArguments)
    box.connect("currentIndexChanged(int)", withArgument)
    button.click()
    box.currentIndex = 1
    assert got == ["clicked", 1]
    assert button.disconnect("clicked()", withoutArguments)
    button.click()
    assert got == ["clicked", 1]


@pytest.mark.parametrize("answer, accepted", [(0.9, 0.9), (1, 0.0), (True, 0.0), ("high", 0.0)])
def test_a_confidence_is_a_float(application, caplog, answer, accepted):
    from harness.io_manager import Reader

    class Plugin:
        def __init__(self, parent):
            self.parent = parent

        def canLoadFileConfidence(self, path):
            return answer

    with caplog.at_level(logging.WARNING):
        assert Reader(Plugin).confidence("a.mcz") == accepted
    assert bool(caplog.records) == (accepted == 0.0)


def test_paths_do_not_pass_through_qt(application):
    from harness.io_manager import Reader

    with pytest.raises(TypeError, match="cannot convert"):
        Reader(type("Plugin", (), {"__init__": lambda self, parent: None})).load({"fileName": Path("a.mcz")})


def test_parameters_of_unknown_type(application):
    from typing import Annotated

    from slicer.parameterNodeWrapper import parameterNodeWrapper

    with pytest.raises(Exception, match=r"serializer"):
        @parameterNodeWrapper
        class Parameters:
            value: Annotated[set, "of something"]


def test_real_python_files_of_slicer(application):
    """With SLICER_SOURCE, all test_slicer_* files run on Slicer's own Python files; here that is made sure of."""
    source = os.environ.get("SLICER_SOURCE")
    if not source:
        pytest.skip("SLICER_SOURCE does not name a source checkout of Slicer")
    import slicer.i18n
    import slicer.packaging
    import slicer.parameterNodeWrapper
    import slicer.ScriptedLoadableModule

    for module in (slicer.i18n, slicer.packaging, slicer.parameterNodeWrapper, slicer.ScriptedLoadableModule):
        assert Path(module.__file__).is_relative_to(Path(source))
