"""The parts of the panel in which quality and regions of interest are chosen."""

import slicer
from slicer.i18n import tr as _

from .Choices import choiceOf, enable, showChoices
from .Lossy import unitsOf
from .SegmentROI import SegmentROI
from .SegmentTable import SegmentTable, boundsFromText
from .SequenceNode import frameOf, refusalOf


class QualitySection:
    """Shows and changes `quality`, `segmentBounds` and `outside`; the rest is bound in the .ui."""

    def __init__(self, ui, onSegmentsModified):
        """
        :param ui: the widgets of the panel.
        :param onSegmentsModified: called when the segmentation has got, lost or renamed a segment; has to call `show`.
        """
        self._ui, self._parameters = ui, None
        self._qualities = {"lossless": _("lossless"), "near-lossless": _("near-lossless: no voxel off by more than"),
                           "ratio": _("target ratio: as good as a file of that size can be")}
        self._outsides = {"bounded": _("the largest error above"), "lossless": _("lossless")}
        self._toolTips = {name: getattr(ui, name).toolTip for name in (
            "maxErrorSpinBox", "targetRatioSpinBox", "segmentsTable", "outsideComboBox", "marginSpinBox",
            "storeSegmentationCheckBox")}
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
        ui.maxErrorSpinBox.suffix = " " + units if units else ""
        self._table.show(parameters.segmentation, parameters.segmentBounds, units)
        ui.segmentsTable.visible = parameters.segmentation is not None
        unbounded = {"lossless": _("Everything is lossless; choose another quality."),
                     "ratio": _("A target ratio leaves no choice of errors; choose near-lossless for one.")}.get(
            parameters.quality, "")
        noSegmentation = "" if parameters.segmentation else _("Select a segmentation.")
        exactOutside = self.hasRegions and parameters.outside == "lossless"
        for name, reason in (
                ("targetRatioSpinBox", "" if parameters.quality == "ratio" else _("Choose the quality target ratio.")),
                ("maxErrorSpinBox", unbounded or (_("Everything outside the segments is lossless.")
                                                  if exactOutside else "")),
                ("segmentsTable", unbounded or noSegmentation), ("outsideComboBox", unbounded or noSegmentation),
                ("marginSpinBox", unbounded or noSegmentation), ("storeSegmentationCheckBox", noSegmentation)):
            enable(getattr(ui, name), reason, self._toolTips[name])
        enable(ui.editSegmentationButton, noSegmentation,
               _("Open the Segment Editor on this segmentation and volume."))

    @property
    def hasRegions(self) -> bool:
        """Whether segments matter: not if a segmentation is there only to be stored."""
        parameters = self._parameters
        return parameters.quality == "near-lossless" and parameters.segmentation is not None and not (
            parameters.storeSegmentation and not boundsFromText(parameters.segmentBounds, parameters.segmentation))

    def settings(self) -> dict:
        """The chosen quality, by the names of CompressionSettings."""
        parameters = self._parameters
        roi = SegmentROI(parameters.segmentation, boundsFromText(parameters.segmentBounds, parameters.segmentation),
                         parameters.margin) if self.hasRegions else None
        exactOutside = roi is not None and parameters.outside == "lossless"
        bounded = parameters.quality == "near-lossless" and not exactOutside
        return {"maxError": parameters.maxError if bounded else 0, "roi": roi,
                "targetRatio": parameters.targetRatio if parameters.quality == "ratio" else 0.0}

    def _onQualityChanged(self, index=0):
        if self._parameters:
            self._parameters.quality = choiceOf(self._ui.qualityComboBox, self._qualities)

    def _onOutsideChanged(self, index=0):
        if self._parameters:
            self._parameters.outside = choiceOf(self._ui.outsideComboBox, self._outsides)

    def _onSegmentsChanged(self):
        if self._parameters:
            self._parameters.segmentBounds = self._table.asText()

    def _onEditSegmentation(self, checked=False):
        """Open the Segment Editor on the segmentation and the volume."""
        segmentation, volume = self._parameters.segmentation, frameOf(self._parameters.inputVolume)
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.SegmentEditorWidget.parameterSetNode
        editor.SetAndObserveSegmentationNode(segmentation)
        editor.SetAndObserveSourceVolumeNode(volume)
