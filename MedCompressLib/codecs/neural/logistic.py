"""Tables of counts that nobody sends: a logistic distribution of the width that the network says, in integers.

A group of few symbols does better with this table than with one of its own that has to be sent. FORMAT.md, "Given
tables", is the specification.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...entropy.tables import GivenTable
from .predictor import GROUP_LEVEL, GROUP_OFFSET, LEVEL_GAIN

SIGMOID = np.array([
    8388608, 8650667, 8912214, 9172744, 9431757, 9688764, 9943296, 10194896, 10443135, 10687603, 10927921, 11163737,
    11394728, 11620604, 11841108, 12056013, 12265128, 12468290, 12665372, 12856274, 13040928, 13219292, 13391352,
    13557118, 13716624, 13869922, 14017088, 14158210, 14293396, 14422764, 14546446, 14664583, 14777323, 14884823,
    14987245, 15084754, 15177517, 15265706, 15349491, 15429041, 15504527, 15576115, 15643971, 15708256, 15769129,
    15826746, 15881257, 15932808, 15981542, 16027595, 16071101, 16112187, 16150975, 16187583, 16222125, 16254709,
    16285438, 16314412, 16341724, 16367465, 16391720, 16414571, 16436096, 16456368, 16475457, 16493431, 16510351,
    16526278, 16541267, 16555374, 16568648, 16581136, 16592886, 16603938, 16614335, 16624113, 16633310, 16641958,
    16650091, 16657738, 16664929, 16671689, 16678045, 16684020, 16689637, 16694917, 16699880, 16704545, 16708930,
    16713052, 16716925, 16720566, 16723987, 16727203, 16730224, 16733064, 16735732, 16738240, 16740596, 16742810,
    16744891, 16746846, 16748683, 16750409, 16752030, 16753554, 16754986, 16756331, 16757595, 16758782, 16759898,
    16760946, 16761931, 16762856, 16763726, 16764542, 16765310, 16766031, 16766708, 16767344, 16767942, 16768504,
    16769031, 16769527, 16769992, 16770430, 16770841, 16771227, 16771590, 16771931, 16772251, 16772551, 16772834,
    16773099, 16773349, 16773583, 16773803, 16774010, 16774204, 16774386, 16774558, 16774719, 16774870, 16775012,
    16775146, 16775271, 16775389, 16775500, 16775604, 16775701, 16775793, 16775879, 16775960, 16776036, 16776108,
    16776175, 16776238, 16776297, 16776353, 16776405, 16776454,
])
"""2**24 / (1 + exp(-u / 16)), rounded, for u = 0 .. 160: the distribution up to ten widths."""

_TOP = int(SIGMOID[0]) * 2
_REACH = 1024 * (len(SIGMOID) - 1) // 16
_MAX_BINS = 16          # bins of 2**shift are so wide that a width holds 8 to 16 of them, or are single values
_ESCAPES = 1 << 12
_SMALLEST_GAIN = 64     # at most 1024 voxel values wide


@lru_cache(maxsize=1024)
def logistic_table(group: int, step: int = 1) -> GivenTable | None:
    """The table of a group whose symbols count steps of `step` voxel values; None for flat voxels (group 0) and for the
    widest levels, whose gain is too coarse."""
    gain, offset = int(LEVEL_GAIN[GROUP_LEVEL[group]]), int(GROUP_OFFSET[group])
    if group == 0 or gain < _SMALLEST_GAIN:
        return None
    width = (1 << 28) // gain // (step << 12)              # in symbols
    shift = max(0, width.bit_length() - _MAX_BINS.bit_length() + 1)
    bins = np.arange((_REACH << 11) // (gain * step * 32 << shift) + 3)
    edges = _place(((bins << shift + 5) - 16) * step - offset, gain)
    reach = int(np.argmax(edges >= _REACH))
    bins = np.arange(-reach, reach + 2)
    edges = _place(((bins << shift + 5) - 16) * step - offset, gain)
    counts = np.maximum(np.diff(_distribution(edges)), 1)
    return GivenTable(-reach, np.append(counts, _ESCAPES), shift)


def _place(distances: np.ndarray, gain: int) -> np.ndarray:
    """Distances from the mean, in 1/32 of a voxel value, as 1/1024 of the width, rounded down."""
    return distances * gain >> 11


def _distribution(places: np.ndarray) -> np.ndarray:
    """How much of 2**24 lies below places in 1/1024 of the width, by linear interpolation in SIGMOID."""
    far = np.minimum(np.abs(places), _REACH - 1)
    index, rest = far >> 6, far & 63
    above = SIGMOID[index] + ((SIGMOID[index + 1] - SIGMOID[index]) * rest >> 6)
    return np.where(places < 0, _TOP - above, above)
