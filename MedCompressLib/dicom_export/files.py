"""Files of any kind to DICOM series: finds the source and the loss by itself."""

from __future__ import annotations

import os
from contextlib import ExitStack

from .. import api
from ..dicom_archive import Archive
from ..slabs import default_threads
from .export import export_series
from .loss import Loss


def export_file(path: str | os.PathLike, folder: str | os.PathLike, syntax: str = "explicit",
                source: str | os.PathLike | None = None, series_uid: str | None = None, modality: str = "OT",
                overwrite: bool = False, threads: int | None = None) -> tuple[list[str], Loss | None]:
    """Write the volume of a file, or of a DICOM folder, as a DICOM series.

    Parameters
    ----------
    path : str or path
        Anything that `api.read` reads. The loss of a lossy `.mcz` file is told in every image.
    folder, syntax, modality, overwrite
        As in `export_series`.
    source : str or path, optional
        Folder, file or archive with the DICOM series that the volume came from; by default `path` if that is DICOM or
        an archive, else a fresh series is made.
    series_uid : str, optional
        Which series is the volume, where `path` has several.
    threads : int, optional

    Returns
    -------
    names : list of str
    loss : Loss or None
    """
    volume = api.read(path, series_uid, threads)
    facts = api.info(path) if api.kind(path) == api.SUFFIX else {}
    loss = Loss.of(facts["quality"], facts["ratio"]) if facts else None
    source = path if source is None else source
    with ExitStack() as stack:
        if api.kind(source) == api.ARCHIVE:
            file = stack.enter_context(open(source, "rb"))
            files = Archive(file, threads or default_threads()).files
        else:
            files = source if api.kind(source) == "DICOM" else None
        return export_series(volume, folder, syntax, files, loss, modality, overwrite=overwrite), loss
