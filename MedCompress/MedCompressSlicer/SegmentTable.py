"""The table of the panel in which each segment is lossless, bounded or background."""

import json

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from MedCompressLib.quality import MAX_ERROR

from .Choices import fitHeight

_BACKGROUND, _LOSSLESS, _BOUNDED = range(3)
_DEFAULT_BOUND = 5


def boundsFromText(text, segmentationNode) -> dict:
    """What is stored in the scene: ID of each segment that exists and is not background to the error allowed in it.

    :param text: JSON; anything else is nothing.
    :param segmentationNode: segmentation, or None.
    """
    try:
        stored = json.loads(text)
    except ValueError:
        stored = {}
    if segmentationNode is None or not isinstance(stored, dict):
        return {}
    return {segmentID: bound for segmentID, bound in stored.items() if type(bound) is int
            and segmentationNode.GetSegmentation().GetSegment(segmentID) is not None}


class SegmentTable(VTKObservationMixin):
    """Shows the segments of a segmentation, also when they come and go, and what is chosen for each."""

    def __init__(self, tableWidget, onChanged, onSegmentsModified):
        """
        :param tableWidget: QTableWidget of three columns: name, choice, bound.
        :param onChanged: called without arguments when the user has changed a choice or a bound.
        :param onSegmentsModified: called when the segmentation has got, lost or renamed a segment; has to call `show`.
        """
        VTKObservationMixin.__init__(self)
        self._table, self._onChanged, self._onSegmentsModified = tableWidget, onChanged, onSegmentsModified
        self._segmentation = None
        self._rows = []  # (segment ID, name, combo box, spin box); the widgets must be held
        self._showing = False
        header = tableWidget.horizontalHeader()
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(1, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(2, qt.QHeaderView.ResizeToContents)

    def show(self, segmentationNode, text="", units=""):
        """Show what is chosen.

        :param segmentationNode: segmentation, or None.
        :param text: see `boundsFromText`.
        :param units: of the voxels, may be empty.
        """
        segmentation = segmentationNode.GetSegmentation() if segmentationNode is not None else None
        if segmentation is not self._segmentation:
            self.removeObservers()
            self._segmentation = segmentation
            for event in ("SegmentAdded", "SegmentRemoved", "SegmentModified") if segmentation is not None else ():
                self.addObserver(segmentation, getattr(slicer.vtkSegmentation, event), self._onSegmentsModified)
        bounds = boundsFromText(text, segmentationNode)
        segments = [(segmentID, segmentation.GetSegment(segmentID).GetName())
                    for segmentID in segmentation.GetSegmentIDs()] if segmentation else []
        self._showing = True
        if [row[:2] for row in self._rows] != segments:
            self._fill(segments)
        for segmentID, _name, choice, bound in self._rows:
            allowed = bounds.get(segmentID)
            choice.currentIndex = _BACKGROUND if allowed is None else _BOUNDED if allowed else _LOSSLESS
            bound.enabled = bool(allowed)
            bound.suffix = " " + units if units else ""
            if allowed:
                bound.value = allowed
        self._showing = False

    def asText(self) -> str:
        """What is chosen, as `show` takes it."""
        return json.dumps({segmentID: bound.value if choice.currentIndex == _BOUNDED else 0
                           for segmentID, _name, choice, bound in self._rows if choice.currentIndex != _BACKGROUND})

    def _fill(self, segments):
        self._table.rowCount = 0
        self._table.rowCount = len(segments)
        self._rows = []
        for number, (segmentID, name) in enumerate(segments):
            item = qt.QTableWidgetItem(name)
            item.setFlags(qt.Qt.ItemIsEnabled)
            choice, bound = qt.QComboBox(), qt.QSpinBox()
            choice.addItems([_("background"), _("lossless"), _("largest error")])
            choice.toolTip = _("Background gets the largest error that is allowed outside all segments.")
            bound.minimum, bound.maximum, bound.value = 1, MAX_ERROR, _DEFAULT_BOUND
            bound.toolTip = _("By how much a voxel of this segment may be off, in the units of the volume.")
            choice.connect("currentIndexChanged(int)", self._changed)
            bound.connect("valueChanged(int)", self._changed)
            self._table.setItem(number, 0, item)
            self._table.setCellWidget(number, 1, choice)
            self._table.setCellWidget(number, 2, bound)
            self._rows.append((segmentID, name, choice, bound))
        fitHeight(self._table)

    def _changed(self, value=0):
        if not self._showing:
            self._onChanged()
