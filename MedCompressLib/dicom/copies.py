"""Which files hold the same image: a SOP Instance UID should stand for one, but not all software keeps to that."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from ..errors import MedCompressError
from .frames import damage_reported, frames_of
from .pixels import decode_file


class KnownImages:
    """Images met so far."""

    def __init__(self) -> None:
        # By UID and content; b"" stands for the content of a file that nobody had to look at yet.
        self._files: dict[str, dict[bytes, Path]] = {}

    def copy_of(self, path: Path, uid: str) -> Path | None:
        """The file met before that holds the same image; None if there is none, and this one is known from now on.

        Parameters
        ----------
        path : Path
            Or what `folder.scan` takes instead.
        uid : str
            Its SOP Instance UID; without one an image is like no other.
        """
        if not uid:
            return None
        known = self._files.setdefault(uid, {})
        if not known:
            known[b""] = path
            return None
        if b"" in known:
            first = known.pop(b"")
            known[_content(first)] = first
        found = known.setdefault(_content(path), path)
        return None if found is path else found


def _content(path: Path) -> bytes:
    """A digest of samples, their scale and place, whatever their encoding; of all bytes where those cannot be had."""
    import pydicom

    with path.open("rb") as file:
        content = file.read()
    try:
        with damage_reported(path):
            dataset = pydicom.dcmread(io.BytesIO(content), force=True)
            frames = [(frame.place, frame.slope, frame.intercept) for frame in frames_of(dataset, path)]
            samples, _ = decode_file(dataset, path)
        content = repr((frames, samples.dtype.name, samples.shape)).encode() + samples.tobytes()
    except MedCompressError:
        pass
    return hashlib.sha256(content).digest()
