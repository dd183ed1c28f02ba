"""The part of the panel in which codec, preset and model are chosen."""

import ctk
import slicer
from slicer.i18n import tr as _

from .Choices import choiceOf, enable, showChoices, showPath, whenPathEdited

MODEL_CODEC = "neural"


class MethodSection:
    """Shows and changes `codec`, `preset` and `model` of the parameter node."""

    def __init__(self, ui, presetsByCodec):
        """
        :param ui: the widgets of the panel.
        :param presetsByCodec: codec ids to preset names to a sentence on each.
        """
        self._ui, self._presetsByCodec, self._parameters = ui, {"auto": {}, **presetsByCodec}, None
        self._toolTips = {widget: getattr(ui, widget).toolTip for widget in ("presetComboBox", "modelPathLineEdit")}
        ui.modelPathLineEdit.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Readable
        ui.modelPathLineEdit.nameFilters = [_("Model of MedCompress") + " (*.mcmodel)"]
        ui.codecComboBox.connect("currentIndexChanged(int)", self._onCodecChanged)
        ui.presetComboBox.connect("currentIndexChanged(int)", self._onPresetChanged)
        whenPathEdited(ui.modelPathLineEdit, self._onModelChanged)

    def show(self, parameters):
        """Show a parameter node; None to stop."""
        self._parameters = parameters
        if parameters is None:
            return
        ui = self._ui
        codec = showChoices(ui.codecComboBox, {codec: codec for codec in self._presetsByCodec}, parameters.codec)
        presets = self._presetsByCodec[codec]
        preset = showChoices(ui.presetComboBox, {preset: preset for preset in presets}, parameters.preset)
        enable(ui.presetComboBox, "" if len(presets) > 1 else
               _("The codec {codec} has one preset only.").format(codec=codec) if presets else
               _("With auto, the library chooses codec and preset."), self._toolTips["presetComboBox"])
        enable(ui.modelPathLineEdit, "" if codec == MODEL_CODEC else
               _("Only the codec {codec} uses a model.").format(codec=MODEL_CODEC), self._toolTips["modelPathLineEdit"])
        showPath(ui.modelPathLineEdit, parameters.model)
        sentence = presets.get(preset) or (
            _("Chooses the codec that suits the volume.") if parameters.quality == "lossless" or (
                parameters.quality == "near-lossless" and parameters.segmentation and parameters.outside == "constant")
            else _("Uses the codec neural, which keeps the bound on the error.")
            if parameters.quality == "near-lossless"
            else _("Uses the codec wavelet, which meets a target ratio."))
        ui.presetDescriptionLabel.text = sentence[:1].upper() + sentence[1:]

    @staticmethod
    def use(parameters, preset, model):
        """Choose a model of the user."""
        with slicer.util.NodeModify(parameters):
            parameters.codec, parameters.preset, parameters.model = MODEL_CODEC, preset, model

    def _onCodecChanged(self, index=0):
        """The user chose a codec: its default preset is selected."""
        if self._parameters:
            with slicer.util.NodeModify(self._parameters):
                self._parameters.codec = choiceOf(self._ui.codecComboBox, self._presetsByCodec)
                self._parameters.preset = ""

    def _onPresetChanged(self, index=0):
        if self._parameters:
            self._parameters.preset = self._ui.presetComboBox.currentText

    def _onModelChanged(self, path=""):
        if self._parameters:
            self._parameters.model = self._ui.modelPathLineEdit.currentPath.strip()
