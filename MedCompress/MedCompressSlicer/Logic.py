"""`MedCompressLogic`: compression and restoration of volume nodes, without panel and without dialogs."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

import MedCompressLib as mc
from MedCompressLib.codecs import codec_ids, get_codec
from MedCompressLib.replacing import replacing

from .CompressionJob import CompressionJob
from .DicomNode import isArchive, placeInStudy, seriesHeader, seriesName
from .ParameterNode import MedCompressParameterNode
from .Report import CompressionReport
from .RoundTrip import compressAndRestore
from .VolumeNode import addVolumeNode, storedName, volumeFromNode

FILE_TYPE = "MedCompressFile"


class MedCompressLogic(ScriptedLoadableModuleLogic):
    """Usable from the Python console::

        from MedCompress import MedCompressLogic
        logic = MedCompressLogic()
        report = logic.compressVolume(getNode("CTChest"), "/data/chest.mcz")
        node = logic.decompressFile("/data/chest.mcz")
    """

    def getParameterNode(self) -> MedCompressParameterNode:
        """The module's parameters, kept in the scene."""
        return MedCompressParameterNode(super().getParameterNode())

    @staticmethod
    def presetsByCodec() -> dict[str, dict[str, str]]:
        """What the library offers: codec id to preset name to a sentence on it. The first preset is the default.

        A codec is left out when a Python package that it cannot do without is not installed.
        """
        presets = {}
        for codec in codec_ids():
            try:
                presets[codec] = dict(get_codec(codec).presets)
            except ImportError:
                continue
        return presets

    def compressVolume(self, volumeNode, path, codec="auto", preset="", overwrite=False,
                       progressCallback=None) -> CompressionReport:
        """Write a volume node to a `.mcz` file, verified by restoring it. The node stays as it is.

        :param volumeNode: scalar, label map or vector volume.
        :param path: file to write; it appears when it is complete and verified.
        :param codec: codec id, see `presetsByCodec`; "auto" lets the library choose for the volume.
        :param preset: preset of the codec, its default one if empty.
        :param overwrite: whether an existing file may be replaced.
        :param progressCallback: called with a fraction from 0 to 1; may raise `MedCompressLib.Cancelled`.
        :raises ValueError: a volume that cannot be compressed or a file that cannot be written; the message says why.
        :raises RuntimeError: the restored volume differs, or a Python package is missing.
        """
        volume = volumeFromNode(volumeNode)
        with _MissingPackageExplained(), replacing(path, overwrite) as file:
            data, _restored, figures = compressAndRestore(volume, codec, preset, progressCallback)
            report = CompressionReport(**figures)
            report.requireIdentical()
            file.write(data)
        return report

    def decompressFile(self, path, name="", beside=None, progressCallback=None):
        """Restore the volume of a `.mcz` file as a new node. Of an archive of DICOM files it gets the attributes, and
        the place in the subject hierarchy, that the DICOM module would give it.

        :param path: file to read.
        :param name: name of the new node; the stored one if empty, else that of the file.
        :param beside: volume node whose transform, subject hierarchy folder and display the new one gets.
        :param progressCallback: called with a fraction from 0 to 1; may raise `MedCompressLib.Cancelled`.
        :return: the new volume node. It has no storage node: a `.mcz` file is an import format, the scene saves the
            volume in Slicer's own formats.
        :raises ValueError: not a valid file, or a volume that Slicer cannot show.
        """
        with _MissingPackageExplained():
            volume = mc.decompress(Path(path), progress=progressCallback)
            source = volume.metadata["DICOM"] if isArchive(path) else None
            header = seriesHeader(path, source.get("SeriesInstanceUID", "")) if source else None
        stored = seriesName(header) if source else storedName(volume)
        node = addVolumeNode(volume, name or stored or Path(path).stem, beside)
        if source:
            placeInStudy(node, header, source["instanceUIDs"])
        return node

    def roundTrip(self, volumeNode, codec="auto", preset="", name="", progressCallback=None):
        """Compress a volume in memory and add the restored one beside it.

        :param name: name of the new node; that of the volume with "restored" if empty.
        :return: the new volume node and a CompressionReport.
        """
        with _MissingPackageExplained():
            _data, restored, figures = compressAndRestore(volumeFromNode(volumeNode), codec, preset, progressCallback)
        node = addVolumeNode(restored, name or self.restoredName(volumeNode), beside=volumeNode)
        return node, CompressionReport(**figures)

    @staticmethod
    def startCompression(volumeNode, path="", codec="auto", preset="", restoreAs="", onProgress=None,
                         onFinished=None) -> CompressionJob:
        """Compress in a background process, see CompressionJob."""
        return CompressionJob(volumeNode, path, codec, preset, restoreAs, onProgress, onFinished)

    @staticmethod
    def saveVolume(volumeNode, path):
        """Save through Slicer's own IO manager, so that the file gets into the recent files.

        `slicer.util.saveNode` cannot do this: it lets the node's class alone choose the writer.

        :raises RuntimeError: the file could not be written; the message says why.
        """
        messages = slicer.vtkMRMLMessageCollection()
        properties = {"nodeID": volumeNode.GetID(), "fileName": str(path)}
        if not slicer.app.coreIOManager().saveNodes(FILE_TYPE, properties, messages):
            raise RuntimeError(messages.GetAllMessagesAsString().strip()
                               or _("The file {path} could not be written.").format(path=path))

    @staticmethod
    def restoredName(volumeNode) -> str:
        """How a restored volume is called by default."""
        return _("{name} restored").format(name=volumeNode.GetName())


class _MissingPackageExplained:
    """Turns the ImportError of a missing Python package into a sentence that says what to do."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is not None and issubclass(kind, ImportError):
            raise RuntimeError(_("The Python package {package} is missing: click Apply in the MedCompress module once, "
                                 "or run slicer.util.pip_install('{package}').").format(package=error.name)) from error
