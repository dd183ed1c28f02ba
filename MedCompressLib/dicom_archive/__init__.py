"""Archives: the files of DICOM series byte for byte, their images as volumes through the codecs.

    folders     folder to archive and back
    packing     files to an archive                     archive     an archive to files
          \\                                             /
           file        the bytes of an archive
           catalogue   structures and values of all files, together
           stacks      which images lie beside each other      images      bits of an image
           elements    structure and values of one file        columns     values of one element in many files
           names       which names files may have
"""

from .archive import Archive
from .folders import KEEP, REFUSE, describe, pack_folder, unpack_folder
from .packing import pack

__all__ = ["KEEP", "REFUSE", "Archive", "describe", "pack", "pack_folder", "unpack_folder"]
