"""`MedCompressLogic`: compression and restoration of volume nodes, without panel and without dialogs."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

import MedCompressLib as mc
from MedCompressLib.codecs import codec_ids, get_codec
from MedCompressLib.replacing import replacing

from .CodecComparison import CodecComparison
from .CompressionJob import CompressionJob
from .CompressionSettings import CompressionSettings
from .DicomNode import isArchive, placeInStudy, seriesHeader, seriesName
from .Difference import addDifferenceVolume, showComparison
from .ParameterNode import MedCompressParameterNode
from .Report import CompressionReport
from .ReportTable import fillReportTable
from .RestoredNode import addRestoredNode
from .RoundTrip import compressAndRestore
from .Sample import Expectation
from .SegmentROI import SegmentROI
from .SequenceNode import frameOf, sequenceOf, volumeOf
from .StoredSegmentation import addSegmentation, segmentationOf, storedSegmentation, withSegmentation
from .TrainingJob import TrainingJob
from .VolumeNode import storedName

FILE_TYPE = "MedCompressFile"


class MedCompressLogic(ScriptedLoadableModuleLogic):
    """Usable from the Python console::

        from MedCompress import MedCompressLogic
        logic = MedCompressLogic()
        report = logic.compressVolume(getNode("CTChest"), "/data/chest.mcz")
        node = logic.decompressFile("/data/chest.mcz")

    With loss, but not in the liver::

        liver = logic.segmentROI(getNode("Segmentation"), ["liver"], margin=2)
        node, report = logic.roundTrip(getNode("CTChest"), maxError=20, roi=liver)
    """

    def getParameterNode(self) -> MedCompressParameterNode:
        """The module's parameters, kept in the scene."""
        return MedCompressParameterNode(super().getParameterNode())

    @staticmethod
    def presetsByCodec() -> dict[str, dict[str, str]]:
        """What the library offers: codec id to preset name to a sentence on it. The first preset is the default.

        A codec is left out when a Python package that it cannot do without is not installed, or when it is there for
        research only: files of those are read, but to write them is left to the command line.
        """
        presets = {}
        for codec in codec_ids(research=False):
            try:
                presets[codec] = dict(get_codec(codec).presets)
            except ImportError:
                continue
        return presets

    def compressVolume(self, volumeNode, path, codec="auto", preset="", overwrite=False,
                       progressCallback=None, maxError=0, roi=None, force=False, model="",
                       segmentation=None, targetRatio=0.0, background=None) -> CompressionReport:
        """Write a volume or sequence to a `.mcz` file, verified by restoring it. The node stays as it is.

        :param volumeNode: scalar, label map or vector volume, or a sequence of them. A volume that shows a frame of a
            sequence stands for itself; give `sequenceOf(volumeNode)` for all frames.
        :param path: file to write; it appears when it is complete and verified.
        :param codec: codec id, see `presetsByCodec`; "auto" lets the library choose for the volume.
        :param preset: preset of the codec, its default one if empty.
        :param overwrite: whether an existing file may be replaced.
        :param progressCallback: called with a fraction from 0 to 1; may raise `MedCompressLib.Cancelled`.
        :param maxError: by how many stored units (HU in a CT) a voxel may be off where no segment says otherwise; 0 is
            lossless.
        :param roi: result of `segmentROI`: segments with bounds of their own.
        :param force: compress mammograms with loss, too.
        :param model: file of a model that `startTraining` has written, for the codec neural.
        :param segmentation: segmentation node whose segments travel in the file, with names and colors.
        :param targetRatio: how many times smaller than in memory the file has to be, with whatever errors that takes.
        :param background: what all voxels outside the segments of `roi` become; these are lossless then.
        :raises ValueError: a volume that cannot be compressed or a file that cannot be written; the message says why.
        :raises RuntimeError: the restored volume differs, or a Python package is missing.
        """
        settings = CompressionSettings(codec, preset, maxError, targetRatio, roi, background, force, str(model),
                                       segmentation)
        with replacing(path, overwrite) as file:
            data, _restored, report = self._compress(volumeNode, settings, progressCallback)
            file.write(data)
        return report

    @staticmethod
    def _compress(volumeNode, settings, progressCallback):
        """The bytes of the file, the restored Volume and the report."""
        with _MissingPackageExplained():
            volume = volumeOf(volumeNode, settings.properties(volumeNode))
            frame = frameOf(volumeNode)
            if settings.segmentation is not None:
                volume = withSegmentation(volume, settings.segmentation, frame)
            regions = settings.roi.regions(frame) if settings.roi is not None else None
            data, restored, figures = compressAndRestore(volume, settings.forWorker(), progressCallback, regions)
            report = CompressionReport.fromFigures(figures)
            report.requirePromise()
            return data, restored, report

    def decompressFile(self, path, name="", beside=None, progressCallback=None):
        """Restore the volume of a `.mcz` file as a new node, and the segmentation that was stored with it, if any: see
        `segmentationOf`. A volume of an archive of DICOM files gets the attributes, and the place in the subject
        hierarchy, that the DICOM module would give it.

        :param path: file to read.
        :param name: name of the new node; the stored one if empty, else that of the file. Where voxels are not the
            original ones, the stored name is followed by the error that they may have.
        :param beside: volume node whose transform, subject hierarchy folder and display the new one gets.
        :param progressCallback: called with a fraction from 0 to 1; may raise `MedCompressLib.Cancelled`.
        :return: the new volume node, or the sequence node if the file holds one. It has no storage node: a `.mcz` file
            is an import format, the scene saves the volume in Slicer's own formats.
        :raises ValueError: not a valid file, or a volume that Slicer cannot show.
        """
        with _MissingPackageExplained():
            volume = mc.decompress(Path(path), progress=progressCallback)
            archive = isArchive(path)
            info = None if archive else mc.info(Path(path))
            source = volume.metadata["DICOM"] if archive else None
            header = seriesHeader(path, source.get("SeriesInstanceUID", "")) if source else None
        segments = storedSegmentation(volume)
        stored = seriesName(header) if source else storedName(volume)
        node = addRestoredNode(volume, info, name, beside, stored or Path(path).stem)
        if segments is not None:
            addSegmentation(segments, volume.ijk_to_ras, frameOf(node))
        if source:
            placeInStudy(node, header, source["instanceUIDs"])
        return node

    def roundTrip(self, volumeNode, codec="auto", preset="", name="", progressCallback=None, maxError=0, roi=None,
                  force=False, model="", targetRatio=0.0, background=None):
        """Compress a volume or sequence in memory and add the restored one beside it.

        :param name: name of the new node; that of the volume with "restored", or what tells of its errors, if empty.
        :param maxError, roi, force, model, targetRatio, background: as in `compressVolume`.
        :return: the new node and a CompressionReport.
        """
        settings = CompressionSettings(codec, preset, maxError, targetRatio, roi, background, force, str(model))
        _data, restored, report = self._compress(volumeNode, settings, progressCallback)
        node = addRestoredNode(restored, report.info(), name or settings.restoredName(volumeNode), volumeNode)
        return node, report

    @staticmethod
    def segmentROI(segmentationNode, segments, margin=0.0) -> SegmentROI:
        """Segments as a region of interest.

        :param segments: names or IDs of segments that are to be lossless, or a dict from these to the allowed error.
        :param margin: in mm, by which segments grow where that is tighter than what is allowed outside.
        :raises ValueError: no such segment; the message says which.
        """
        return SegmentROI.of(segmentationNode, segments, margin)

    @staticmethod
    def sequenceOf(volumeNode):
        """The sequence node of which a volume node shows a frame, or None."""
        return sequenceOf(volumeNode)

    @staticmethod
    def compare(original, restored):
        """Show two volumes side by side, and what differs in colors; without slice views, only the last is made.

        :return: the new volume node with restored minus original voxels.
        :raises ValueError: the volumes have different sizes.
        """
        difference = addDifferenceVolume(original, restored)
        showComparison(original, restored, difference)
        return difference

    @staticmethod
    def addReportTable(report, name=""):
        """Add a table node with all figures of a compression, a row for each region.

        :return: the table node.
        """
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", slicer.mrmlScene.GetUniqueNameByString(
            name or _("MedCompress figures")))
        fillReportTable(node, report)
        return node

    @staticmethod
    def startCompression(volumeNode, path="", codec="auto", preset="", restoreAs="", onProgress=None,
                         onFinished=None, maxError=0, roi=None, force=False, model="",
                         segmentation=None, targetRatio=0.0, background=None) -> CompressionJob:
        """Compress in a background process, see CompressionJob; the other parameters are those of `compressVolume`."""
        settings = CompressionSettings(codec, preset, maxError, targetRatio, roi, background, force, str(model),
                                       segmentation)
        return CompressionJob(volumeNode, settings, path, restoreAs, onProgress, onFinished)

    @staticmethod
    def startEstimate(volumeNode, codec="auto", preset="", onProgress=None, onFinished=None, maxError=0,
                      roi=None, model="", targetRatio=0.0) -> CompressionJob:
        """Compress a small sample in a background process; `expectation(job)` tells what it means for the volume."""
        settings = CompressionSettings(codec, preset, maxError, targetRatio, roi, model=str(model))
        return CompressionJob(volumeNode, settings, onProgress=onProgress, onFinished=onFinished, sampleOnly=True)

    @staticmethod
    def startTraining(volumeNodes, path, preset="default", steps=6000, onProgress=None, onFinished=None) -> TrainingJob:
        """Train a model for the scans of one's own protocol in a background process, see TrainingJob."""
        return TrainingJob(volumeNodes, path, preset, steps, onProgress, onFinished)

    @staticmethod
    def segmentationOf(volumeNode):
        """The segmentation node that came with a volume in its file, or None."""
        return segmentationOf(frameOf(volumeNode))

    @staticmethod
    def expectation(job) -> Expectation:
        """What to expect of the whole volume, from a job that was started by `startEstimate` and is done."""
        return Expectation.of(job.report, job.samples)

    def startCodecComparison(self, volumeNode, onProgress=None, onFinished=None) -> CodecComparison:
        """Measure all codecs, and several bounds on the error, on a sample of a volume, in background processes."""
        return CodecComparison(volumeNode, self.presetsByCodec(), onProgress, onFinished)

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


def _requirement(package):
    """What pip is to install: the package in the versions that are known to do."""
    lines = (Path(__file__).parent.parent / "Resources" / "requirements.txt").read_text().splitlines()
    return next((line.strip() for line in lines if line.startswith(package)), package)


class _MissingPackageExplained:
    """Turns the ImportError of a missing Python package into a sentence that says what to do."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is not None and issubclass(kind, ImportError):
            raise RuntimeError(_("The Python package {package} is missing: run "
                                 "slicer.util.pip_install('{requirement}') in the Python console, or click Apply in "
                                 "the MedCompress module with any volume; then try again.").format(
                package=error.name, requirement=_requirement(error.name))) from error
