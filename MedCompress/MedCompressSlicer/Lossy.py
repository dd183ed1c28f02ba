"""Lossy volumes: when they are refused, and how everybody can see what they are.

A lossy volume must not pass for the images that it was made from: `DICOM.instanceUIDs`, by which Slicer finds the
source files of a volume, is kept as `MedCompress.sourceInstanceUIDs` only.
"""

import slicer
from slicer.i18n import tr as _

from MedCompressLib.codecs import get_codec

from .SequenceNode import frameOf, framesOf
from .VolumeNode import voxelsOfNode

_SOURCE_UIDS = "MedCompress.sourceInstanceUIDs"
_CLAIMS = ("DICOM.instanceUIDs", "DICOM.instanceNumbers")


def modalityOf(node) -> str:
    """DICOM modality of a volume or sequence node, empty if unknown."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node)
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    return (item and hierarchy.GetItemAttribute(item, name)) or node.GetAttribute(name) or ""


def unitsOf(node) -> str:
    """Short name of the units of the voxels, empty if they are not known."""
    entry = node.GetVoxelValueUnits() if node is not None and node.IsA("vtkMRMLVolumeNode") else None
    if entry is None:
        return ""
    return "HU" if entry.GetCodeValue() == "[hnsf'U]" else entry.GetCodeMeaning() or entry.GetCodeValue() or ""


def lossyRefusal(node, frame, codec, roi=None, force=False, bounded=True) -> str:
    """Why a volume cannot be compressed with loss: one sentence, empty if it can.

    :param node: what is to be compressed.
    :param frame: a volume node: `node` itself, or a frame of the sequence.
    :param codec: codec id, or "auto".
    :param roi: SegmentROI, or None.
    :param force: whether the modality does not matter.
    :param bounded: whether there is a bound on the error, or else a target for the size.
    """
    if frame.IsA("vtkMRMLLabelMapVolumeNode"):
        return _("{name} is a label map; labels are compressed without loss only.").format(name=node.GetName())
    if bounded and voxelsOfNode(frame).dtype.kind not in "iu":
        return _("{name} has no whole-number voxels; a bound on the error needs them. Use lossless.").format(
            name=node.GetName())
    if codec != "auto" and not bounded and not get_codec(codec).lossy:
        return _("The codec {codec} knows no target ratio; choose auto or wavelet for one.").format(codec=codec)
    if codec != "auto" and bounded and not get_codec(codec).near_lossless:
        return _("The codec {codec} is lossless only; choose auto, neural or wavelet for a bound on the "
                 "error.").format(
            codec=codec)
    if modalityOf(node) == "MG" and not force:
        return _("{name} is a mammogram, which is not compressed with loss; use lossless. From the Python console, "
                 "force=True overrides this.").format(name=node.GetName())
    return roi.refusal() if roi is not None else ""


def lossyProperties(properties) -> dict:
    """What `describeNode` found, without the claim to be the source images."""
    cleaned = {**properties, "attributes": _withoutClaims(properties["attributes"]),
               "hierarchy": {**properties["hierarchy"], "uid": "", "instanceUIDs": ""}}
    if "sequence" in properties:
        sequence = properties["sequence"]
        frames = [{**frame, "attributes": _withoutClaims(frame["attributes"])} for frame in sequence["frames"]]
        cleaned["sequence"] = {**sequence, "attributes": _withoutClaims(sequence["attributes"]), "frames": frames}
    return cleaned


def _withoutClaims(attributes):
    kept = {name: value for name, value in attributes.items() if name not in _CLAIMS}
    if _CLAIMS[0] in attributes:
        kept[_SOURCE_UIDS] = attributes[_CLAIMS[0]]
    return kept


def isLossy(info) -> bool:
    """Whether a file's voxels are not the original ones.

    :param info: result of `MedCompressLib.info`, or that part of it which is in a CompressionReport.
    """
    return info["quality"]["kind"] != "lossless"


def lossyName(name, maxError) -> str:
    """Name of a node with voxels that may be off by so much."""
    return _("{name} lossy (error up to {error})").format(name=name, error=maxError)


def markLossy(node, info):
    """Tell in the attributes of a volume or sequence node, of its frames and of what shows them, how the voxels came
    about."""
    quality = info["quality"]
    if quality["kind"] == "lossy":
        text = "lossy, " + " ".join(f"{name} {value:g}" for name, value in quality["target"].items())
    elif quality["kind"] == "constant-background":
        text = f"regions of interest exact, all else {quality['value']}"
    else:
        text = f"{quality['kind']}, allowed error {quality['max_error']}"
    if quality.get("regions"):
        text += ", regions " + " ".join(map(str, quality["regions"]))
    # What shows a frame comes last: it becomes a copy of the frame whenever that is modified.
    for marked in (*framesOf(node), node, frameOf(node)):
        for name, value in {"codec": info["codec"], "preset": info["preset"], "quality": text,
                            "ratio": f"{info['ratio']:.4f}", "maxError": str(quality["reached"]["max_error"])}.items():
            marked.SetAttribute("MedCompress." + name, value)
