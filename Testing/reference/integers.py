"""Section 1: arithmetic modulo powers of 2."""

import numpy as np


def wrapped(value: int) -> int:
    """The integer of 32 bits that is the same modulo 2^32."""
    return (value + 2**31) % 2**32 - 2**31


def magnitude(value: int) -> int:
    """|value| of 32 bits; that of -2^31 is -2^31."""
    return wrapped(abs(value))


def to_32_bits(values: np.ndarray) -> np.ndarray:
    """The same of arrays of 64 bits."""
    return values.astype(np.int32)
