"""The NIfTI-1 and NIfTI-2 headers field by field, and the quaternion form of their matrix."""

from __future__ import annotations

import math

import numpy as np

_VERSION_1 = [
    ("sizeof_hdr", "i4"), ("data_type", "S10"), ("db_name", "S18"), ("extents", "i4"), ("session_error", "i2"),
    ("regular", "S1"), ("dim_info", "u1"), ("dim", "i2", 8), ("intent_p1", "f4"), ("intent_p2", "f4"),
    ("intent_p3", "f4"), ("intent_code", "i2"), ("datatype", "i2"), ("bitpix", "i2"), ("slice_start", "i2"),
    ("pixdim", "f4", 8), ("vox_offset", "f4"), ("scl_slope", "f4"), ("scl_inter", "f4"), ("slice_end", "i2"),
    ("slice_code", "u1"), ("xyzt_units", "u1"), ("cal_max", "f4"), ("cal_min", "f4"), ("slice_duration", "f4"),
    ("toffset", "f4"), ("glmax", "i4"), ("glmin", "i4"), ("descrip", "S80"), ("aux_file", "S24"), ("qform_code", "i2"),
    ("sform_code", "i2"), ("quatern_b", "f4"), ("quatern_c", "f4"), ("quatern_d", "f4"), ("qoffset_x", "f4"),
    ("qoffset_y", "f4"), ("qoffset_z", "f4"), ("srow_x", "f4", 4), ("srow_y", "f4", 4), ("srow_z", "f4", 4),
    ("intent_name", "S16"), ("magic", "S4"),
]
_VERSION_2 = [
    ("sizeof_hdr", "i4"), ("magic", "S8"), ("datatype", "i2"), ("bitpix", "i2"), ("dim", "i8", 8), ("intent_p1", "f8"),
    ("intent_p2", "f8"), ("intent_p3", "f8"), ("pixdim", "f8", 8), ("vox_offset", "i8"), ("scl_slope", "f8"),
    ("scl_inter", "f8"), ("cal_max", "f8"), ("cal_min", "f8"), ("slice_duration", "f8"), ("toffset", "f8"),
    ("slice_start", "i8"), ("slice_end", "i8"), ("descrip", "S80"), ("aux_file", "S24"), ("qform_code", "i4"),
    ("sform_code", "i4"), ("quatern_b", "f8"), ("quatern_c", "f8"), ("quatern_d", "f8"), ("qoffset_x", "f8"),
    ("qoffset_y", "f8"), ("qoffset_z", "f8"), ("srow_x", "f8", 4), ("srow_y", "f8", 4), ("srow_z", "f8", 4),
    ("slice_code", "i4"), ("xyzt_units", "i4"), ("intent_code", "i4"), ("intent_name", "S16"), ("dim_info", "u1"),
    ("unused_str", "S15"),
]
HEADERS = {1: np.dtype(_VERSION_1), 2: np.dtype(_VERSION_2)}

DATATYPES = {2: "uint8", 4: "int16", 8: "int32", 16: "float32", 64: "float64", 256: "int8", 512: "uint16",
             768: "uint32", 1024: "int64", 1280: "uint64"}
RGB_CODES = {128: 3, 2304: 4}

_TEXTS = ("descrip", "aux_file", "intent_name")
_NUMBERS = ("dim_info", "intent_code", "intent_p1", "intent_p2", "intent_p3", "slice_start", "slice_end", "slice_code",
            "slice_duration", "cal_max", "cal_min")
_CODES = ("sform_code", "qform_code")
_ORTHOGONAL = 1e-5


def code_of(dtype: np.dtype, colors: int) -> int:
    """NIfTI's code of a sample type, or of 8-bit colours when `colors` is 3 or 4."""
    table = {name: code for code, name in DATATYPES.items()} | {colors_: code for code, colors_ in RGB_CODES.items()}
    return table[colors] if colors > 1 else table[dtype.name]


def kept_fields(header: np.ndarray) -> dict:
    """Fields that a `Volume` has no place for, as plain JSON; empty and zero ones are left out."""
    kept = {name: bytes(header[name]).split(b"\0")[0].decode("latin-1") for name in _TEXTS}
    kept |= {name: header[name].item() for name in (*_NUMBERS, *_CODES)}
    return {name: value for name, value in kept.items()
            if value and not (isinstance(value, float) and not math.isfinite(value))}


def restore_fields(header: np.ndarray, kept: dict) -> None:
    """Put back what `kept_fields` took, as far as it fits."""
    for name in _TEXTS:
        if isinstance(kept.get(name), str):
            header[name] = kept[name].encode("latin-1", "replace")
    for name in _NUMBERS:
        value = kept.get(name)
        if type(value) in (int, float):
            try:
                header[name] = value
            except (OverflowError, ValueError):
                continue  # metadata that was not made by `kept_fields`


def affine_of_qform(header: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """The 4 x 4 matrix of the quaternion fields ("method 2" of the specification), in float64."""
    b, c, d = (float(header[f"quatern_{letter}"]) for letter in "bcd")
    a = 1.0 - (b * b + c * c + d * d)
    if a < 1e-7:  # a half turn, up to the rounding of 32-bit floats
        length = math.sqrt(b * b + c * c + d * d)
        a, b, c, d = 0.0, b / length, c / length, d / length
    else:
        a = math.sqrt(a)
    rotation = np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c]])
    matrix = np.eye(4)
    handedness = -1.0 if header["pixdim"][0] < 0 else 1.0
    matrix[:3, :3] = rotation * (spacing * [1.0, 1.0, handedness])
    matrix[:3, 3] = [header[f"qoffset_{axis}"] for axis in "xyz"]
    return matrix


def qform_of(matrix: np.ndarray) -> tuple[float, tuple[float, float, float]] | None:
    """Handedness (1 or -1) and quaternion (b, c, d) of a matrix, or None for a sheared one, which has no such form."""
    rotation = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > _ORTHOGONAL:
        return None
    handedness = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    rotation = rotation * [1.0, 1.0, handedness]
    # The eigenvector of the largest eigenvalue of this symmetric matrix is the quaternion (Bar-Itzhack 2000).
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    symmetric = np.array([[xx + yy + zz, zy - yz, xz - zx, yx - xy],
                          [zy - yz, xx - yy - zz, xy + yx, xz + zx],
                          [xz - zx, xy + yx, yy - xx - zz, yz + zy],
                          [yx - xy, xz + zx, yz + zy, zz - xx - yy]])
    a, b, c, d = np.linalg.eigh(symmetric)[1][:, -1]
    sign = -1.0 if a < 0 else 1.0
    return handedness, (sign * b, sign * c, sign * d)
