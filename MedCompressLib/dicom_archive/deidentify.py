"""Removal of identifying elements before files are archived: the basic profile of DICOM PS3.15, Annex E, as the package
dicom-anonymizer has it, applied within sequences too."""

from __future__ import annotations

from pathlib import Path

from ..dicom.folder import COPY, scan
from ..dicom.pixels import has_overlay_in_pixels
from ..errors import FormatError, UnsupportedError

# Of the file's group 2: what the file is, and which software wrote it; senders and private information go.
_KEPT_OF_FILE = {0x00020000, 0x00020001, 0x00020002, 0x00020003, 0x00020010, 0x00020012, 0x00020013}
_METHOD = "Basic Application Confidentiality Profile, dicom-anonymizer"


def deidentified(paths: list[Path], folder: Path) -> dict[str, Path]:
    """De-identified copies of DICOM images.

    UIDs are replaced by others, equal ones by equal ones; dates are replaced, private elements removed, and the files
    get new names, because names often tell the patient's. What is burned into the pixels stays: images that say of
    themselves that it is there, or have an overlay in unused bits of their pixels, are refused.

    Parameters
    ----------
    paths : list of Path
    folder : Path
        Where to write the copies.

    Returns
    -------
    dict of str to Path
        New names, in the order of `paths`.

    Raises
    ------
    UnsupportedError
        The package is not installed, or an image has annotations burned in.
    FormatError
        Some of the files are no DICOM images that can be read, so what they tell cannot be removed.
    """
    try:
        from dicomanonymizer.simpledicomanonymizer import anonymize_dataset
    except ImportError:
        raise UnsupportedError("De-identification needs the package dicom-anonymizer; install it with "
                               "pip install dicom-anonymizer.") from None
    import pydicom

    _, skipped = scan(paths)
    unreadable = [path for path in paths if path in skipped and not skipped[path].startswith(COPY)]
    if unreadable:
        raise FormatError(f"{', '.join(path.name for path in unreadable)} cannot be de-identified, because they are no "
                          "DICOM images that can be read; remove them first.")
    files = {}
    for number, path in enumerate(paths, start=1):
        dataset = pydicom.dcmread(path, force=True)
        if str(dataset.get("BurnedInAnnotation") or "").upper() == "YES":
            raise UnsupportedError(f"{path.name} has annotations burned into its image, which cannot be removed here; "
                                   "remove them first.")
        if has_overlay_in_pixels(dataset):
            raise UnsupportedError(f"{path.name} has an overlay in the unused bits of its image, which cannot be "
                                   "removed here; remove it first.")
        dataset.preamble = bytes(128)  # anything may stand there
        _clean(dataset, anonymize_dataset)
        dataset.PatientIdentityRemoved, dataset.DeidentificationMethod = "YES", _METHOD[:64]
        if getattr(dataset, "file_meta", None) is not None:
            for tag in set(dataset.file_meta.keys()) - _KEPT_OF_FILE:
                del dataset.file_meta[tag]
            if "SOPInstanceUID" in dataset:
                dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        name = f"{number:0{max(4, len(str(len(paths))))}}.dcm"
        dataset.save_as(folder / name)
        files[name] = folder / name
    return files


def _clean(dataset, anonymize) -> None:
    anonymize(dataset, delete_private_tags=True)
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _clean(item, anonymize)
