"""The panel."""

import sys
import time

import ctk
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from MedCompressLib.api import SUFFIX

from .CompressionJob import JobState
from .Logic import MedCompressLogic
from .Lossy import lossyRefusal, unitsOf
from .OutputPath import outputPath, pathRefusal
from .ParameterNode import MedCompressParameterNode
from .ReportTable import fillReportTable, reportTable
from .SegmentROI import SegmentROI
from .SegmentTable import SegmentTable, boundsFromText
from .SequenceNode import frameOf, refusalOf


class MedCompressWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Panel of the module: shows the parameters, starts and cancels one job at a time, shows its result."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._presetsByCodec = {}
        self._job = None
        self._jobStarted = 0.0
        self._segmentTable = None
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
        self.ui.progressBar.visible = False

        self.logic = MedCompressLogic()
        self._presetsByCodec = {"auto": {}, **self.logic.presetsByCodec()}

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.codecComboBox.connect("currentIndexChanged(int)", self.onCodecChanged)
        self.ui.presetComboBox.connect("currentIndexChanged(int)", self.onPresetChanged)
        self.ui.outputPathLineEdit.connect("currentPathChanged(QString)", self.onOutputPathChanged)
        self.ui.inputVolumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onInputChanged)
        self.ui.editSegmentationButton.connect("clicked(bool)", self.onEditSegmentation)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.estimateButton.connect("clicked(bool)", self.onEstimateButton)
        self.ui.compareCodecsButton.connect("clicked(bool)", self.onCompareCodecsButton)
        self.ui.compareButton.connect("clicked(bool)", self.onCompareButton)
        self._segmentTable = SegmentTable(self.ui.segmentsTable, self.onSegmentsChanged, self._onParametersModified)
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
        self.ui.resultLabel.text = ""
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
            self._segmentTable.show(None)
        self._parameterNode = inputParameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
            self._onParametersModified()

    def _onParametersModified(self, caller=None, event=None) -> None:
        """Bring the widgets up to date that parameterNodeWrapper cannot bind: the items depend on the library."""
        if not self._parameterNode:
            return
        codec = self._choose(self.ui.codecComboBox, list(self._presetsByCodec), self._parameterNode.codec)
        presets = self._presetsByCodec.get(codec, {})
        preset = self._choose(self.ui.presetComboBox, list(presets), self._parameterNode.preset)
        self.ui.presetComboBox.enabled = len(presets) > 1
        self.ui.presetDescriptionLabel.text = presets.get(preset) or (
            _("Uses the codec neural, which keeps the bound on the error.") if self._parameterNode.nearLossless
            else _("Chooses the codec that suits the volume."))
        if self.ui.outputPathLineEdit.currentPath != self._parameterNode.outputPath:
            self.ui.outputPathLineEdit.currentPath = self._parameterNode.outputPath
        if self.ui.inputVolumeSelector.currentNode() is not self._parameterNode.inputVolume:
            wasBlocked = self.ui.inputVolumeSelector.blockSignals(True)
            self.ui.inputVolumeSelector.setCurrentNode(self._parameterNode.inputVolume)
            self.ui.inputVolumeSelector.blockSignals(wasBlocked)
        self._showQuality()
        self._checkCanApply()

    def _showQuality(self, caller=None, event=None):
        parameters, input = self._parameterNode, self._parameterNode.inputVolume
        units = unitsOf(frameOf(input)) if input and not refusalOf(input) else ""
        self.ui.maxErrorSpinBox.suffix = " " + units if units else ""
        self.ui.maxErrorSpinBox.enabled = parameters.nearLossless
        self.ui.segmentationSelector.enabled = parameters.nearLossless
        hasSegments = parameters.nearLossless and parameters.segmentation is not None
        self.ui.segmentsTable.enabled = self.ui.marginSpinBox.enabled = hasSegments
        self._segmentTable.show(parameters.segmentation, parameters.segmentBounds, units)
        self.ui.editSegmentationButton.enabled = parameters.segmentation is not None
        self.ui.editSegmentationButton.toolTip = (
            _("Open the Segment Editor on this segmentation and volume.") if parameters.segmentation
            else _("Select a segmentation to edit it."))

    @staticmethod
    def _choose(comboBox, items, item):
        """Show items and select one, the first if the wanted one is not there; tell nobody."""
        wasBlocked = comboBox.blockSignals(True)
        if [comboBox.itemText(index) for index in range(comboBox.count)] != items:
            comboBox.clear()
            comboBox.addItems(items)
        comboBox.currentIndex = items.index(item) if item in items else 0
        comboBox.blockSignals(wasBlocked)
        return comboBox.currentText

    def onInputChanged(self, node=None) -> None:
        """The user chose a volume or sequence."""
        if self._parameterNode:
            self._parameterNode.inputVolume = self.ui.inputVolumeSelector.currentNode()

    def onSegmentsChanged(self) -> None:
        """The user chose what a segment is."""
        if self._parameterNode:
            self._parameterNode.segmentBounds = self._segmentTable.asText()

    def onEditSegmentation(self, checked=False) -> None:
        """Open the Segment Editor on the segmentation and the volume."""
        parameters = self._parameterNode
        segmentation, volume = parameters.segmentation, frameOf(parameters.inputVolume)
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.SegmentEditorWidget.parameterSetNode
        editor.SetAndObserveSegmentationNode(segmentation)
        editor.SetAndObserveSourceVolumeNode(volume)

    def onCodecChanged(self, index=0) -> None:
        """The user chose a codec: its default preset is selected."""
        if self._parameterNode:
            with slicer.util.NodeModify(self._parameterNode):
                self._parameterNode.codec = self.ui.codecComboBox.currentText
                self._parameterNode.preset = ""

    def onPresetChanged(self, index=0) -> None:
        """The user chose a preset."""
        if self._parameterNode:
            self._parameterNode.preset = self.ui.presetComboBox.currentText

    def onOutputPathChanged(self, path="") -> None:
        """The user typed or browsed."""
        if self._parameterNode:
            self._parameterNode.outputPath = self.ui.outputPathLineEdit.currentPath

    def _comparable(self):
        """The last compressed node and what was restored of it, if both are still in the scene; or None."""
        nodes = [reference.Get() for reference in self._compared or ()]
        return [frameOf(node) for node in nodes] if nodes and all(
            node is not None and node.GetScene() is slicer.mrmlScene for node in nodes) else None

    def onCompareButton(self, checked=False) -> None:
        """Show original, restored volume and their difference."""
        with slicer.util.tryWithErrorDisplay(_("The volumes could not be compared."), waitCursor=True):
            if self._comparable():
                self.logic.compare(*self._comparable())

    def _checkCanApply(self) -> None:
        self.ui.compareButton.enabled = self._job is None and self._comparable() is not None
        self.ui.compareButton.toolTip = (
            _("Show the original and the restored volume side by side, and what differs in colors.")
            if self.ui.compareButton.enabled else _("Compress a volume and load the restored one to compare them."))
        if self._job is not None:
            for button in (self.ui.estimateButton, self.ui.compareCodecsButton):
                button.enabled = False
                button.toolTip = _("Wait until the work is done, or cancel it.")
            self.ui.applyButton.text = _("Cancel")
            self.ui.applyButton.toolTip = _("Stop the compression; nothing is written or added to the scene.")
            self.ui.applyButton.enabled = True
            return
        reason = self._reasonNotToApply()
        reasonNotToEstimate = self._reasonAgainstVolume()
        self.ui.estimateButton.enabled = not reasonNotToEstimate
        reasonNotToCompare = refusalOf(self._parameterNode.inputVolume)
        self.ui.compareCodecsButton.enabled = not reasonNotToCompare
        self.ui.compareCodecsButton.toolTip = reasonNotToCompare or _(
            "Measure all codecs, and several bounds on the error, on a small sample; adds a table and a plot.")
        self.ui.estimateButton.toolTip = reasonNotToEstimate or _(
            "Compress a small sample in the background to see which size and time to expect; nothing is written.")
        self.ui.applyButton.text = _("Apply")
        self.ui.applyButton.toolTip = reason or _("Compress the volume, restore it and compare the two bit by bit.")
        self.ui.applyButton.enabled = not reason

    def _reasonAgainstVolume(self) -> str:
        parameters = self._parameterNode
        reason = refusalOf(parameters.inputVolume)
        if not reason and parameters.nearLossless:
            frame = frameOf(parameters.inputVolume)
            reason = lossyRefusal(parameters.inputVolume, frame, parameters.codec, self._roi())
        return reason

    def _reasonNotToApply(self) -> str:
        return self._reasonAgainstVolume() or pathRefusal(outputPath(self._parameterNode.outputPath))

    def _roi(self):
        """The chosen segments, or None."""
        parameters = self._parameterNode
        if not parameters.nearLossless or parameters.segmentation is None:
            return None
        return SegmentROI(parameters.segmentation, boundsFromText(parameters.segmentBounds, parameters.segmentation),
                          parameters.margin)

    # Work --------------------------------------------------------------------------------------------------------
    def onApplyButton(self, checked=False) -> None:
        """Start, or cancel what is running."""
        if self._job is not None:
            self.cancel()
            return
        with slicer.util.tryWithErrorDisplay(_("The volume could not be compressed.")):
            self._apply()

    def _apply(self):
        self._ensurePackages()
        parameters = self._parameterNode
        path = outputPath(parameters.outputPath)
        if path and path.exists() and not slicer.util.confirmOkCancelDisplay(
                _("{path} exists already. Replace it?").format(path=path)):
            return
        if path:
            self.ui.outputPathLineEdit.addCurrentPathToHistory()
        volumeNode, roi = self._askForFrames(parameters.inputVolume), self._roi()
        maxError = self._maxError()
        self._compared = vtk.vtkWeakReference(), vtk.vtkWeakReference()
        self._compared[0].Set(volumeNode)
        self._started(self.logic.startCompression(
            volumeNode, path or "", parameters.codec, parameters.preset,
            restoreAs=self.logic.restoredName(volumeNode, maxError, roi) if parameters.loadRestored else "",
            onProgress=self._onProgress, onFinished=self._onJobFinished, maxError=maxError, roi=roi))

    def onEstimateButton(self, checked=False) -> None:
        """Compress a sample of the volume."""
        with slicer.util.tryWithErrorDisplay(_("The size could not be estimated.")):
            self._ensurePackages()
            parameters = self._parameterNode
            self._started(self.logic.startEstimate(
                parameters.inputVolume, parameters.codec, parameters.preset, self._onProgress,
                self._onEstimateFinished, self._maxError(), self._roi()))

    def onCompareCodecsButton(self, checked=False) -> None:
        """Measure all codecs on a sample."""
        with slicer.util.tryWithErrorDisplay(_("The codecs could not be compared.")):
            self._ensurePackages()
            self._started(self.logic.startCodecComparison(
                self._parameterNode.inputVolume, self._onProgress, self._onComparisonFinished))

    def _onComparisonFinished(self, job):
        self._ended(job)
        if job.state is JobState.DONE:
            self.ui.resultLabel.text = _("See the table {table} and the plot of that name.").format(
                table=job.tableNode.GetName())

    def _started(self, job):
        self._job, self._jobStarted = job, time.monotonic()
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = True
        self.ui.resultLabel.text = _("Preparing...")
        self._checkCanApply()

    def _maxError(self):
        return self._parameterNode.maxError if self._parameterNode.nearLossless else 0

    def _ensurePackages(self):
        import slicer.packaging

        slicer.packaging.pip_ensure(slicer.packaging.load_requirements(self.resourcePath("requirements.txt")),
                                    requester="MedCompress")

    def _askForFrames(self, node):
        """What is meant by a volume that shows a frame of a sequence."""
        sequence = self.logic.sequenceOf(node)
        if sequence is not None and slicer.util.confirmYesNoDisplay(
                _("{volume} shows one frame of the sequence {sequence}. Compress all {count} frames? No: only the "
                  "frame that is shown.").format(volume=node.GetName(), sequence=sequence.GetName(),
                                           count=sequence.GetNumberOfDataNodes())):
            return sequence
        return node

    def cancel(self) -> None:
        """Cancel the running job, if any."""
        if self._job is not None:
            self._job.cancel()

    def _onProgress(self, fraction):
        self.ui.progressBar.value = round(1000 * fraction)
        elapsed = time.monotonic() - self._jobStarted
        if 0.05 < fraction < 1.0 and elapsed > 1.0:
            self.ui.resultLabel.text = _("About {seconds} s left...").format(
                seconds=round(elapsed * (1.0 - fraction) / fraction))
        else:
            self.ui.resultLabel.text = _("Working...")

    def _onEstimateFinished(self, job):
        self._ended(job)
        if job.state is JobState.DONE:
            expected = self.logic.expectation(job)
            self.ui.resultLabel.text = _(
                "Estimate from a sample: a file of about {size:.1f} MB, ratio {ratio:.1f}; at most {compress:.0f} s to "
                "compress and {restore:.0f} s to restore.").format(
                size=expected.compressedBytes / 1e6, ratio=expected.ratio, compress=expected.compressSeconds,
                restore=expected.restoreSeconds)

    def _onJobFinished(self, job):
        if job.state is JobState.DONE:
            if job.restoredNode is not None:
                self._compared[1].Set(job.restoredNode)
            fillReportTable(reportTable(_("MedCompress figures")), job.report)
        self._ended(job)
        if job.state is JobState.DONE:
            self.ui.resultLabel.text = job.report.summary()
            if job.restoredNode is not None:
                shown = frameOf(job.restoredNode)
                isLabelMap = shown.IsA("vtkMRMLLabelMapVolumeNode")
                slicer.util.setSliceViewerLayers(**{"label" if isLabelMap else "background": shown})

    def _ended(self, job):
        """Make the panel ready for the next job, and say what became of this one if it is not done."""
        self._job = None
        self.ui.progressBar.visible = False
        if job.state is JobState.CANCELLED:
            self.ui.resultLabel.text = _("Canceled.")
        elif job.state is JobState.FAILED:
            self.ui.resultLabel.text = _("Failed: {reason}").format(reason=job.error)
        if self._parameterNode:
            self._checkCanApply()
        if job.state is JobState.FAILED:
            slicer.util.errorDisplay(_("The volume could not be compressed.") + "\n\n" + job.error)
