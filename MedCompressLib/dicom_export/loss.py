"""What a DICOM image must say of itself once it is lossy: PS3.3 C.7.6.1.1.5 and C.12.4."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UnsupportedError

# Defined terms may be extended; this one names the codecs of this library.
METHOD = "99_MEDCOMPRESS"
_TEXT_LIMIT, _TERM_LIMIT = 1024, 16
# Signatures and extremes of the samples that no longer hold.
_INVALID = ("DigitalSignaturesSequence", "MACParametersSequence", "SmallestImagePixelValue", "LargestImagePixelValue",
            "SmallestPixelValueInSeries", "LargestPixelValueInSeries")


@dataclass(frozen=True)
class Loss:
    """How an image became lossy.

    Parameters
    ----------
    ratio : float
        Bytes of the uncompressed pixel data to bytes they were compressed to.
    description : str
        One sentence or two for people: the bound, the regions.
    method : str
        Defined term of Lossy Image Compression Method, at most 16 characters.

    Raises
    ------
    UnsupportedError
        Something that the elements cannot hold.
    """

    ratio: float
    description: str
    method: str = METHOD

    def __post_init__(self) -> None:
        if not 1e-3 < self.ratio < 1e9:
            raise UnsupportedError(f"A compression ratio of {self.ratio!r} cannot be written into a DICOM file.")
        if not 0 < len(self.method) <= _TERM_LIMIT or self.method != self.method.upper() or "\\" in self.method:
            raise UnsupportedError(f"{self.method!r} is no term for a method: it needs 1 to {_TERM_LIMIT} capital "
                                   "letters, digits or underscores.")
        if not self.description or len(self.description) > _TEXT_LIMIT // 2:
            raise UnsupportedError(f"The description of the loss needs 1 to {_TEXT_LIMIT // 2} characters.")

    @classmethod
    def of(cls, quality: dict, ratio: float, regions: str = "") -> Loss | None:
        """From the `quality` that `info` tells of an `.mcz` file; None where that is lossless.

        Parameters
        ----------
        quality : dict
        ratio : float
        regions : str
            What the regions of interest are: "liver with a margin of 5 mm".
        """
        if quality.get("kind") == "lossless":
            return None
        named = f"regions of interest{f' ({regions})' if regions else ''}"
        if quality["kind"] == "constant-background":
            return cls(ratio, f"Stored values are exact in {named} and {quality['value']} elsewhere.")
        bounds = quality.get("regions") or []
        parts = ["exact" if bound == 0 else f"off by at most {bound}" for bound in bounds if bound is not None]
        if quality["kind"] == "lossy":
            reached = quality["reached"]
            inside = f" In {named} they are {', '.join(parts)}." if parts else ""
            return cls(ratio, f"Quantised wavelet coefficients: stored values are off by {reached['rmse']:.4g} (root "
                              f"mean square), at most by {reached['max_error']:.6g}.{inside}")
        if not parts:
            return cls(ratio, f"Near-lossless: no stored value is off by more than {quality['max_error']}.")
        return cls(ratio, f"Region of interest compression: stored values are {parts[0]} in {named}, "
                          f"{', '.join(parts[1:]) or parts[0]} elsewhere.")


def mark_lossy(dataset, loss: Loss, uids: dict[str, str]) -> None:
    """Make a data set, whose samples were replaced by lossy ones, say so.

    See `export_series` for every element that changes.

    Parameters
    ----------
    dataset : pydicom Dataset
    loss : Loss
    uids : dict of str to str
        New `SOPInstanceUID` and `SeriesInstanceUID`.

    Raises
    ------
    UnsupportedError
        The source says something that cannot be carried on, or is a mammogram.
    """
    from pydicom.dataset import Dataset

    if dataset.get("Modality") == "MG":
        raise UnsupportedError("Mammograms are not exported with loss: they may not be read, kept or transferred so.")
    ratios, methods = _listed(dataset, "LossyImageCompressionRatio"), _listed(dataset, "LossyImageCompressionMethod")
    if len(ratios) != len(methods):
        raise UnsupportedError(f"The source names {len(ratios)} ratios and {len(methods)} methods of earlier lossy "
                               "compression, so no further pair can be appended; correct it first.")
    kinds = _listed(dataset, "ImageType")
    dataset.ImageType = ["DERIVED", *(kinds[1:] or ["PRIMARY"])]
    for item in dataset.iterall():
        if item.keyword == "FrameType" and item.value:
            item.value = ["DERIVED", *list(item.value)[1:]]
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = [*ratios, f"{loss.ratio:.4g}"]
    dataset.LossyImageCompressionMethod = [*methods, loss.method]
    before = str(dataset.get("DerivationDescription") or "")
    again = "Compressed with loss before. " if methods else ""
    dataset.DerivationDescription = " ".join(
        part for part in (before, f"{again}{loss.description} Ratio {loss.ratio:.4g}:1.") if part)[-_TEXT_LIMIT:]
    dataset.DerivationCodeSequence = [*(dataset.get("DerivationCodeSequence") or []),
                                      _code("113040", "Lossy Compression")]
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    source.PurposeOfReferenceCodeSequence = [_code("121320", "Uncompressed predecessor")]
    source.SpatialLocationsPreserved = "YES"
    dataset.SourceImageSequence = [*(dataset.get("SourceImageSequence") or []), source]
    for keyword, uid in uids.items():
        setattr(dataset, keyword, uid)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    for keyword in _INVALID:
        if keyword in dataset:
            del dataset[keyword]


def _listed(dataset, keyword: str) -> list:
    value = dataset.get(keyword)
    if value in (None, ""):
        return []
    return [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)


def _code(value: str, meaning: str):
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code
