"""A headless Slicer for the tests: real MRML from the PyPI package `slicer-core`, PySide6 dressed as PythonQt.

`start()` puts in place what the application has and the wheel lacks: the modules `qt` and `ctk`, `slicer.app`,
`slicer.mrmlScene`, `slicer.modules`, and small stand-ins for `slicer.ScriptedLoadableModule`, `slicer.i18n`,
`slicer.packaging` and `slicer.parameterNodeWrapper`. With the environment variable SLICER_SOURCE naming a source
checkout of Slicer, the real Python files of those four are used instead of the stand-ins.

What is not modelled fails: an unknown attribute raises AttributeError, an unknown widget class in a `.ui` file
raises RuntimeError. It can prove that the module works on MRML and that its Qt code is in the subset which PythonQt
and PySide6 share; it cannot prove rendering, Slicer's dialogs, or CMake packaging.
"""

from .application import start

__all__ = ["start"]
