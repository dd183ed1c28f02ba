"""Stand-ins for Slicer's own widgets, on a real MRML scene."""

from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from .pythonqt import PYTHONQT, pythonQtClass, qt, usesPySide

usesPySide(__name__)


class qMRMLWidget(qt.QWidget):
    """Hands its scene to every child, as the connections `mrmlSceneChanged -> setMRMLScene` of a `.ui` file do."""
    locals().update(PYTHONQT)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene):
        self._scene = scene
        for child in self.findChildren(QtWidgets.QWidget):
            if hasattr(child, "setMRMLScene"):
                child.setMRMLScene(scene)

    def mrmlScene(self):
        return self._scene


class qMRMLNodeComboBox(qt.QWidget):
    """A QWidget with a combo box inside, as the real one; no automatic selection, no node creation."""
    locals().update(PYTHONQT)

    currentNodeChanged = Signal(object)
    _CLICKABLE = ("addEnabled", "removeEnabled", "renameEnabled", "editEnabled", "showHidden", "showChildNodeTypes",
                  "selectNodeUponCreation")

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = QtWidgets.QComboBox()
        layout.addWidget(self._combo)
        self._scene, self._types, self._nodes, self._none, self._observed = None, [], [None], False, []
        self._combo.currentIndexChanged.connect(lambda index: self.currentNodeChanged.emit(self.currentNode()))

    def setMRMLScene(self, scene):
        import slicer

        for tag in self._observed:
            self._scene.RemoveObserver(tag)
        self._observed.clear()
        self._scene = scene
        if scene is not None:
            for event in (slicer.vtkMRMLScene.NodeAddedEvent, slicer.vtkMRMLScene.NodeRemovedEvent,
                          slicer.vtkMRMLScene.EndCloseEvent, slicer.vtkMRMLScene.EndImportEvent):
                self._observed.append(scene.AddObserver(event, lambda caller, event: self._fill()))
            # Observed on, a widget that is gone would keep alive the nodes that it has shown.
            self.destroyed.connect(lambda *_, scene=scene, observed=self._observed, nodes=self._nodes: (
                [scene.RemoveObserver(tag) for tag in observed], nodes.clear()))
        self._fill()

    def _fill(self):
        before = self.currentNode()
        self._combo.blockSignals(True)
        self._combo.clear()
        kind = self._types[0].replace("vtkMRML", "").replace("Node", "") if self._types else "node"
        self._combo.addItem("None" if self._none else f"Select a {kind}")
        self._nodes[:] = [None]
        for className in self._types:
            found = self._scene.GetNodesByClass(className) if self._scene else None
            if found is not None:
                found.UnRegister(None)    # the collection is the caller's, and would keep all these nodes
            for index in range(found.GetNumberOfItems() if found else 0):
                node = found.GetItemAsObject(index)
                if node not in self._nodes and not node.GetHideFromEditors():
                    self._nodes.append(node)
                    self._combo.addItem(node.GetName())
        self._combo.setCurrentIndex(self._nodes.index(before) if before in self._nodes else 0)
        self._combo.blockSignals(False)
        if before is not self.currentNode():
            self.currentNodeChanged.emit(self.currentNode())

    def currentNode(self):
        index = self._combo.currentIndex()
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def setCurrentNode(self, node):
        self._combo.setCurrentIndex(self._nodes.index(node) if node in self._nodes else 0)

    def _setTypes(self, names):
        self._types = list(names)
        self._fill()

    def _setNone(self, enabled):
        self._none = enabled
        self._fill()

    nodeTypes = Property("QStringList", lambda s: s._types, _setTypes)
    noneEnabled = Property(bool, lambda s: s._none, _setNone)
    currentNodeID = Property(str, lambda s: s.currentNode().GetID() if s.currentNode() else "",
                             lambda s, value: s.setCurrentNode(s._scene.GetNodeByID(value)))
    for _name in _CLICKABLE:
        locals()[_name] = Property(bool, lambda s, n="_" + _name: getattr(s, n, False),
                                   lambda s, value, n="_" + _name: setattr(s, n, value))


class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """Several nodes can be checked; they are shown one after the other, as the real one does in its closed state."""
    locals().update(PYTHONQT)

    checkedNodesChanged = Signal()

    def __init__(self, parent=None):
        self._checked = []
        super().__init__(parent)

    def _fill(self):
        super()._fill()
        kept = [node for node in self._checked if node in self._nodes]
        self._combo.setItemText(0, ", ".join(node.GetName() for node in kept) or "None")
        self._combo.setCurrentIndex(0)
        if kept != self._checked:
            self._checked = kept
            self.checkedNodesChanged.emit()

    def checkedNodes(self):
        return tuple(node for node in self._nodes if node in self._checked)

    def checkState(self, node):
        return qt.Qt.Checked if node in self._checked else qt.Qt.Unchecked

    def setCheckState(self, node, state):
        if state == self.checkState(node) or node not in self._nodes:
            return
        self._checked = [*self._checked, node] if state == qt.Qt.Checked else [
            other for other in self._checked if other is not node]
        self._fill()
        self.checkedNodesChanged.emit()


# Named by Slicer's own parameterNodeWrapper; the panel uses none of them.
OTHERS = [pythonQtClass(name, qt.QWidget) for name in
          ("qMRMLSliderWidget", "qMRMLSpinBox", "qMRMLRangeWidget", "qMRMLSubjectHierarchyTreeView",
           "qMRMLSubjectHierarchyComboBox")]
ALL = [qMRMLWidget, qMRMLNodeComboBox, qMRMLCheckableNodeComboBox, *OTHERS]
