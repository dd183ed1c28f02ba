"""Transfer syntaxes that are written, each by an encoder of its own library, and proven by decoding again."""

from __future__ import annotations

import numpy as np

from ..errors import MedCompressError, UnsupportedError

EXPLICIT = "1.2.840.10008.1.2.1"
# Name on the command line to UID.
SYNTAXES = {
    "explicit": EXPLICIT,
    "rle": "1.2.840.10008.1.2.5",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg-2000": "1.2.840.10008.1.2.4.90",
    "htj2k": "1.2.840.10008.1.2.4.201",
}
_PYDICOM_PLUGINS = {"rle": "pydicom", "jpeg-ls": "pyjpegls", "jpeg-2000": "pylibjpeg"}
_PACKAGES = {"jpeg-ls": "pyjpegls", "jpeg-2000": "pylibjpeg[openjpeg]", "htj2k": "imagecodecs"}


def uid_of(syntax: str) -> str:
    """The UID of a transfer syntax by its name; UnsupportedError, naming those there are, if it is none."""
    if syntax not in SYNTAXES:
        raise UnsupportedError(f"There is no transfer syntax {syntax!r} to export to; use one of "
                               f"{', '.join(SYNTAXES)}.")
    return SYNTAXES[syntax]


def set_pixels(dataset, samples: np.ndarray, syntax: str) -> None:
    """Put samples into a data set and encode them; its other elements stay as they are.

    Parameters
    ----------
    dataset : pydicom Dataset
        Its Image Pixel module describes the samples.
    samples : (frames, rows, columns) or (frames, rows, columns, 3) ndarray
    syntax : str
        A key of `SYNTAXES`.

    Raises
    ------
    UnsupportedError
        The encoder is not installed, or does not take such samples.
    MedCompressError
        What was encoded does not decode to the same samples.
    """
    from pydicom.uid import UID

    if dataset.BitsAllocated % 8:
        raise UnsupportedError(f"Images of {dataset.BitsAllocated} bit are not exported; archive the series instead.")
    if syntax == "htj2k" and dataset.BitsAllocated > 16:
        raise UnsupportedError("What decodes htj2k takes no more than 16 bits; choose another transfer syntax.")
    size = dataset.BitsAllocated // 8
    data = samples.astype(f"<{samples.dtype.kind}{size}", copy=False).tobytes()
    dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    element = dataset["PixelData"]
    element.VR, element.is_undefined_length = "OW" if size > 1 else "OB", False
    for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if name in dataset:
            del dataset[name]
    if syntax == "explicit":
        return
    try:
        if syntax == "htj2k":
            _encode_htj2k(dataset, samples)
        else:
            dataset.compress(UID(SYNTAXES[syntax]), encoding_plugin=_PYDICOM_PLUGINS[syntax],
                             generate_instance_uid=False)
    except (ImportError, RuntimeError, ValueError, NotImplementedError, AttributeError) as error:
        raise UnsupportedError(f"The images cannot be encoded as {syntax}: {_one_line(error)}."
                               + (f" If {_PACKAGES[syntax]} is not installed, install it."
                                  if syntax in _PACKAGES else "")) from error
    if not np.array_equal(_decoded(dataset, samples), samples):
        raise MedCompressError(f"What the encoder for {syntax} wrote does not decode to the same samples, so nothing "
                               "was exported; choose another transfer syntax.")


def _encode_htj2k(dataset, samples: np.ndarray) -> None:
    import imagecodecs
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    color = {} if samples.ndim == 3 else {"rgb": True}
    frames = [imagecodecs.htj2k_encode(np.ascontiguousarray(frame), reversible=True, **color) for frame in samples]
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = UID(SYNTAXES["htj2k"])
    if color:
        dataset.PhotometricInterpretation = "YBR_RCT"


def _decoded(dataset, samples: np.ndarray) -> np.ndarray:
    """What readers will see."""
    if dataset.file_meta.TransferSyntaxUID == SYNTAXES["htj2k"]:
        import imagecodecs
        from pydicom.encaps import generate_frames

        frames = generate_frames(dataset.PixelData, number_of_frames=len(samples))
        return np.stack([imagecodecs.htj2k_decode(frame) for frame in frames])
    from pydicom.pixels import pixel_array

    return pixel_array(dataset).reshape(samples.shape)


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__).rstrip(".:")
