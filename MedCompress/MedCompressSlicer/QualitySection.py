"""The parts of the panel in which quality and regions of interest are chosen."""

import numpy as np
import slicer
from slicer.i18n import tr as _

from MedCompressLib.codecs import has_previews

from .Choices import choiceOf, enable, showChoices
from .Lossy import unitsOf
from .SegmentROI import SegmentROI
from .SegmentTable import SegmentTable, boundsFromText
from .SequenceNode import frameOf, refusalOf
from .VolumeNode import voxelsOfNode


class QualitySection:
    """Shows and changes `quality`, `segmentBounds` and `outside`; the rest is bound in the .ui.

    Where everything outside the segments is to become one value, that starts as the lowest of the volume. Without loss,
    segments say what a file of the codec progressive begins with.
    """

    def __init__(self, ui, onSegmentsModified):
        """
        :param ui: the widgets of the panel.
        :param onSegmentsModified: called when the segmentation has got, lost or renamed a segment; has to call `show`.
        """
        self._ui, self._parameters = ui, None
        self._qualities = {"lossless": _("lossless"), "near-lossless": _("near-lossless: no voxel off by more than"),
                           "ratio": _("target ratio: as good as a file of that size can be")}
        self._outsides = {"bounded": _("the largest error above"), "lossless": _("lossless"),
                          "constant": _("one value: only the segments are kept")}
        self._toolTips = {name: getattr(ui, name).toolTip for name in (
            "maxErrorSpinBox", "targetRatioSpinBox", "segmentsTable", "outsideComboBox", "backgroundSpinBox",
            "marginSpinBox", "storeSegmentationCheckBox")}
        self._table = SegmentTable(ui.segmentsTable, self._onSegmentsChanged, onSegmentsModified)
        ui.qualityComboBox.connect("currentIndexChanged(int)", self._onQualityChanged)
        ui.outsideComboBox.connect("currentIndexChanged(int)", self._onOutsideChanged)
        ui.editSegmentationButton.connect("clicked(bool)", self._onEditSegmentation)

    def show(self, parameters):
        """Show a parameter node; None to stop."""
        self._parameters = parameters
        if parameters is None:
            self._table.show(None)
            return
        ui, input = self._ui, parameters.inputVolume
        units = unitsOf(frameOf(input)) if input and not refusalOf(input) else ""
        showChoices(ui.qualityComboBox, self._qualities, parameters.quality)
        showChoices(ui.outsideComboBox, self._outsides, parameters.outside)
        for spinBox in (ui.maxErrorSpinBox, ui.backgroundSpinBox):
            spinBox.suffix = " " + units if units else ""
        self._table.show(parameters.segmentation, parameters.segmentBounds, units)
        ui.segmentsTable.visible = parameters.segmentation is not None
        unbounded = {"lossless": _("Everything is lossless; choose another quality. A file of the codec progressive "
                                   "can begin with segments all the same."),
                     "ratio": _("A target ratio leaves no choice of errors; choose near-lossless for one.")}.get(
            parameters.quality, "")
        noRegions = "" if self._begins else unbounded
        noSegmentation = "" if parameters.segmentation else _("Select a segmentation.")
        unused = {"lossless": _("Everything outside the segments is lossless."),
                  "constant": _("Everything outside the segments becomes one value.")}.get(self._outside, "")
        for name, reason in (
                ("targetRatioSpinBox", "" if parameters.quality == "ratio" else _("Choose the quality target ratio.")),
                ("maxErrorSpinBox", unbounded or unused),
                ("segmentsTable", noRegions or noSegmentation), ("outsideComboBox", unbounded or noSegmentation),
                ("backgroundSpinBox", unbounded or noSegmentation or (
                    "" if self._outside == "constant" else _("Choose one value for what is outside."))),
                ("marginSpinBox", noRegions or noSegmentation), ("storeSegmentationCheckBox", noSegmentation)):
            enable(getattr(ui, name), reason, self._toolTips[name])
        enable(ui.editSegmentationButton, noSegmentation,
               _("Open the Segment Editor on this segmentation and volume."))

    @property
    def hasRegions(self) -> bool:
        """Whether segments matter: not if a segmentation is there only to be stored."""
        parameters = self._parameters
        chosen = boundsFromText(parameters.segmentBounds, parameters.segmentation)
        if self._begins:
            return bool(chosen)
        return parameters.quality == "near-lossless" and parameters.segmentation is not None and not (
            parameters.storeSegmentation and not chosen)

    @property
    def _begins(self):
        """Whether segments are what the file begins with."""
        return self._parameters.quality == "lossless" and has_previews(self._parameters.codec)

    @property
    def _outside(self):
        """What happens outside the segments; empty if they do not matter there."""
        return self._parameters.outside if self.hasRegions and not self._begins else ""

    def estimateRefusal(self) -> str:
        """Why a sample of the volume tells nothing of its size: one sentence, empty if it does."""
        return _("A sample tells little where only the segments are kept; compress the volume.") \
            if self._outside == "constant" else ""

    def settings(self) -> dict:
        """The chosen quality, by the names of CompressionSettings."""
        parameters = self._parameters
        roi = SegmentROI(parameters.segmentation, boundsFromText(parameters.segmentBounds, parameters.segmentation),
                         parameters.margin) if self.hasRegions else None
        bounded = parameters.quality == "near-lossless" and self._outside in ("", "bounded")
        return {"maxError": parameters.maxError if bounded else 0, "roi": roi,
                "background": parameters.background if self._outside == "constant" else None,
                "targetRatio": parameters.targetRatio if parameters.quality == "ratio" else 0.0}

    def _onQualityChanged(self, index=0):
        if self._parameters:
            self._parameters.quality = choiceOf(self._ui.qualityComboBox, self._qualities)

    def _onOutsideChanged(self, index=0):
        if not self._parameters:
            return
        outside, volume = choiceOf(self._ui.outsideComboBox, self._outsides), self._parameters.inputVolume
        with slicer.util.NodeModify(self._parameters):
            self._parameters.outside = outside
            voxels = voxelsOfNode(frameOf(volume)) if volume and not refusalOf(volume) else None
            if outside == "constant" and voxels is not None and voxels.dtype.kind in "iu":
                limits = np.iinfo(np.int32)      # of a spin box, and so of the parameter
                self._parameters.background = min(max(int(voxels.min()), limits.min), limits.max)

    def _onSegmentsChanged(self):
        if self._parameters:
            self._parameters.segmentBounds = self._table.asText()

    def _onEditSegmentation(self, checked=False):
        """Open the Segment Editor on the segmentation and the volume."""
        segmentation, volume = self._parameters.segmentation, frameOf(self._parameters.inputVolume)
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.SegmentEditorWidget.parameterSetNode
        editor.SetAndObserveSegmentationNode(segmentation)
        # A frame that no browser shows is in a scene of its own, where IDs mean other nodes.
        isShown = volume is not None and volume.GetScene() is slicer.mrmlScene
        editor.SetAndObserveSourceVolumeNode(volume if isShown else None)
