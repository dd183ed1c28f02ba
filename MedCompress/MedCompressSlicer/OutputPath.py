"""The file that a user names in the panel."""

from pathlib import Path

from slicer.i18n import tr as _

from MedCompressLib.api import SUFFIX

MODEL_SUFFIX = ".mcmodel"


def outputPath(text, suffix=SUFFIX) -> Path | None:
    """The file that is meant, with its extension; None if nothing was entered."""
    text = text.strip()
    if not text:
        return None
    path = Path(text).expanduser()
    return path if path.is_dir() or path.suffix.lower() == suffix else path.with_name(path.name + suffix)


def pathRefusal(path) -> str:
    """Why nothing can be written there: one sentence, empty if it can.

    :param path: result of `outputPath`.
    """
    if path is None:
        return ""
    if not path.is_absolute():
        return _("{path} is not a full path; choose the file with the button beside it.").format(path=path)
    if path.is_dir():
        return _("{path} is a folder; enter the name of a file in it.").format(path=path)
    if not path.parent.is_dir():
        return _("The folder {path} does not exist; create it or choose another.").format(path=path.parent)
    return ""
