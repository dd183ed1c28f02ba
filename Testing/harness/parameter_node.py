"""Stand-in for `slicer.parameterNodeWrapper`, for the types and widgets that the panel uses.

Values live in a real vtkMRMLScriptedModuleNode in the same text form as Slicer writes, so that a scene saved here
loads there. Every other type, annotation or widget raises.
"""

import typing

import ctk
import qt
import slicer
import vtk

__all__ = ["WithinRange", "parameterNodeWrapper"]


class WithinRange:
    """Annotation of a number that is bounded on both sides."""

    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class _Value:
    """Text form of one plain type."""

    def __init__(self, kind, default, within=None):
        if kind not in (str, bool, int, float):
            raise TypeError(f"The headless Slicer has no serializer for {kind!r}.")
        self.kind, self.within = kind, within
        self.default = kind() if default is None else default

    def isIn(self, node, name):
        return node.HasParameter(name)

    def write(self, node, name, value):
        if not isinstance(value, self.kind):
            raise TypeError(f"Value must be of type {self.kind}, is type {type(value)} value {value!r}")
        if self.within is not None:
            self.within.validate(value)
        node.SetParameter(name, str(value))

    def read(self, node, name):
        text = node.GetParameter(name)
        return text == "True" if self.kind is bool else self.kind(text)


class _Node:
    """Node reference."""

    default = None

    def __init__(self, kind):
        self.kind = kind

    def isIn(self, node, name):
        return node.HasParameter(name)

    def write(self, node, name, value):
        if value is not None and not isinstance(value, self.kind):
            raise TypeError(f"Value must be of type {self.kind}, is type {type(value)}")
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node, name):
        return node.GetNodeReference(name)


class _Nodes:
    """List of node references, under the same names as Slicer's."""

    def __init__(self, kind):
        self.kind, self.default, self._element = kind, [], _Node(kind)

    def isIn(self, node, name):
        return node.HasParameter(f"{name}.len")

    def write(self, node, name, values):
        wasModified = node.StartModify()
        before = int(node.GetParameter(f"{name}.len") or 0)
        for index, value in enumerate(values):
            self._element.write(node, f"{name}.{index}", value)
        for index in range(len(values), before):
            node.UnsetParameter(f"{name}.{index}")
            node.RemoveNodeReferenceIDs(f"{name}.{index}")
        node.SetParameter(f"{name}.len", str(len(values)))
        node.EndModify(wasModified)

    def read(self, node, name):
        return [self._element.read(node, f"{name}.{index}") for index in range(int(node.GetParameter(f"{name}.len")))]


class _Connector:
    """One widget and one parameter, both ways."""

    def __init__(self, widget, signal, read, write):
        self.widget, self.signal, self.read, self.write = widget, signal, read, write
        self.callback = None

    def _changed(self, *args):
        self.callback()

    def connect(self, callback):
        self.callback = callback
        self.signal.connect(self._changed)

    def disconnect(self):
        self.signal.disconnect(self._changed)


def _connector(widget, serializer):
    kind = serializer.kind
    # The real connectors compare the type and refuse subclasses.
    if type(widget) in (qt.QCheckBox, ctk.ctkCheckBox) and kind is bool:
        return _Connector(widget, widget.stateChanged, lambda: widget.checked,
                          lambda value: setattr(widget, "checked", value))
    if (type(widget) is qt.QSpinBox and kind is int) or (type(widget) is qt.QDoubleSpinBox and kind is float):
        # The real connectors set the range, and without a WithinRange take away the one that is in the .ui file.
        lowest, highest = (-(2 ** 31), 2 ** 31 - 1) if kind is int else (float("-inf"), float("inf"))
        within = serializer.within or WithinRange(lowest, highest)
        widget.minimum, widget.maximum = within.minimum, within.maximum
        return _Connector(widget, widget.valueChanged, lambda: widget.value,
                          lambda value: setattr(widget, "value", value))
    if type(widget) is qt.QLineEdit and kind is str:
        return _Connector(widget, widget.textChanged, lambda: widget.text, lambda value: setattr(widget, "text", value))
    if type(widget) is slicer.qMRMLNodeComboBox and isinstance(serializer, _Node):
        widget.nodeTypes = (kind().GetClassName(),)
        return _Connector(widget, widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{kind}' to widget type '{type(widget)}'.")


class _Wrapper:
    """What every wrapped class gets."""

    def __init__(self, parameterNode):
        self.parameterNode = parameterNode
        self._guis = {}
        self._nextTag = 0
        self._updatingGui = False
        for name, serializer in self.allParameters.items():
            if not serializer.isIn(parameterNode, name):
                serializer.write(parameterNode, name, serializer.default)

    def getValue(self, name):
        return self.allParameters[name].read(self.parameterNode, name)

    def setValue(self, name, value):
        self.allParameters[name].write(self.parameterNode, name, value)

    def connectGui(self, gui):
        connectors = {}
        for widget in vars(gui).values():
            name = widget.property("SlicerParameterName")
            if name:
                if name not in self.allParameters:
                    raise ValueError(f"Cannot find a param with the given name: {name}")
                connectors[name] = _connector(widget, self.allParameters[name])
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.connect(lambda name=name, connector=connector: self._fromGui(name, connector))
        tag, self._nextTag = self._nextTag, self._nextTag + 1
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._toGui(connectors))
        self._guis[tag] = connectors, observer
        return tag

    def disconnectGui(self, tag):
        if tag in self._guis:
            connectors, observer = self._guis.pop(tag)
            for connector in connectors.values():
                connector.disconnect()
            self.RemoveObserver(observer)

    def _fromGui(self, name, connector):
        if not self._updatingGui:
            self.setValue(name, connector.read())

    def _toGui(self, connectors):
        if self._updatingGui:
            return
        self._updatingGui = True
        try:
            for name, connector in connectors.items():
                connector.write(self.getValue(name))
        finally:
            self._updatingGui = False

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        self.parameterNode.EndModify(wasModified)

    def Modified(self):
        self.parameterNode.Modified()


def parameterNodeWrapper(cls):
    """Class decorator: typed attributes kept in a vtkMRMLScriptedModuleNode."""
    parameters = {}
    for name, kind in typing.get_type_hints(cls, include_extras=True).items():
        kind, *annotations = typing.get_args(kind) if typing.get_origin(kind) is typing.Annotated else (kind,)
        if any(not isinstance(annotation, WithinRange) for annotation in annotations):
            raise TypeError(f"The headless Slicer has no serializer for {annotations!r}.")
        if typing.get_origin(kind) is list:
            parameters[name] = _Nodes(*typing.get_args(kind))
        elif isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
            parameters[name] = _Node(kind)
        else:
            parameters[name] = _Value(kind, getattr(cls, name, None), *annotations)
    members = {name: property(lambda self, name=name: self.getValue(name),
                              lambda self, value, name=name: self.setValue(name, value)) for name in parameters}
    return type(cls.__name__, (_Wrapper,), {"__doc__": cls.__doc__, "__module__": cls.__module__,
                                            "allParameters": parameters, **members})
