"""`slicer.app`, `slicer.modules` and the loading of a scripted module, around one MRML scene per process."""

import atexit
import importlib
import importlib.util
import os
import pkgutil
import shutil
import sys
import tempfile
import types
from pathlib import Path

from . import pythonqt
from .pythonqt import QtCore, QtWidgets, ctk, qt, usesPySide, usesPythonQt

usesPySide(__name__)
_STANDINS = ("ScriptedLoadableModule", "i18n", "packaging", "parameterNodeWrapper")
_STANDIN_FILES = {"ScriptedLoadableModule": "scripted_module", "parameterNodeWrapper": "parameter_node"}
_application = None


class ModuleManager:
    def connect(self, signature, slot):
        return True

    def disconnect(self, signature, slot):
        return True


class Application:
    """The part of qSlicerApplication that a module may meet. Without main window and without layout manager."""

    applicationName = "Slicer"

    def __init__(self, qapplication):
        from .io_manager import IOManager

        self.temporaryPath = tempfile.mkdtemp(prefix="headless-slicer-")
        atexit.register(shutil.rmtree, self.temporaryPath, ignore_errors=True)
        self.defaultScenePath = self.temporaryPath
        self._qapplication = qapplication
        self._ioManager = IOManager()
        self._moduleManager = ModuleManager()
        self._slots = {}
        self.testing = True

    def testingEnabled(self):
        return self.testing

    def processEvents(self):
        self._qapplication.processEvents()

    def connect(self, signature, slot):
        if signature not in ("startupCompleted()", "aboutToQuit()"):
            raise ValueError(f"The headless Slicer has no signal {signature!r}.")
        self._slots.setdefault(signature, []).append(slot)
        return True

    def disconnect(self, signature, slot):
        if slot not in self._slots.get(signature, []):
            return False
        self._slots[signature].remove(slot)
        return True

    def emit(self, signature):
        """For tests: what the application does when it has started or is about to quit."""
        for slot in list(self._slots.get(signature, [])):
            slot()

    def coreIOManager(self):
        return self._ioManager

    def moduleManager(self):
        return self._moduleManager

    def layoutManager(self):
        return None

    def topLevelWidgets(self):
        return []

    def translate(self, context, text):
        return text

    def userSettings(self):
        return QtCore.QSettings(os.path.join(self.temporaryPath, "settings.ini"), QtCore.QSettings.IniFormat)

    def setOverrideCursor(self, cursor):
        self._qapplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self):
        self._qapplication.restoreOverrideCursor()

    def thread(self):
        return self._qapplication.thread()


class LogicModule:
    """A C++ module of which only the logic is there."""

    def __init__(self, logic):
        self._logic = logic

    def logic(self):
        return self._logic


class ModuleWidget(qt.QWidget):
    """qSlicerScriptedLoadableModuleWidget: owns the Python widget, forwards enter and exit."""

    def __init__(self, module):
        super().__init__()
        self._module, self._entered, self._python = module, False, None
        self.setLayout(QtWidgets.QVBoxLayout())

    isEntered = property(lambda self: self._entered)

    def create(self):
        import slicer

        name = self._module.name
        self._python = getattr(sys.modules[name], name + "Widget")(self)
        setattr(slicer.modules, name + "Widget", self._python)
        self._python.setup()
        return self._python

    def reload(self):
        self.create()

    def enter(self):
        self._entered = True
        self._python.enter()

    def exit(self):
        self._entered = False
        self._python.exit()

    def mrmlScene(self):
        import slicer

        return slicer.mrmlScene


class ScriptedModule:
    """qSlicerScriptedLoadableModule: the object a module class sees as `parent`."""

    def __init__(self, path):
        self.path = str(path)
        self.name = Path(path).stem
        self._widget = None

    def widgetRepresentation(self):
        if self._widget is None:
            self._widget = ModuleWidget(self)
            self._widget.create()
        return self._widget


def _makeScene(slicer):
    scene = slicer.vtkMRMLScene()
    applicationLogic = slicer.vtkMRMLApplicationLogic()
    applicationLogic.SetMRMLScene(scene)
    dataIO, cache = slicer.vtkDataIOManager(), slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(tempfile.mkdtemp(prefix="cache", dir=slicer.app.temporaryPath))
    dataIO.SetCacheManager(cache)
    scene.SetDataIOManager(dataIO)
    modules = types.SimpleNamespace()
    for name, className in {
        "colors": "vtkSlicerColorLogic",
        "volumes": "vtkSlicerVolumesLogic",
        "segmentations": "vtkSlicerSegmentationsModuleLogic",
        "sequences": "vtkSlicerSequencesLogic",
        "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
        "terminologies": "vtkSlicerTerminologiesModuleLogic",
    }.items():
        logic = getattr(slicer, className)()
        logic.SetMRMLApplicationLogic(applicationLogic)
        applicationLogic.SetModuleLogic(name, logic)
        logic.SetMRMLScene(scene)
        setattr(modules, name, LogicModule(logic))
    slicer.mrmlScene, slicer.modules = scene, modules
    slicer.app._applicationLogic = applicationLogic
    _followSubjectHierarchy(slicer, scene)


def _followSubjectHierarchy(slicer, scene):
    """In the application a Qt plug-in logic gives every data node its subject-hierarchy item."""
    import vtk

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(caller, event, node):
        if node.IsA("vtkMRMLDisplayableNode") or node.IsA("vtkMRMLTransformNode"):
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
            if not node.GetHideFromEditors() and not hierarchy.GetItemByDataNode(node):
                hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(caller, event, node):
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, False)

    scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, onNodeAdded)
    scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, onNodeRemoved)


def _installPython(slicer):
    """Stand-ins for the Python files that the wheel lacks, or the real ones of a source checkout."""
    source = os.environ.get("SLICER_SOURCE")
    if source:
        folder = Path(source) / "Base" / "Python" / "slicer"
        if not folder.is_dir():
            raise RuntimeError(f"SLICER_SOURCE={source} has no Base/Python/slicer: is it a checkout of Slicer?")
        slicer.__path__.append(str(folder))
        usesPythonQt(*(f"slicer.{name}" for name in _STANDINS))
        usesPythonQt("SampleData", *(f"slicer.parameterNodeWrapper.{m.name}"
                                     for m in pkgutil.iter_modules([str(folder / "parameterNodeWrapper")])))
        sys.path.append(str(Path(source) / "Modules" / "Scripted" / "SampleData"))
        return
    for name in _STANDINS:
        full = f"{__package__}.{_STANDIN_FILES.get(name, name)}"
        usesPythonQt(full)
        module = importlib.import_module(full)
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    sys.modules["SampleData"] = importlib.import_module(f"{__package__}.sample_data")


def _installPythonSlicer(folder):
    """The launcher on PATH which in the application runs Slicer's Python; a child of the launcher does the work."""
    launcher = Path(folder) / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    launcher.chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


def start():
    """Start the headless Slicer, once per process.

    :return: the application stand-in, which is `slicer.app`.
    """
    global _application
    if _application is not None:
        return _application
    import vtk

    vtk.vtkObject.GlobalWarningDisplayOff()
    import slicer
    import slicer.util

    qapplication = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    qapplication.setOrganizationName("NA-MIC")
    qapplication.setApplicationName("Slicer")
    sys.modules["qt"], sys.modules["ctk"] = qt, ctk
    usesPythonQt("slicer.util")
    from . import mrml_widgets

    for cls in mrml_widgets.ALL:
        setattr(slicer, cls.__name__, cls)
    qt.QUiLoader = pythonqt.uiLoader(mrml_widgets.ALL)
    slicer.selfTests = {}
    _application = slicer.app = Application(qapplication)
    _makeScene(slicer)
    _installPythonSlicer(tempfile.mkdtemp(prefix="bin", dir=_application.temporaryPath))
    _installPython(slicer)
    return _application


def loadModule(path):
    """Load a scripted module as Slicer's module factory does, with its reader and writer.

    :param path: the module's .py file.
    :return: the imported Python module.
    """
    import slicer

    path = Path(path)
    name = path.stem
    if name in sys.modules:
        return sys.modules[name]
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    usesPythonQt(name, *(f"{package.name}.{file.stem}" for package in path.parent.iterdir() if package.is_dir()
                         for file in package.glob("*.py")))
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    parent = ScriptedModule(path)
    setattr(slicer.modules, name.lower(), parent)
    parent.instance = getattr(module, name)(parent)
    setattr(slicer.modules, name + "Instance", parent.instance)
    slicer.app.coreIOManager().registerIO(module, name)
    return module
