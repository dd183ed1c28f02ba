"""The part of the panel in which a model is trained on loaded volumes."""

import ctk
import qt
from slicer.i18n import tr as _

from .Choices import choiceOf, enable, showChoices, showPath, whenPathEdited
from .MethodSection import MODEL_CODEC
from .OutputPath import MODEL_SUFFIX, outputPath, pathRefusal
from .SequenceNode import refusalOf


class TrainingSection:
    """Shows and changes `trainingVolumes`, `trainingPreset` and `trainedModel` of the parameter node."""

    def __init__(self, ui, presetsByCodec):
        """
        :param ui: the widgets of the panel.
        :param presetsByCodec: codec ids to preset names to a sentence on each.
        """
        self._ui, self._parameters, self._showing = ui, None, False
        self._presets = {preset: preset for preset in presetsByCodec.get(MODEL_CODEC, {})}
        ui.trainedModelPathLineEdit.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Writable
        ui.trainedModelPathLineEdit.nameFilters = [_("Model of MedCompress") + f" (*{MODEL_SUFFIX})"]
        ui.trainingVolumesSelector.connect("checkedNodesChanged()", self._onVolumesChanged)
        ui.trainingPresetComboBox.connect("currentIndexChanged(int)", self._onPresetChanged)
        whenPathEdited(ui.trainedModelPathLineEdit, self._onPathChanged)

    @property
    def path(self):
        """The model file to write."""
        return outputPath(self._parameters.trainedModel, MODEL_SUFFIX)

    @property
    def preset(self) -> str:
        """The preset that the model is for."""
        return choiceOf(self._ui.trainingPresetComboBox, self._presets)

    @property
    def volumes(self) -> list:
        """What is to be trained on."""
        return [node for node in self._parameters.trainingVolumes if node is not None]

    def show(self, parameters, busy=""):
        """Show a parameter node; None to stop.

        :param busy: why no work can be started now, empty if it can.
        """
        self._parameters = parameters
        if parameters is None:
            return
        ui, chosen = self._ui, self.volumes
        self._showing = True
        for node in [*ui.trainingVolumesSelector.checkedNodes(), *chosen]:
            ui.trainingVolumesSelector.setCheckState(node, qt.Qt.Checked if node in chosen else qt.Qt.Unchecked)
        self._showing = False
        showChoices(ui.trainingPresetComboBox, self._presets, parameters.trainingPreset)
        showPath(ui.trainedModelPathLineEdit, parameters.trainedModel)
        enable(ui.trainButton, busy or self._refusal(),
               _("Train a model for the codec neural in the background, and choose it above."))

    def _refusal(self):
        if not self._presets:
            return _("The codec neural is not available.")
        if not self.volumes:
            return _("Check the volumes to train on.")
        reason = next(filter(None, map(refusalOf, self.volumes)), "")
        return reason or (pathRefusal(self.path) if self.path else _("Choose the file of the model."))

    def _onVolumesChanged(self):
        if self._parameters and not self._showing:
            self._parameters.trainingVolumes = list(self._ui.trainingVolumesSelector.checkedNodes())

    def _onPresetChanged(self, index=0):
        if self._parameters:
            self._parameters.trainingPreset = self.preset

    def _onPathChanged(self, path=""):
        if self._parameters:
            self._parameters.trainedModel = self._ui.trainedModelPathLineEdit.currentPath.strip()
