"""PySide6 dressed as PythonQt: the modules `qt` and `ctk`, with attribute properties and string connections."""

import fnmatch
import os
import re
import types

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets
from PySide6.QtCore import Property, Signal
from shibokensupport import feature

TRUE_PROPERTY = 0x02
loadedWidgets = []  # PySide deletes the Python side of a .ui file's children unless somebody holds it


def usesPythonQt(*moduleNames):
    """Give modules PythonQt's attribute properties: `widget.text` is a string there, and `widget.text()` a TypeError.

    :param moduleNames: names as in `sys.modules`; may be given before the import.
    """
    for name in moduleNames:
        feature.set_selection(TRUE_PROPERTY, name)


def usesPySide(*moduleNames):
    """The opposite, said explicitly: a module of which nothing is said inherits its caller's choice."""
    for name in moduleNames:
        feature.set_selection(0, name)


usesPySide(__name__)


def strayAttributes():
    """Attributes that Python code stored on widgets: PythonQt refuses them, PySide6 accepts them silently.

    :return: list of (class name, object name, attribute).
    """
    return [
        (type(widget).__name__, QtCore.QObject.objectName(widget), attribute)
        for widget in loadedWidgets
        for attribute in vars(widget)
        if attribute not in widget._loaded and not attribute.startswith("_") and not hasattr(type(widget), attribute)
    ]


def _signalOf(qobject, signature):
    name, _, arguments = signature.partition("(")
    signal = getattr(qobject, name)
    try:
        return signal[arguments.rstrip(")")] if arguments != ")" else signal
    except (KeyError, IndexError, TypeError):
        return signal


def _connect(self, signature, slot):
    """PythonQt's `object.connect("signal(type)", callable)`: the callable gets as many arguments as the signature."""
    count = 0 if signature.endswith("()") else signature.count(",") + 1

    def call(*arguments):
        return slot(*arguments[:count])

    self.__dict__.setdefault("_connections", {})[(signature, slot)] = call
    _signalOf(self, signature).connect(call)
    return True


def _disconnect(self, signature, slot):
    call = self.__dict__.get("_connections", {}).pop((signature, slot), None)
    if call is None:
        return False
    _signalOf(self, signature).disconnect(call)
    return True


# PySide6 dispatches QObject.connect specially and does not look in base classes, so each class gets these in its body.
PYTHONQT = {
    "connect": _connect,
    "disconnect": _disconnect,
    "name": property(lambda s: s.property("objectName"), lambda s, value: s.setProperty("objectName", value)),
    "className": lambda s: type(s).__name__,
    "isWidgetType": lambda s: isinstance(s, QtWidgets.QWidget),
}


def pythonQtClass(name, base):
    return type(name, (base,), dict(PYTHONQT))


qt = types.ModuleType("qt")
for _module in (QtCore, QtGui, QtWidgets, QtUiTools):
    for _name in dir(_module):
        if not _name.startswith("_") and _name not in ("Signal", "Slot", "Property"):
            setattr(qt, _name, getattr(_module, _name))
for _name in """QWidget QPushButton QToolButton QCheckBox QRadioButton QComboBox QLineEdit QTextEdit QPlainTextEdit
        QLabel QSpinBox QDoubleSpinBox QSlider QProgressBar QTableWidget QTreeWidget QListWidget QTabWidget QGroupBox
        QStackedWidget QFrame QTextBrowser QProgressDialog QMessageBox QDialog QMenu QTimer QProcess QAction""".split():
    setattr(qt, _name, pythonQtClass(_name, getattr(qt, _name)))


class ctkCollapsibleButton(qt.QWidget):
    locals().update(PYTHONQT)
    contentsCollapsed = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._text, self._collapsed = "", False
        self.setContentsMargins(0, 22, 0, 0)

    def _children(self):
        return self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly)

    def _setCollapsed(self, collapsed):
        if collapsed != self._collapsed:
            self._collapsed = collapsed
            self.setMaximumHeight(22 if collapsed else 16777215)
            for child in self._children():
                child.setVisible(not collapsed)
            self.contentsCollapsed.emit(collapsed)

    text = Property(str, lambda s: s._text, lambda s, value: setattr(s, "_text", value))
    collapsed = Property(bool, lambda s: s._collapsed, _setCollapsed)

    def showEvent(self, event):
        if self._collapsed:
            for child in self._children():
                child.setVisible(False)
        super().showEvent(event)

    def paintEvent(self, event):
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), 20)
        option.text = ("\u25b8 " if self._collapsed else "\u25be ") + self._text
        painter.drawControl(QtWidgets.QStyle.CE_PushButton, option)


class ctkPathLineEdit(qt.QWidget):
    """Path with a browse button; `currentPath` as ctk's, whose signal tells only of texts that fit the name filters.
    The history is not modelled."""
    locals().update(PYTHONQT)

    Dirs, Files, Drives, NoSymLinks, AllEntries = 0x1, 0x2, 0x4, 0x8, 0x7
    Readable, Writable, Executable = 0x10, 0x20, 0x40
    currentPathChanged = Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._comboBox, button = qt.QComboBox(), QtWidgets.QToolButton()
        self._comboBox.setEditable(True)
        self._comboBox.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        button.setText("...")
        layout.addWidget(self._comboBox)
        layout.addWidget(button)
        self._nameFilters, self._filters, self._settingKey = [], 0, ""
        self._comboBox.editTextChanged.connect(self._onTextChanged)

    def comboBox(self):
        return self._comboBox

    def _onTextChanged(self, text):
        patterns = " ".join(re.findall(r"\(([^)]*)\)", " ".join(self._nameFilters))).split()
        if any(fnmatch.fnmatch(text, pattern) for pattern in patterns) or (text and not patterns):
            self.currentPathChanged.emit(text)

    currentPath = Property(str, lambda s: s._comboBox.lineEdit().text(),
                           lambda s, value: s._comboBox.lineEdit().setText(value))
    nameFilters = Property("QStringList", lambda s: s._nameFilters, lambda s, value: setattr(s, "_nameFilters", value))
    filters = Property(int, lambda s: s._filters, lambda s, value: setattr(s, "_filters", value))
    settingKey = Property(str, lambda s: s._settingKey, lambda s, value: setattr(s, "_settingKey", value))

    def addCurrentPathToHistory(self):
        pass


ctk = types.ModuleType("ctk")
ctk.ctkCollapsibleButton, ctk.ctkPathLineEdit = ctkCollapsibleButton, ctkPathLineEdit
for _name, _base in {
    "ctkCheckBox": qt.QCheckBox,
    "ctkComboBox": qt.QComboBox,
    "ctkDoubleSpinBox": qt.QDoubleSpinBox,
    "ctkCheckablePushButton": qt.QPushButton,
    "ctkSliderWidget": qt.QWidget,
    "ctkDoubleSlider": qt.QWidget,
    "ctkRangeWidget": qt.QWidget,
    "ctkDoubleRangeSlider": qt.QWidget,
    "ctkDirectoryButton": qt.QPushButton,
    "ctkColorPickerButton": qt.QPushButton,
    "ctkMessageBox": qt.QMessageBox,
}.items():
    setattr(ctk, _name, pythonQtClass(_name, _base))


def uiLoader(extraClasses):
    """A QUiLoader that makes the stand-ins and refuses every class it does not know.

    :param extraClasses: the qMRML stand-ins.
    """
    classes = {c.__name__: c for c in (*vars(ctk).values(), *extraClasses) if isinstance(c, type)}
    classes.update({
        n: c
        for n, c in vars(qt).items()
        if isinstance(c, type) and c.__module__ == __name__ and issubclass(c, QtWidgets.QWidget)
    })

    class QUiLoader(QtUiTools.QUiLoader):
        def createWidget(self, className, parent=None, name=""):
            if className not in classes:
                raise RuntimeError(f"The headless Slicer has no stand-in for <widget class='{className}'>.")
            widget = classes[className](parent)
            QtCore.QObject.setObjectName(widget, name)
            loadedWidgets.append(widget)
            return widget

        def load(self, *arguments):
            root = super().load(*arguments)
            for widget in loadedWidgets:  # PySide gives the root an attribute for each child
                widget._loaded = set(vars(widget))
            return root

    return QUiLoader
