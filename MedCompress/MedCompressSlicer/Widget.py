"""The panel."""

import sys

import ctk
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from MedCompressLib.api import SUFFIX

from .Choices import enable, showPath, whenPathEdited
from .CompressionJob import CompressionJob
from .CompressionSettings import CompressionSettings
from .Logic import MedCompressLogic
from .MethodSection import MODEL_CODEC, MethodSection
from .OutputPath import outputPath, pathRefusal
from .PanelWork import PanelWork
from .ParameterNode import MedCompressParameterNode
from .QualitySection import QualitySection
from .ReportTable import fillReportTable, reportTable, showReport
from .RestoredNode import showInSliceViews
from .SequenceNode import frameOf, refusalOf, showSameFrame
from .TrainingSection import TrainingSection


class MedCompressWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Panel of the module: shows the parameters, starts and cancels one job at a time, shows its result."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._observedInput = None
        self._compared = None  # weak references to an original and what was restored of it

    # Life cycle --------------------------------------------------------------------------------------------------
    def setup(self) -> None:
        """Called when the user opens the module the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        self._uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedCompress.ui"))
        self.layout.addWidget(self._uiWidget)
        self.ui = slicer.util.childWidgetVariables(self._uiWidget)
        self._uiWidget.setMRMLScene(slicer.mrmlScene)
        self.ui.outputPathLineEdit.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Writable
        self.ui.outputPathLineEdit.nameFilters = [_("MedCompress volume") + f" (*{SUFFIX})"]
        self.ui.outputPathLineEdit.settingKey = "MedCompressOutputPath"
        self.ui.trainingCollapsibleButton.collapsed = True

        self.logic = MedCompressLogic()
        presetsByCodec = self.logic.presetsByCodec()
        self._method = MethodSection(self.ui, presetsByCodec)
        self._quality = QualitySection(self.ui, self._onParametersModified)
        self._training = TrainingSection(self.ui, presetsByCodec)
        self._work = PanelWork(self.ui, self._onWorkChanged)
        showReport(self.ui.reportTable, None)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        whenPathEdited(self.ui.outputPathLineEdit, self.onOutputPathChanged)
        self.ui.inputVolumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onInputChanged)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.estimateButton.connect("clicked(bool)", self.onEstimateButton)
        self.ui.compareCodecsButton.connect("clicked(bool)", self.onCompareCodecsButton)
        self.ui.compareButton.connect("clicked(bool)", self.onCompareButton)
        self.ui.trainButton.connect("clicked(bool)", self.onTrainButton)
        slicer.app.connect("aboutToQuit()", self.cancel)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the application closes or the module is reloaded."""
        self.cancel()
        slicer.app.disconnect("aboutToQuit()", self.cancel)
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Called each time the user opens another module; a running job goes on."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        """Called just before the scene is closed."""
        self.cancel()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        """Called just after the scene is closed."""
        self._work.say("")
        showReport(self.ui.reportTable, None)
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onReload(self) -> None:
        """Reload the packages of this module too, not only MedCompress.py."""
        for name in [name for name in sys.modules if name.split(".")[0] in ("MedCompressSlicer", "MedCompressLib")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    # Parameters --------------------------------------------------------------------------------------------------
    def initializeParameterNode(self) -> None:
        """Ensure that the parameter node exists and is observed."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            firstVolumeNode = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if firstVolumeNode:
                self._parameterNode.inputVolume = firstVolumeNode

    def setParameterNode(self, inputParameterNode: MedCompressParameterNode | None) -> None:
        """Show and observe a parameter node; None to stop."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
            self._observeInput(None)
            for section in (self._method, self._quality, self._training):
                section.show(None)
        self._parameterNode = inputParameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
            self._onParametersModified()

    def _onParametersModified(self, caller=None, event=None) -> None:
        """Bring the widgets up to date that parameterNodeWrapper cannot bind."""
        if not self._parameterNode:
            return
        self._observeInput(self._parameterNode.inputVolume)
        self._method.show(self._parameterNode)
        self._quality.show(self._parameterNode)
        showPath(self.ui.outputPathLineEdit, self._parameterNode.outputPath)
        if self.ui.inputVolumeSelector.currentNode() is not self._parameterNode.inputVolume:
            wasBlocked = self.ui.inputVolumeSelector.blockSignals(True)
            self.ui.inputVolumeSelector.setCurrentNode(self._parameterNode.inputVolume)
            self.ui.inputVolumeSelector.blockSignals(wasBlocked)
        self._checkCanApply()

    def _observeInput(self, node) -> None:
        """See when a volume or sequence that cannot be compressed yet gets its voxels."""
        if node is self._observedInput:
            return
        if self._observedInput is not None:
            self.removeObserver(self._observedInput, vtk.vtkCommand.ModifiedEvent, self._onInputModified)
        self._observedInput = node
        if node is not None:
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onInputModified)

    def _onInputModified(self, caller=None, event=None) -> None:
        if not self.ui.applyButton.enabled:
            self._onParametersModified()

    def onInputChanged(self, node=None) -> None:
        """The user chose a volume or sequence."""
        if self._parameterNode:
            self._parameterNode.inputVolume = self.ui.inputVolumeSelector.currentNode()

    def onOutputPathChanged(self, path="") -> None:
        """The user typed or browsed."""
        if self._parameterNode:
            self._parameterNode.outputPath = self.ui.outputPathLineEdit.currentPath

    def _settings(self) -> CompressionSettings:
        """What is chosen."""
        parameters = self._parameterNode
        return CompressionSettings(
            parameters.codec, parameters.preset, model=parameters.model if parameters.codec == MODEL_CODEC else "",
            segmentation=parameters.segmentation if parameters.storeSegmentation else None, **self._quality.settings())

    # What can be done now ----------------------------------------------------------------------------------------
    def _checkCanApply(self) -> None:
        if not self._parameterNode:
            return
        busy = _("Wait until the work is done, or cancel it.") if self._work.job is not None else ""
        input = self._parameterNode.inputVolume
        reason = self._settings().refusal(input)
        enable(self.ui.estimateButton, busy or reason or self._quality.estimateRefusal(),
               _("Compress a small sample in the background to see which size and time to expect; nothing is written."))
        enable(self.ui.compareCodecsButton, busy or refusalOf(input),
               _("Measure all codecs, and several bounds on the error, on a small sample; adds a table and a plot."))
        enable(self.ui.compareButton, busy or ("" if self._comparable() else
                                               _("Compress a volume and load the restored one to compare them.")),
               _("Show the original and the restored volume side by side, and what differs in colors."))
        self._training.show(self._parameterNode, busy)
        if busy:
            self.ui.applyButton.text = _("Cancel")
            enable(self.ui.applyButton, "", _("Stop the work; nothing is written or added to the scene."))
            return
        self.ui.applyButton.text = _("Apply")
        enable(self.ui.applyButton, reason or pathRefusal(outputPath(self._parameterNode.outputPath)),
               _("Compress the volume, restore it and compare the two bit by bit."))

    def _comparable(self):
        """The last compressed node and what was restored of it, if both are still in the scene; or None."""
        nodes = [reference.Get() for reference in self._compared or ()]
        return nodes if nodes and all(
            node is not None and node.GetScene() is slicer.mrmlScene for node in nodes) else None

    # Work --------------------------------------------------------------------------------------------------------
    @property
    def job(self):
        """The running job, or None."""
        return self._work.job

    def cancel(self) -> None:
        """Cancel the running job, if any."""
        self._work.cancel()

    def _onWorkChanged(self):
        if self._work.job is not None:
            showReport(self.ui.reportTable, None)
        self._checkCanApply()

    def _ensurePackages(self):
        import slicer.packaging

        slicer.packaging.pip_ensure(slicer.packaging.load_requirements(self.resourcePath("requirements.txt")),
                                    requester="MedCompress")

    def onApplyButton(self, checked=False) -> None:
        """Start, or cancel what is running."""
        if self.job is not None:
            self.cancel()
            return
        with slicer.util.tryWithErrorDisplay(_("The volume could not be compressed.")):
            self._apply()

    def _apply(self):
        self._ensurePackages()
        parameters, settings = self._parameterNode, self._settings()
        path = outputPath(parameters.outputPath)
        if not self._mayWrite(path):
            return
        if path:
            self.ui.outputPathLineEdit.addCurrentPathToHistory()
        volumeNode = self._askForFrames(parameters.inputVolume)
        compressed = vtk.vtkWeakReference()
        compressed.Set(volumeNode)
        restoreAs = settings.restoredName(volumeNode) if parameters.loadRestored else ""
        self._work.start(lambda **callbacks: CompressionJob(volumeNode, settings, path or "", restoreAs, **callbacks),
                         lambda job: self._onCompressed(job, compressed))

    @staticmethod
    def _mayWrite(path):
        return not path or not path.exists() or slicer.util.confirmOkCancelDisplay(
            _("{path} exists already. Replace it?").format(path=path))

    def _askForFrames(self, node):
        """What is meant by a volume that shows a frame of a sequence."""
        sequence = self.logic.sequenceOf(node)
        if sequence is not None and slicer.util.confirmYesNoDisplay(
                _("{volume} shows one frame of the sequence {sequence}. Compress all {count} frames? No: only the "
                  "frame that is shown.").format(volume=node.GetName(), sequence=sequence.GetName(),
                                           count=sequence.GetNumberOfDataNodes())):
            return sequence
        return node

    def _onCompressed(self, job, compressed):
        fillReportTable(reportTable(_("MedCompress figures")), job.report)
        showReport(self.ui.reportTable, job.report)
        self._compared = None
        if job.restoredNode is not None:
            self._compared = compressed, vtk.vtkWeakReference()
            self._compared[1].Set(job.restoredNode)
            showInSliceViews(job.restoredNode)
        return job.report.summary()

    def onEstimateButton(self, checked=False) -> None:
        """Compress a sample of the volume."""
        with slicer.util.tryWithErrorDisplay(_("The size could not be estimated.")):
            self._ensurePackages()
            node, settings = self._parameterNode.inputVolume, self._settings()
            self._work.start(lambda **callbacks: CompressionJob(node, settings, sampleOnly=True, **callbacks),
                             lambda job: self.logic.expectation(job).summary())

    def onCompareCodecsButton(self, checked=False) -> None:
        """Measure all codecs on a sample."""
        with slicer.util.tryWithErrorDisplay(_("The codecs could not be compared.")):
            self._ensurePackages()
            node = self._parameterNode.inputVolume
            self._work.start(lambda **callbacks: self.logic.startCodecComparison(node, **callbacks),
                             lambda job: _("See the table {table} and the plot of that name.").format(
                                 table=job.tableNode.GetName()))

    def onCompareButton(self, checked=False) -> None:
        """Show original, restored volume and their difference."""
        with slicer.util.tryWithErrorDisplay(_("The volumes could not be compared."), waitCursor=True):
            if self._comparable():
                original, restored = self._comparable()
                showSameFrame(original, restored)
                self.logic.compare(frameOf(original), frameOf(restored))

    def onTrainButton(self, checked=False) -> None:
        """Train a model on the checked volumes, and choose it."""
        with slicer.util.tryWithErrorDisplay(_("The model could not be trained.")):
            self._ensurePackages()
            training = self._training
            if self._mayWrite(training.path):
                self.ui.trainedModelPathLineEdit.addCurrentPathToHistory()
                self._work.start(lambda **callbacks: self.logic.startTraining(
                    training.volumes, training.path, training.preset, **callbacks), self._onTrained)

    def _onTrained(self, job):
        # Another module may be open by now, and nothing observed.
        self._method.use(self._parameterNode or self.logic.getParameterNode(), job.preset, job.path)
        return job.summary()
