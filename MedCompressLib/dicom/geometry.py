"""From the positions of single images to the order of slices and one matrix, or to the reason why there is none."""

from __future__ import annotations

import numpy as np

from ..errors import UnsupportedError
from ..volume import SequenceAxis, is_invertible
from .frames import FRAME_INDICES, Frame

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SAME_DIRECTION = 1e-3
_SAME_POSITION = 1e-3  # mm
# Scanners round positions; what is beyond this (mm, and part of the slice distance) is not rounding.
_TOLERANCE = 0.01
_WHAT_TO_DO = "put the images that belong together into a folder of their own"


def same_geometry(matrix: np.ndarray, other: np.ndarray) -> bool:
    """Whether two IJK-to-RAS matrices are the same but for what the rounding of numbers in headers makes of them."""
    return np.allclose(matrix, other, rtol=0, atol=_SAME_POSITION)


def arrange(frames: list[Frame]) -> tuple[list[int], SequenceAxis | None]:
    """Order of the images: by position along the slice normal, after time if each position has several.

    Returns
    -------
    order : list of int
        Into `frames`.
    sequence : SequenceAxis or None
        What the frames of a sequence stand for.

    Raises
    ------
    UnsupportedError
        The images do not make a volume or a sequence of volumes.
    """
    _check_same(frames)
    axes = frames[0].orientation
    normal = np.cross(axes[0], axes[1])
    if not normal.any() or not is_invertible(np.column_stack([*axes, normal])):
        raise UnsupportedError("The rows and the columns of the images have the same direction.")
    normal /= np.linalg.norm(normal)
    distances = np.array([frame.position @ normal for frame in frames])
    by_distance = np.argsort(distances, kind="stable")
    starts = np.flatnonzero(np.diff(distances[by_distance], prepend=-np.inf) > _SAME_POSITION)
    stacks = np.split(by_distance, starts[1:])
    sizes = {len(stack) for stack in stacks}
    if sizes == {1}:
        return by_distance.tolist(), None
    if len(stacks) == 1:
        raise UnsupportedError(f"All {len(frames)} images are at the same position: this is one slice at several "
                               "times, not a volume.")
    if len(sizes) > 1:
        raise UnsupportedError(f"Some positions have {min(sizes)} images and others {max(sizes)}, so this is neither a "
                               f"volume nor a sequence of volumes; {_WHAT_TO_DO}.")
    return _sequence(frames, [stack.tolist() for stack in stacks])


def matrix_of(frames: list[Frame], repeats: int) -> tuple[np.ndarray, float]:
    """IJK to RAS of ordered images, `repeats` volumes one after the other, and the largest deviation of a slice in mm.

    The third column is the mean step from slice to slice, so a tilted gantry makes the matrix sheared.

    Raises
    ------
    UnsupportedError
        The slices are not evenly spaced.
    """
    count = len(frames) // repeats
    positions = np.array([frame.position for frame in frames[:count]])
    row, column = frames[0].orientation
    lps = np.eye(4)
    lps[:3, 0] = row * frames[0].spacing[0]
    lps[:3, 1] = column * frames[0].spacing[1]
    lps[:3, 3] = positions[0]
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    if count == 1:
        lps[:3, 2] = normal * frames[0].thickness
        return _LPS_TO_RAS @ lps, 0.0
    step = (positions[-1] - positions[0]) / (count - 1)
    lps[:3, 2] = step
    expected = positions[0] + np.arange(count)[:, np.newaxis] * step
    all_positions = np.array([frame.position for frame in frames]).reshape(repeats, count, 3)
    deviation = float(np.linalg.norm(all_positions - expected, axis=2).max())
    if deviation > max(_TOLERANCE, _TOLERANCE * np.linalg.norm(step)):
        _explain_unevenness(positions @ normal)
    return _LPS_TO_RAS @ lps, deviation


def _explain_unevenness(distances: np.ndarray) -> None:
    gaps = np.diff(distances)
    least, greatest = gaps.min(), gaps.max()
    tolerance = max(_TOLERANCE, _TOLERANCE * least)
    if greatest - least <= tolerance:
        raise UnsupportedError("The slices are evenly spaced but shifted sideways against each other by different "
                               "amounts, so no matrix describes them.")
    multiples = np.rint(gaps / least)
    if np.abs(gaps - multiples * least).max() <= tolerance * multiples.max():
        missing = int(multiples.sum()) - len(gaps)
        plural = "s are" if missing > 1 else " is"
        where = int(np.argmax(multiples))
        raise UnsupportedError(f"{missing} slice{plural} missing: slices are {least:.4g} mm apart, but "
                               f"{gaps[where]:.4g} mm after slice {where + 1} of {len(distances)}; add the missing "
                               "files or resample the series to even spacing first.")
    raise UnsupportedError(f"The distance between slices varies from {least:.4g} to {greatest:.4g} mm, so no matrix "
                           "describes them; resample the series to even spacing first.")


def _check_same(frames: list[Frame]) -> None:
    """Refuse images that differ in size, direction or pixel spacing."""
    first = frames[0]
    sizes = sorted({(frame.rows, frame.columns, frame.components) for frame in frames})
    if len(sizes) > 1:
        shown = ", ".join("x".join(str(number) for number in size[:3 if size[2] > 1 else 2]) for size in sizes)
        raise UnsupportedError(f"The images differ in size ({shown}); {_WHAT_TO_DO}.")
    turned = sum(np.abs(frame.orientation - first.orientation).max() > _SAME_DIRECTION for frame in frames)
    if turned:
        raise UnsupportedError(f"The images differ in orientation ({turned} of {len(frames)} from the first); "
                               f"{_WHAT_TO_DO}.")
    if any(np.abs(frame.spacing / first.spacing - 1).max() > _SAME_DIRECTION for frame in frames):
        raise UnsupportedError(f"The images differ in pixel spacing; {_WHAT_TO_DO}.")


def _sequence(frames: list[Frame], stacks: list[list[int]]) -> tuple[list[int], SequenceAxis]:
    """Split images at the same positions into volumes, by the first index that tells all of them apart."""
    count = len(stacks[0])
    for name, index_name, unit in FRAME_INDICES:
        if not all(name in frame.indices for frame in frames):
            continue
        values = [sorted(frames[image].indices[name] for image in stack) for stack in stacks]
        if len(set(values[0])) == count and all(one == values[0] for one in values):
            ordered = [sorted(stack, key=lambda image, name=name: frames[image].indices[name]) for stack in stacks]
            texts = [repr(value).removesuffix(".0") for value in values[0]]
            return _volume_after_volume(ordered), SequenceAxis(index_name, unit, texts)
    ordered = _by_instance_number(frames, stacks)
    if ordered is None:
        raise UnsupportedError(f"Every position has {count} images and nothing in their headers tells which of them "
                               f"belong together; {_WHAT_TO_DO}.")
    return _volume_after_volume(ordered), SequenceAxis(values=[str(frame) for frame in range(count)])


def _by_instance_number(frames: list[Frame], stacks: list[list[int]]) -> list[list[int]] | None:
    """Stacks ordered by instance number, if those run volume by volume or position by position."""
    keys = [(frame.instance_number, frame.index) for frame in frames]
    if any(number is None for number, _ in keys) or len(set(keys)) < len(keys):
        return None
    stack_of = {image: place for place, stack in enumerate(stacks) for image in stack}
    running = [stack_of[image] for image in sorted(range(len(frames)), key=keys.__getitem__)]
    places, count = len(stacks), len(stacks[0])
    by_volume = all(len(set(running[start:start + places])) == places for start in range(0, len(running), places))
    by_position = all(len(set(running[start:start + count])) == 1 for start in range(0, len(running), count))
    return [sorted(stack, key=keys.__getitem__) for stack in stacks] if by_volume or by_position else None


def _volume_after_volume(stacks: list[list[int]]) -> list[int]:
    return [stack[frame] for frame in range(len(stacks[0])) for stack in stacks]
