"""The command line: `medcompress compress | decompress | info | verify | export | demo`.

Everything it does is done by the library; here are only arguments, what is printed, and exit codes. Results go to
standard output; errors (one line, but for a list of series), warnings and the progress bar to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .facts_text import HIDDEN, archive_rows, proven_text, show, volume_rows
from .terminal import complain, progress_callback, shape_text, size_text, stretches_text, terminate_like_interrupt, warn

if TYPE_CHECKING:
    from .lazy import LazyVolume
    from .quality import Quality
    from .roi import RegionOfInterest

DONE, FAILED, USAGE, CANCELLED = 0, 1, 2, 130

_EPILOG = """\
exit codes: 0 done; 1 the input is bad or something could not be read or written, standard error has one line that says
what; 2 wrong usage; 130 cancelled by Ctrl-C or a terminate signal, with no partial file left behind.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code.

    Parameters
    ----------
    arguments : list of str, optional
        Without the program's name; by default those of the process.
    """
    options = _parser().parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's metadata may hold what the terminal cannot show
    from .errors import Cancelled, MedCompressError
    try:
        with terminate_like_interrupt(), warnings.catch_warnings():
            warnings.showwarning = warn
            code = options.run(options)
        sys.stdout.flush()
        return code
    except (KeyboardInterrupt, Cancelled):
        complain("cancelled")
        return CANCELLED
    except BrokenPipeError:
        # Nobody reads any more. What is still buffered has nowhere to go when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (MedCompressError, OSError) as error:
        complain(str(error))
    except MemoryError:
        complain("there is not enough memory for this volume; use fewer threads, or decompress some --slices of it")
    return FAILED


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    from . import __version__
    from .codecs import codec_ids

    parser = argparse.ArgumentParser(
        prog="medcompress", epilog=_EPILOG,
        description="Store medical volumes in far less space, and bring them back exactly.")
    parser.add_argument("--version", action="version", version=f"medcompress {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    compress = commands.add_parser("compress", help="compress an image file or a DICOM folder into an .mcz file",
                                   description="Compress a volume into an .mcz file, which is decoded again and "
                                               "compared before it takes its name. Of DICOM every file is kept, byte "
                                               "for byte.")
    compress.add_argument("input", type=_path, metavar="INPUT",
                          help="NRRD, NHDR, NIfTI, MHA or MHD file, folder with DICOM files, or .mcz file")
    compress.add_argument("output", type=_path, metavar="OUTPUT", nargs="?",
                          help="the file to write; by default beside INPUT, its name ending in .mcz")
    compress.add_argument("--codec", choices=["auto", *codec_ids()], default="auto",
                          help="auto (default): runs for label maps, wavelet for everything else")
    compress.add_argument("--preset", help="one of the codec's presets; a wrong one lists them")
    loss = compress.add_mutually_exclusive_group()
    loss.add_argument("--max-error", type=int, default=0, metavar="N",
                      help="let voxels be off by up to N stored units, proven by decoding (default 0: lossless)")
    loss.add_argument("--target-ratio", type=float, metavar="R",
                      help="lose as much as makes the file R times smaller than the voxels")
    loss.add_argument("--target-bpv", type=float, metavar="B", help="the same, down to B bits per voxel")
    loss.add_argument("--target-psnr", type=float, metavar="DB",
                      help="lose as much as leaves a peak signal-to-noise ratio of DB; the peak is the volume's range")
    loss.add_argument("--background", type=int, metavar="V",
                      help="with --roi: all voxels around the regions become V, in stored units")
    compress.add_argument("--roi", type=_path, metavar="LABELS",
                          help="label map on the volume's grid: what has a label comes back exactly, and one of the "
                               "options above is for the rest. A file of the codec progressive begins with its slabs")
    compress.add_argument("--margin", type=float, default=0.0, metavar="MM",
                          help="by how much the regions of --roi grow")
    compress.add_argument("--model", type=_path, metavar="FILE",
                          help="start from this model, made by `medcompress train`, instead of the one that comes with "
                               "the codec neural")
    compress.add_argument("--series", metavar="UID", help="only this series of a DICOM folder")
    compress.add_argument("--volume-only", action="store_true",
                          help="of DICOM, store only the volume of one series, not every byte of all files")
    compress.add_argument("--refuse-others", action="store_true",
                          help="refuse a DICOM folder with files that are no images that can be read; by default they "
                               "are kept byte for byte too")
    compress.add_argument("--deidentify", action="store_true",
                          help="archive copies of DICOM files without what identifies the patient (DICOM PS3.15 basic "
                               "profile; what is burned into the pixels stays); needs dicom-anonymizer")
    _add_common(compress, _compress, writes=True)

    decompress = commands.add_parser("decompress", help="restore an image file or DICOM files from an .mcz file",
                                     description="Restore the volume of an .mcz file, or the DICOM files in it.")
    decompress.add_argument("input", type=_path, metavar="INPUT", help=".mcz file")
    decompress.add_argument("output", type=_path, metavar="OUTPUT",
                            help="the file to write; its ending chooses the format (.nrrd, .nii.gz, .mha, ...). For "
                                 "DICOM files, the folder")
    decompress.add_argument("--series", metavar="UID", help="which series is the volume, if there are several")
    decompress.add_argument("--slices", type=_slices, metavar="FIRST:END",
                            help="only these slices, counted from 0, END not included, as in 16:32, :8 or -8:")
    decompress.add_argument("--reduction", type=int, metavar="R",
                            help="a preview: rows and columns at 1 / 2^R of their number (codec progressive)")
    decompress.add_argument("--budget", type=_budget, metavar="N[%%]",
                            help="a preview from at most so many bytes, or so much of the file; INPUT may then be cut "
                                 "off (codec progressive)")
    _add_common(decompress, _decompress, writes=True)

    info = commands.add_parser("info", help="show what an .mcz file holds",
                               description="Show what an .mcz file holds, without decoding it.")
    info.add_argument("input", type=_path, metavar="INPUT", help=".mcz file")
    info.add_argument("--json", action="store_true", help="print everything as JSON")
    info.add_argument("--phi", action="store_true",
                      help="show metadata, names of files and UIDs too, which may identify the patient")
    info.set_defaults(run=_info)

    verify = commands.add_parser("verify", help="check every checksum of an .mcz file and decode everything",
                                 description="Check every checksum of an .mcz file and decode everything. The exit "
                                             "code is 1 when anything is wrong.")
    verify.add_argument("input", type=_path, metavar="INPUT", help=".mcz file")
    verify.add_argument("--json", action="store_true", help="print the report as JSON")
    _add_common(verify, _verify, writes=False)

    train = commands.add_parser("train", help="train a model of the codec neural on scans of one's own",
                                description="Train a model on some slices of each scan and say what it gains on "
                                            "others; `compress --model` uses it.")
    train.add_argument("output", type=_path, metavar="OUT.mcmodel", help="the model file to write")
    train.add_argument("scans", type=_path, metavar="SCAN", nargs="+",
                       help="NRRD, NHDR, NIfTI, MHA or MHD file, folder with one DICOM series, or .mcz file")
    train.add_argument("--preset", default="default", help="the preset the model is for (default: default)")
    train.add_argument("--steps", type=int, default=6000, metavar="N", help="at most so many steps (default 6000)")
    train.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed gives the same model")
    train.add_argument("--anew", action="store_true", help="start from chance, not from the shipped model")
    _add_common(train, _train, writes=True)

    selftest = commands.add_parser("selftest", help="say in one line whether this machine computes exactly",
                                   description="Decode golden streams that were written on another machine, encode "
                                               "them again, and say whether all came out the same. The exit code is 1 "
                                               "when anything did not.")
    selftest.set_defaults(run=_selftest)

    export = commands.add_parser("export", help="write a volume as standard DICOM files",
                                 description="Write a volume as a DICOM series that any PACS reads. A lossy volume "
                                             "says so in every file.")
    export.add_argument("input", type=_path, metavar="INPUT", help="image file, DICOM folder or .mcz file")
    export.add_argument("output", type=_path, metavar="FOLDER", help="where to write the files")
    export.add_argument("--syntax", choices=["explicit", "rle", "jpeg-ls", "jpeg-2000", "htj2k"], default="explicit",
                        help="transfer syntax, each lossless (default: explicit, which is not compressed)")
    export.add_argument("--source", type=_path, metavar="PATH",
                        help="folder, or .mcz archive, with the DICOM series that the volume came from; by default "
                             "INPUT if that is DICOM, else a fresh series is made")
    export.add_argument("--series", metavar="UID", help="which series is the volume, if there are several")
    export.add_argument("--modality", choices=["CT", "MR", "OT"], default="OT", help="of a fresh series (default: OT)")
    export.add_argument("--threads", type=_thread_count, metavar="N", help="by default one per processor, at most 8")
    export.add_argument("--force", action="store_true", help="replace files in FOLDER that exist")
    export.set_defaults(run=_export)

    demo = commands.add_parser("demo", help="compress and restore a scan with every codec, beside gzip NRRD",
                               description="Compress and restore a scan with every codec, and compare sizes and "
                                           "speeds with gzip NRRD as 3D Slicer writes it.")
    demo.add_argument("input", type=_path, metavar="INPUT", nargs="?",
                      help="image file, DICOM folder or .mcz file; by default a real scan that nibabel ships")
    demo.add_argument("--series", metavar="UID", help="which series of a DICOM folder that holds several")
    demo.set_defaults(run=_demo)
    return parser


def _add_common(command: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int], writes: bool) -> None:
    command.add_argument("--threads", type=_thread_count, metavar="N", help="by default one per processor, at most 8")
    if writes:
        command.add_argument("--force", action="store_true", help="replace OUTPUT if it exists")
    command.add_argument("--progress", action="store_true",
                         help="print lines like 'progress 0.42' on standard output, for other programs to read")
    command.set_defaults(run=run)


def _demo(options: argparse.Namespace) -> int:
    from . import demo

    return DONE if demo.run(options.input, options.series) else FAILED


def _train(options: argparse.Namespace) -> int:
    from . import api
    from .training import train

    _check_output(options.output, options.force)
    with progress_callback(options.progress) as progress:
        report = train(options.output, [api.read(scan) for scan in options.scans], options.preset, options.steps,
                       options.seed, options.anew, options.force, progress)
    print(f"{options.output}: {report.after:.4f} bits per voxel on slices held back, {report.before:.4f} with the "
          f"shipped model: {report.gain_percent:.2f} % smaller after {report.steps} steps on {report.samples} voxels.")
    return DONE


def _compress(options: argparse.Namespace) -> int:
    from . import api
    from .errors import UnsupportedError
    from .image_files import is_image_file

    output = options.output or _default_output(options.input)
    _check_output(output, options.force)
    if is_image_file(output):
        raise UnsupportedError(f"{output} is named like an image file, which `decompress` writes; give it the ending "
                               f"{api.SUFFIX}.")
    quality = _quality(options)
    if options.margin and not options.roi:
        raise UnsupportedError("A margin is for regions of interest; give them with --roi.")
    if not options.volume_only and api.is_dicom(options.input):
        if quality is not None or options.roi or options.model:
            raise UnsupportedError("An archive of DICOM files is lossless and takes no model; add --volume-only to "
                                   "store the volume alone.")
        return _pack(options, output)
    if options.deidentify or options.refuse_others:
        raise UnsupportedError("--deidentify and --refuse-others are for archives of DICOM files; without an archive, "
                               "the identity of the patient stays in the metadata.")
    with progress_callback(options.progress) as report, _open(options) as volume:
        api.write(output, volume, options.codec, options.preset, report, options.threads, options.force,
                  quality=quality, roi=_regions(options, quality, volume), model=options.model)
    facts = api.info(output)
    print(f"{output}: {size_text(facts['voxel_bytes'])} of voxels in {size_text(facts['file_bytes'])}, "
          f"ratio {facts['ratio']:.2f}, {facts['bits_per_voxel']:.3f} bits per voxel; {proven_text(facts['quality'])}.")
    return DONE


def _quality(options: argparse.Namespace) -> Quality | None:
    from . import quality

    for asked, kind in ((options.target_ratio, quality.TargetRatio), (options.target_bpv, quality.TargetBitrate),
                        (options.target_psnr, quality.TargetPSNR), (options.background, quality.ConstantBackground)):
        if asked is not None:
            return kind(asked)
    bound = quality.NearLossless(options.max_error)
    return bound if bound.max_error else None


def _regions(options: argparse.Namespace, quality: Quality | None, volume: LazyVolume) -> RegionOfInterest | None:
    if options.roi is None:
        return None
    from . import api
    from .codecs import has_previews
    from .errors import UnsupportedError
    from .roi import RegionOfInterest

    if quality is None and not has_previews(options.codec):
        raise UnsupportedError("With --roi, say what becomes of the rest: --max-error, a target or --background; or "
                               "use --codec progressive, whose files begin with the regions.")
    labels = api.read(options.roi)
    regions = RegionOfInterest(labels.voxels, margin=options.margin)
    k, j, i = labels.shape
    apart = abs(labels.ijk_to_ras - volume.ijk_to_ras) @ [i, j, k, 1]         # at most, of any two voxels, in mm
    if apart.max() > 0.1 * min(volume.spacing):
        raise UnsupportedError(f"The labels in {options.roi} lie elsewhere than the volume; resample them to its grid.")
    return regions


def _pack(options: argparse.Namespace, output: Path) -> int:
    from . import api

    with progress_callback(options.progress) as report:
        api.pack(options.input, output, options.codec, options.preset, options.series,
                 "refuse" if options.refuse_others else "keep", options.deidentify, report, options.threads,
                 options.force)
    facts = api.info(output)
    others = f" ({facts['files_without_image']} without an image)" if facts["files_without_image"] else ""
    print(f"{output}: {facts['files']} files{others} of {size_text(facts['files_bytes'])} in "
          f"{size_text(facts['file_bytes'])}, ratio {facts['ratio']:.2f}; restored again and identical byte for byte.")
    return DONE


def _open(options: argparse.Namespace) -> LazyVolume:
    from . import api

    return _series_chosen(options, lambda: api.open(options.input, options.series, options.threads))


def _series_chosen(options: argparse.Namespace, read: Callable) -> Any:
    """What `read` returns; where it finds several series, the list of them and how to choose one."""
    from .errors import SeveralSeriesError, UnsupportedError

    try:
        return read()
    except SeveralSeriesError as error:
        listing = "\n".join(f"  {series}" for series in error.series)
        raise UnsupportedError(f"There are {len(error.series)} series in {options.input}; choose one with --series "
                               f"UID:\n{listing}") from error


def _decompress(options: argparse.Namespace) -> int:
    from . import api
    from .errors import MedCompressError
    from .image_files import SUFFIXES, is_image_file

    if options.reduction is not None or options.budget is not None:
        return _preview(options)
    archive = api.info(options.input).get("kind") == "archive"  # which says so if it is not an .mcz file
    if not is_image_file(options.output):
        if archive and options.slices is None and options.series is None:
            return _unpack(options)
        raise MedCompressError(f"{options.output} is not named like an image file; use one of {', '.join(SUFFIXES)}.")
    _check_output(options.output, options.force)
    with progress_callback(options.progress) as report:
        if options.slices is None:
            with _open(options) as volume:
                api.write(options.output, volume, progress=report, threads=options.threads, overwrite=options.force)
        else:
            volume = _series_chosen(options, lambda: api.decompress(
                options.input, options.slices, options.threads, report, series_uid=options.series))
            api.write(options.output, volume, threads=options.threads, overwrite=options.force)
    print(f"{options.output}: {shape_text(volume.shape)} voxels of {volume.dtype}.")
    return DONE


def _preview(options: argparse.Namespace) -> int:
    from . import api
    from .errors import UnsupportedError
    from .partial import MARK

    if options.slices is not None or options.series is not None:
        raise UnsupportedError("A preview is of a whole volume; leave out --slices and --series.")
    _check_output(options.output, options.force)
    with progress_callback(options.progress) as report:
        volume = api.preview(options.input, options.reduction or 0, options.budget, options.threads, report)
    mark = volume.metadata.get(MARK)
    api.write(options.output, volume, threads=options.threads, overwrite=options.force)
    what = "exact" if mark is None else f"PREVIEW from {mark['bytes']} of {mark['file_bytes']} bytes"
    if mark and mark["exact_slices"]:
        what += f"; exact slices: {stretches_text(mark['exact_slices'])}"
    print(f"{options.output}: {shape_text(volume.shape)} voxels of {volume.dtype}, {what}.")
    return DONE


def _unpack(options: argparse.Namespace) -> int:
    from . import api

    with progress_callback(options.progress) as report:
        names = api.unpack(options.input, options.output, report, options.threads, options.force)
    print(f"{options.output}: {len(names)} files, identical to those that were archived.")
    return DONE


def _export(options: argparse.Namespace) -> int:
    from .dicom_export import export_file

    names, loss = export_file(options.input, options.output, options.syntax, options.source, options.series,
                              options.modality, options.force, options.threads)
    quality = f"LOSSY: {loss.description}" if loss else "lossless."
    print(f"{options.output}: {len(names)} files, {options.syntax}, {quality}")
    return DONE


def _info(options: argparse.Namespace) -> int:
    from . import api

    facts = api.info(options.input, options.phi)
    if "metadata" in facts and not options.phi:
        facts["metadata"] = dict.fromkeys(facts["metadata"], HIDDEN)
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        show(options.input, archive_rows(facts) if facts.get("kind") == "archive" else volume_rows(facts))
    return DONE


def _verify(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from . import api

    with progress_callback(options.progress) as report:
        found = api.verify(options.input, options.threads, report)
    if options.json:
        print(json.dumps({"ok": found.ok, **asdict(found)}, indent=2))
    elif found.ok:
        print(f"{options.input}: whole; {found.slabs} slabs decoded, SHA-256 of what is in it {found.voxel_sha256}.")
    else:
        for problem in found.problems:
            print(f"{options.input}: {problem}")
    return DONE if found.ok else FAILED


def _selftest(options: argparse.Namespace) -> int:
    from .selftest import self_test

    report = self_test()
    print(report)
    return DONE if report.ok else FAILED


def _check_output(path: Path, force: bool) -> None:
    """Say now what would fail only after the work."""
    from .errors import MedCompressError

    if not path.parent.is_dir():
        raise MedCompressError(f"There is no folder {path.parent}; create it first.")
    if path.exists() and not force:
        raise MedCompressError(f"{path} exists; choose another name or use --force.")


def _default_output(path: Path) -> Path:
    from .image_files import SUFFIXES

    path = path.resolve() if path.name in ("", "..") else path
    suffix = next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")
    return path.with_name(path.name[:len(path.name) - len(suffix)] + ".mcz")


def _slices(text: str) -> slice:
    first, colon, end = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return slice(int(first) if first else None, int(end) if end else None)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 16:32") from None


def _budget(text: str) -> int | float:
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of bytes nor like 2%") from None


def _thread_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
