"""Volumes as standard DICOM files that any archive (PACS) takes.

    files       any file or folder to such files
    export      a volume to a folder of files: after a source series, or a fresh one
    syntaxes    transfer syntaxes and their encoders        loss     what a lossy result must say of itself
                                                            fresh    data sets for a volume that was never DICOM
"""

from .export import export_series
from .files import export_file
from .loss import Loss
from .syntaxes import SYNTAXES

__all__ = ["SYNTAXES", "Loss", "export_file", "export_series"]
