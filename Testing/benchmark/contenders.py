"""What is compared: our codecs and presets, and what a user would pick instead, behind one interface.

A contender says which volumes suit it, and turns a volume into bytes and back. Codecs for 2D images get the slices,
with the least voxel subtracted (they know no negative values), and share them out to the threads; their size is the sum
of the slices without any container.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import MedCompressLib as mc
from MedCompressLib.codecs import codec_ids, get_codec


class UnsuitableError(Exception):
    """The contender cannot hold this volume; the message says why."""


class Contender(ABC):
    """One way of storing a volume without loss.

    Attributes
    ----------
    name : str
        In tables and plots.
    ours : bool
    in_process : bool
        It works in this process, so that its memory can be told.
    """

    ours = False
    in_process = True

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    @abstractmethod
    def version(self) -> str:
        """Of the software that does the work; raises ImportError or OSError where it is not installed."""

    @abstractmethod
    def prepare(self, volume: mc.Volume) -> object:
        """What `encode` gets, made without the clock running; raises UnsuitableError."""

    @abstractmethod
    def encode(self, prepared: object, threads: int) -> list[bytes]:
        """The compressed volume; its size is the sum of the parts."""

    @abstractmethod
    def decode(self, parts: list[bytes], threads: int) -> object:
        """What `restored` gets."""

    @abstractmethod
    def is_restored(self, decoded: object, prepared: object) -> bool:
        """Whether everything came back, without the clock running."""


class MedCompress(Contender):
    """One codec and preset of this library: whole files, with header, index, checksums and geometry."""

    ours = True

    def __init__(self, codec: str, preset: str, label_maps: bool) -> None:
        only = len(get_codec(codec).presets) == 1
        super().__init__(f"MedCompress {codec}" + ("" if only else f" {preset}"))
        self._codec, self._preset, self._label_maps = codec, preset, label_maps

    @property
    def version(self) -> str:
        return mc.__version__

    def prepare(self, volume: mc.Volume) -> mc.Volume:
        if is_label_map(volume) != self._label_maps and self._codec != "wavelet":
            raise UnsuitableError("it is for label maps" if self._label_maps else "it is not for label maps")
        return volume

    def encode(self, prepared: mc.Volume, threads: int) -> list[bytes]:
        return [mc.compress(prepared, self._codec, self._preset, threads=threads)]

    def decode(self, parts: list[bytes], threads: int) -> mc.Volume:
        return mc.decompress(parts[0], threads=threads)

    def is_restored(self, decoded: mc.Volume, prepared: mc.Volume) -> bool:
        return decoded.equals(prepared)


class Nrrd(Contender):
    """NRRD as ITK, and so Slicer, writes and reads it, in a temporary folder; ITK uses one thread."""

    def __init__(self, name: str, compressed: bool) -> None:
        super().__init__(name)
        self._compressed = compressed

    @property
    def version(self) -> str:
        return f"SimpleITK {importlib.metadata.version('SimpleITK')}"

    def prepare(self, volume: mc.Volume) -> np.ndarray:
        return volume.voxels

    def encode(self, prepared: np.ndarray, threads: int) -> list[bytes]:
        import SimpleITK

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "volume.nrrd"
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(prepared), str(path), useCompression=self._compressed)
            return [path.read_bytes()]

    def decode(self, parts: list[bytes], threads: int) -> np.ndarray:
        import SimpleITK

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "volume.nrrd"
            path.write_bytes(parts[0])
            return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))

    def is_restored(self, decoded: np.ndarray, prepared: np.ndarray) -> bool:
        return np.array_equal(decoded, prepared)


class WholeBytes(Contender):
    """A general compressor of imagecodecs on all bytes at once."""

    def __init__(self, name: str, codec: str, **options: object) -> None:
        super().__init__(name)
        self._codec, self._options = codec, options

    @property
    def version(self) -> str:
        return _imagecodecs_version()

    def prepare(self, volume: mc.Volume) -> np.ndarray:
        return np.ascontiguousarray(volume.as_frames())

    def encode(self, prepared: np.ndarray, threads: int) -> list[bytes]:
        import imagecodecs

        options = dict(self._options)
        if self._codec == "blosc2":
            options |= {"typesize": prepared.itemsize, "numthreads": threads}
        data = prepared.reshape(-1).view(np.uint8)
        return [getattr(imagecodecs, f"{self._codec}_encode")(data, **options)]

    def decode(self, parts: list[bytes], threads: int) -> bytes:
        import imagecodecs

        options = {"numthreads": threads} if self._codec == "blosc2" else {}
        return getattr(imagecodecs, f"{self._codec}_decode")(parts[0], **options)

    def is_restored(self, decoded: bytes, prepared: np.ndarray) -> bool:
        return decoded == prepared.tobytes()


class SliceCodec(Contender):
    """An image codec of imagecodecs, slice by slice."""

    def __init__(self, name: str, codec: str, options: dict, decode_options: dict | None = None) -> None:
        super().__init__(name)
        self._codec, self._options, self._decode_options = codec, options, decode_options or {}

    @property
    def version(self) -> str:
        return _imagecodecs_version()

    def prepare(self, volume: mc.Volume) -> np.ndarray:
        return _unsigned_slices(volume)

    def encode(self, prepared: np.ndarray, threads: int) -> list[bytes]:
        import imagecodecs

        encode = getattr(imagecodecs, f"{self._codec}_encode")
        return _on_threads(lambda part: bytes(encode(part, **self._options)), prepared, threads)

    def decode(self, parts: list[bytes], threads: int) -> list[np.ndarray]:
        import imagecodecs

        decode = getattr(imagecodecs, f"{self._codec}_decode")
        return _on_threads(lambda part: decode(part, **self._decode_options), parts, threads)

    def is_restored(self, decoded: list[np.ndarray], prepared: np.ndarray) -> bool:
        return all(np.array_equal(one, other) for one, other in zip(decoded, prepared, strict=True))


class Video(Contender):
    """A lossless video codec of ffmpeg, the slices being its frames.

    The program is the one that $FFMPEG names, the one on the path, or that of the package imageio-ffmpeg.
    """

    in_process = False

    def __init__(self, name: str, most_bits: int, options: list[str]) -> None:
        super().__init__(name)
        self._most_bits, self._options = most_bits, options

    @property
    def version(self) -> str:
        text = subprocess.run([_ffmpeg(), "-version"], capture_output=True, text=True, check=True).stdout
        return f"ffmpeg {text.split()[2]}"

    def prepare(self, volume: mc.Volume) -> tuple[np.ndarray, str]:
        slices = _unsigned_slices(volume)
        bits = max(8, int(slices.max()).bit_length())
        if bits > self._most_bits:
            raise UnsuitableError(f"it has at most {self._most_bits} bits, and this volume needs {bits}")
        bits = next(one for one in (8, 10, 12, 16) if bits <= one)
        return slices, "gray" if bits == 8 else f"gray{bits}le"

    def encode(self, prepared: tuple[np.ndarray, str], threads: int) -> list[bytes]:
        slices, pixels = prepared
        self._as_read = ["-f", "rawvideo", "-pix_fmt", pixels, "-s", f"{slices.shape[2]}x{slices.shape[1]}"]
        self._shape, self._dtype = slices.shape, slices.dtype
        return [self._run([*self._as_read, "-i", "-", *self._options, "-pix_fmt", pixels, "-f", "nut"],
                          slices.tobytes(), threads)]

    def decode(self, parts: list[bytes], threads: int) -> np.ndarray:
        data = self._run(["-i", "-", "-f", "rawvideo", "-pix_fmt", self._as_read[3]], parts[0], threads)
        return np.frombuffer(data, self._dtype).reshape(self._shape)

    def is_restored(self, decoded: np.ndarray, prepared: tuple[np.ndarray, str]) -> bool:
        return np.array_equal(decoded, prepared[0])

    @staticmethod
    def _run(arguments: list[str], data: bytes, threads: int) -> bytes:
        done = subprocess.run([_ffmpeg(), "-v", "error", "-threads", str(threads), *arguments, "-threads", str(threads),
                               "-"], input=data, capture_output=True)
        if done.returncode:
            raise UnsuitableError(f"ffmpeg says: {done.stderr.decode(errors='replace').strip()[-200:]}")
        return done.stdout


class Tomoz(Contender):
    """tomoz, the other learned codec that restores exactly."""

    @property
    def version(self) -> str:
        return f"tomoz {importlib.metadata.version('tomoz')}"

    def prepare(self, volume: mc.Volume) -> list[np.ndarray]:
        frames = volume.as_frames()
        if frames.dtype.name not in ("uint8", "int8", "uint16", "int16"):
            raise UnsuitableError(f"it does not take {frames.dtype}")
        return [np.ascontiguousarray(frame) for frame in frames]

    def encode(self, prepared: list[np.ndarray], threads: int) -> list[bytes]:
        import tomoz

        return [tomoz.encode(frame, threads=threads) for frame in prepared]

    def decode(self, parts: list[bytes], threads: int) -> list[np.ndarray]:
        import tomoz

        return [tomoz.decode(part, threads=threads) for part in parts]

    def is_restored(self, decoded: list[np.ndarray], prepared: list[np.ndarray]) -> bool:
        return all(np.array_equal(one, other) for one, other in zip(decoded, prepared, strict=True))


def all_contenders() -> list[Contender]:
    """Ours first, then from the oldest to the newest rival."""
    ours = [MedCompress(codec, preset, label_maps=codec == "runs") for codec in codec_ids(research=False)
            if codec != "raw" for preset in get_codec(codec).presets]
    jpegxl = [SliceCodec(f"JPEG XL e{effort}", "jpegxl", {"lossless": True, "effort": effort, "numthreads": 1},
                         {"numthreads": 1}) for effort in (3, 7, 9)]
    return [
        *ours,
        Nrrd("raw NRRD", compressed=False),
        Nrrd("gzip NRRD", compressed=True),
        WholeBytes("zstd 3", "zstd", level=3),
        WholeBytes("zstd 19", "zstd", level=19),
        WholeBytes("blosc2 zstd 9", "blosc2", level=9, compressor="zstd", shuffle="bitshuffle"),
        SliceCodec("JPEG-LS", "jpegls", {}),
        SliceCodec("JPEG 2000", "jpeg2k", {"reversible": True, "codecformat": "j2k", "level": 0}),
        SliceCodec("HTJ2K", "htj2k", {"reversible": True}),
        *jpegxl,
        Video("FFV1", 16, ["-c:v", "ffv1", "-level", "3", "-coder", "1", "-context", "1", "-slicecrc", "0"]),
        Video("x265 lossless", 12, ["-c:v", "libx265", "-preset", "medium", "-x265-params",
                                    "lossless=1:log-level=error"]),
        Tomoz("tomoz"),
    ]


def is_label_map(volume: mc.Volume) -> bool:
    """Whether the codec "auto" stands for takes the volume for one."""
    from MedCompressLib.encode import choose_codec

    return choose_codec(volume.as_frames()) == "runs"


def _unsigned_slices(volume: mc.Volume) -> np.ndarray:
    frames = volume.as_frames()
    low, high = frames.min(), frames.max()
    if frames.dtype.kind not in "iu" or int(high) - int(low) > 65535:
        raise UnsuitableError("it takes integers of up to 16 bits")
    kind = np.uint8 if int(high) - int(low) < 256 else np.uint16
    return (frames.astype(np.int64) - int(low)).astype(kind).reshape(-1, *frames.shape[-2:])


def _on_threads(function, items, threads: int) -> list:
    if threads == 1:
        return list(map(function, items))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def _imagecodecs_version() -> str:
    return f"imagecodecs {importlib.metadata.version('imagecodecs')}"


def _ffmpeg() -> str:
    found = os.environ.get("FFMPEG") or shutil.which("ffmpeg")
    if found is None:
        import imageio_ffmpeg

        found = imageio_ffmpeg.get_ffmpeg_exe()
    return found
