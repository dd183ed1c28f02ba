"""Writing a file so that its name always stands for a whole one: the old or the new."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import BinaryIO

from .errors import MedCompressError


@contextmanager
def replacing(path: str | os.PathLike, overwrite: bool) -> Iterator[BinaryIO]:
    """A new binary file, open for reading and writing, that takes the place of `path` when the block ends well.

    Until then it lies in the same folder under a temporary name (`.medcompress-*.part`); when the block raises it is
    removed and `path` is as it was. The new file reaches the disk before the old one goes, keeps its permissions, and
    is written where a symbolic link points to.

    Raises
    ------
    MedCompressError
        There is such a file and `overwrite` is false, the folder is missing, or the file cannot be written (no
        permission, a full disk).
    """
    target = _target(path, overwrite)
    temporary = _temporary(target.parent)
    try:
        with _explained(path):
            file = open(temporary, "x+b")
        try:
            yield file
            with _explained(path):
                file.close()
        except BaseException:
            with suppress(OSError):  # what could not be written before cannot be flushed now
                file.close()
            raise
        _check_absent(target, overwrite)  # it may have come into being meanwhile
        with _explained(path):
            _take_place(temporary, target)
    finally:
        with suppress(OSError):  # gone when all went well
            temporary.unlink()


@contextmanager
def replacing_together(paths: list[Path], overwrite: bool) -> Iterator[Path]:
    """A new folder for files of these names, which take the places of `paths` when the block ends well, the last first.

    Each of them as in `replacing`, wherever its link leads.
    """
    targets = [_target(path, overwrite) for path in paths]
    temporary = _temporary(targets[0].parent)
    try:
        with _explained(paths[0]):
            temporary.mkdir(0o700)
            yield temporary
            for target in targets:
                _check_absent(target, overwrite)
            for path, target in zip(reversed(paths), reversed(targets), strict=True):
                _move(temporary / path.name, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def replacing_files(folder: str | os.PathLike, names: list[str], overwrite: bool) -> Iterator[Path]:
    """A new folder for files of these names, which get into `folder` when the block ends well.

    Until then it lies under a temporary name: in `folder`, or beside it if there is none yet. When the block raises, or
    a file cannot get to its place, it is removed and `folder` is as it was.

    Parameters
    ----------
    folder : str or path
    names : list of str
        With subfolders, parts divided by "/".
    overwrite : bool
        Whether files of these names may be replaced; others stay as they are in any case.

    Raises
    ------
    MedCompressError
        There is such a file and `overwrite` is false, something other than a file has its name, or the folder cannot be
        written.
    """
    target = Path(os.path.realpath(folder))
    if target.exists() and not target.is_dir():
        raise MedCompressError(f"{folder} is a file; give the name of a folder.")
    if not target.parent.is_dir():
        raise MedCompressError(f"There is no folder {target.parent}; create it first.")
    _check_free(target, names, overwrite)
    # A folder that is there stays, because it may be where somebody works, or a file system of its own.
    temporary = _temporary(target if target.exists() else target.parent)
    try:
        with _explained(folder):
            for new in (temporary, *_folders(temporary, names)):
                new.mkdir()
            yield temporary
            _check_free(target, names, overwrite)  # they may have come into being meanwhile
            if target.exists():
                _move_all(temporary, target, names)
            else:
                os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_free(target: Path, names: list[str], overwrite: bool) -> None:
    """Raise MedCompressError where files of these names would take the place of something that has to stay."""
    for place in (target / name for name in names):
        if os.path.lexists(place) and not overwrite:
            raise MedCompressError(f"{place} exists; choose another folder or allow overwriting.")
        if os.path.exists(place) and not os.path.isfile(place):
            raise MedCompressError(f"{place} is no file that could be replaced; choose another folder.")
    for folder in _folders(target, names):
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise MedCompressError(f"{folder} is no folder, but one of this name is needed; choose another folder.")


def _folders(target: Path, names: list[str]) -> list[Path]:
    """The folders in `target` that files of these names lie in, outer ones first."""
    relative = {folder for name in names for folder in PurePath(name).parents} - {PurePath()}
    return [target / folder for folder in sorted(relative)]


def _move_all(temporary: Path, target: Path, names: list[str]) -> None:
    """Move all files or none: those that they replace are kept until the last one has its place."""
    old = temporary.with_suffix(".old")
    made = [folder for folder in _folders(target, names) if not folder.exists()]
    begun = []
    try:
        for folder in (old, *_folders(old, names), *made):
            folder.mkdir()
        for name in names:
            begun.append(name)
            if os.path.lexists(target / name):
                os.replace(target / name, old / name)
            os.replace(temporary / name, target / name)
    except BaseException:
        for name in begun:
            if os.path.lexists(old / name):
                os.replace(old / name, target / name)
            elif not os.path.lexists(temporary / name):
                (target / name).unlink()
        for folder in reversed(made):
            with suppress(OSError):  # it was not made yet
                folder.rmdir()
        shutil.rmtree(old, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _explained(path: str | os.PathLike) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MedCompressError(f"{path} cannot be written: {error.strerror or error}.") from error


def _target(path: str | os.PathLike, overwrite: bool) -> Path:
    """Where a file of that name goes, if one may."""
    target = Path(os.path.realpath(path))
    if os.path.isdir(target):
        raise MedCompressError(f"{path} is a folder; give the name of a file.")
    if not os.path.isdir(target.parent):
        raise MedCompressError(f"There is no folder {target.parent}; create it first.")
    if os.path.exists(target) and not os.path.isfile(target):  # a device, a pipe or the like
        raise MedCompressError(f"{target} is not a regular file; give the name of a file.")
    _check_absent(target, overwrite)
    return target


def _temporary(folder: Path) -> Path:
    return folder / f".medcompress-{secrets.token_hex(8)}.part"


def _move(new: Path, target: Path) -> None:
    """Like `_take_place`, also where a link has led to another disk."""
    beside = _temporary(target.parent)
    try:
        shutil.move(new, beside)
        _take_place(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def _take_place(new: Path, target: Path) -> None:
    """Give a file, once it is on the disk, the name of an old one beside it, and its permissions."""
    with open(new, "r+b") as file:
        os.fsync(file.fileno())
    if os.path.exists(target):
        shutil.copymode(target, new)
    os.replace(new, target)
    _sync_folder(target.parent)


def _check_absent(target: Path, overwrite: bool) -> None:
    if os.path.exists(target) and not overwrite:
        raise MedCompressError(f"{target} exists; choose another name or allow overwriting.")


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk where the system can (Windows cannot open a folder)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
