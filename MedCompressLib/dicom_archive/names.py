"""Names of files in an archive: which an archive may have, and which Windows can write."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from ..errors import FormatError, UnsupportedError

# A part of a name that Windows takes for something else: a path, a stream, a device, a name without its end.
_NOT_ON_WINDOWS = re.compile(r'[\x01-\x1f<>:"\\|?*]|[ .]\Z|'
                             r'^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|\Z)', re.IGNORECASE)


def check_names(names: list[str]) -> None:
    """Raise FormatError where names cannot be those of files in one folder, or lead out of it."""
    folders = {str(folder) for name in names for folder in PurePosixPath(name).parents}
    for name in names:
        parts = name.split("/")
        if not all(parts) or "\0" in name or any(part in (".", "..") for part in parts) or name in folders:
            raise FormatError(f"The archive has a file with the impossible name {name!r}.")
    if len(set(names)) != len(names):
        raise FormatError("The archive has several files of one name.")


def check_names_for_windows(names: list[str]) -> None:
    """Raise UnsupportedError where Windows would write something else, or one file over another."""
    spellings: dict[str, str] = {}
    for name in names:
        parts = name.split("/")
        if any(map(_NOT_ON_WINDOWS.search, parts)):
            raise UnsupportedError(f"The archive has a file with the name {name!r}, which Windows does not allow; "
                                   "unpack it on Linux or macOS.")
        for end in range(1, len(parts) + 1):
            path = "/".join(parts[:end])
            other = spellings.setdefault(path.lower(), path)
            if other != path:
                raise UnsupportedError(f"The archive has both {other!r} and {path!r}, which Windows takes for the same "
                                       "name; unpack it on Linux.")
