"""Section 10.3: the codec `runs`."""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from .entropy import Bytes, GroupStream
from .refuse import require

CONTEXTS = 12
LITERALS, EXCEPTIONS, LABELS, GROUPS = 12, 13, 14, 15
MOST_LABEL = 2**24 - 1

# near, slices below, unit, places (j, i), votes for h = 1, h = 2, h >= 4
NEIGHBOURS = {
    "A": [(True, 1, "1", [(0, 0)], (19, 23, 24)),
          (True, 0, "h", [(1, 1)], (23, 16, 11)),
          (True, 1, "1", [(0, 1), (1, 0)], (10, 13, 14)),
          (True, 1, "1", [(1, 1)], (1, 6, 8)),
          (False, 1, "r", [(0, 1), (1, 0)], (0, 3, 6)),
          (False, 1, "r", [(1, 1)], (-7, -10, -9)),
          (False, 2, "1", [(0, 1), (1, 0)], (-5, -7, -12)),
          (False, 2, "r", [(0, 1), (1, 0)], (-4, -8, -7)),
          (False, 2, "1", [(0, 0)], (-5, -4, -4))],
    "B": [(True, 1, "1", [(0, 0)], (17, 24, 28)),
          (True, 0, "h", [(0, 1)], (31, 21, 15)),
          (True, 0, "h", [(1, 0)], (32, 20, 14)),
          (True, 0, "h", [(1, 2)], (5, 0, 0)),
          (True, 1, "1", [(0, 1), (1, 0)], (6, 12, 14)),
          (True, 1, "1", [(1, 1)], (2, 5, 8)),
          (False, 0, "h", [(2, 1)], (5, 0, 0)),
          (False, 0, "h", [(0, 3)], (-6, -2, 0)),
          (False, 0, "h", [(3, 0)], (-7, -2, 0)),
          (False, 1, "r", [(0, 1), (1, 0)], (-3, -5, -4)),
          (False, 1, "r", [(1, 1)], (-3, -4, -1)),
          (False, 2, "1", [(0, 1), (1, 0)], (-4, -6, -12)),
          (False, 2, "r", [(0, 1), (1, 0)], (-2, -5, -6)),
          (False, 2, "1", [(0, 0)], (-6, -7, -6))],
    "C": [(True, 1, "1", [(0, 0)], (15, 23, 27)),
          (True, 0, "h", [(1, 0)], (35, 19, 12)),
          (True, 0, "h", [(0, 1)], (27, 18, 13)),
          (True, 0, "h", [(1, 1)], (15, 8, 5)),
          (True, 1, "1", [(0, 1), (1, 0)], (6, 12, 14)),
          (True, 1, "1", [(1, 1)], (2, 6, 8)),
          (False, 0, "h", [(0, 3)], (-3, 0, 0)),
          (False, 0, "h", [(3, 0)], (-7, 0, 0)),
          (False, 1, "r", [(0, 1), (1, 0)], (-3, -4, -4)),
          (False, 1, "r", [(1, 1)], (-4, -6, -5)),
          (False, 2, "1", [(0, 1), (1, 0)], (-3, -6, -12)),
          (False, 2, "r", [(0, 1), (1, 0)], (-2, -5, -5)),
          (False, 2, "1", [(0, 0)], (-6, -7, -5))],
}

Neighbour = tuple[bool, int, int, int, int]  # near, slices below, dj, di, vote


def set_up(config: dict, model: bytes, _: int) -> Callable:
    """The function that makes samples of the payload and the shape of a slab."""
    require(not config and not model, "the configuration")
    return decode_slab


def decode_slab(payload: bytes, shape: tuple) -> np.ndarray:
    """Samples of a slab."""
    stream = Bytes(payload)
    counts = [stream.varint() for _ in range(3)]
    require(max(counts) <= np.prod(shape), "more labels, literals or exceptions than voxels")
    groups = GroupStream(stream, GROUPS, 4 * int(np.prod(shape)))
    require(counts == [groups.sizes[group] for group in (LABELS, LITERALS, EXCEPTIONS)], "other numbers than said")
    labels = [groups.next(LABELS) for _ in range(counts[0])]
    require(all(0 <= label <= MOST_LABEL for label in labels), "a label out of range")
    numbers = Numbers(groups, counts, shape).decode()
    groups.end()
    require(numbers.max() <= len(labels), "a number outside the list")
    return np.array(labels)[numbers - 1]


class Numbers:
    """The numbers of the labels, from the symbols of a slab."""

    def __init__(self, groups: GroupStream, counts: list[int], shape: tuple):
        self.groups = groups
        self.labels, _, self.exceptions_left = counts
        self.numbers = np.zeros(shape, int)
        self.until_exception = self.next_exception()

    def decode(self) -> np.ndarray:
        frames, slices, rows, columns = self.numbers.shape
        coarsest = next((h for h in (16, 8, 4, 2, 1) if h < max(rows, columns)), 1)
        for k in range(slices):
            for j, i, neighbours in lattices(rows, columns, coarsest):
                found = {}
                mixed = []
                for place in product(range(frames), j, i):
                    place = (place[0], k, *place[1:])
                    number = self.run(place, neighbours)
                    if number is None:
                        mixed.append(place)
                    else:
                        found[place] = number
                for place in mixed:
                    found[place] = self.mixed(place, neighbours)
                for place, number in found.items():
                    self.numbers[place] = number
        require(self.exceptions_left == 0 and self.until_exception == -1, "an exception behind the last voxel")
        return self.numbers

    def at(self, place: tuple, below: int, dj: int, di: int) -> int:
        """The number of a neighbour, 0 outside the slab."""
        frame, k, j, i = place[0], place[1] - below, place[2] + dj, place[3] + di
        _, _, rows, columns = self.numbers.shape
        return int(self.numbers[frame, k, j, i]) if k >= 0 and 0 <= j < rows and 0 <= i < columns else 0

    def run(self, place: tuple, neighbours: list[Neighbour]) -> int | None:
        """The number of a voxel in a run, None for a mixed voxel."""
        in_slice = [self.at(place, below, dj, di) for near, below, dj, di, _ in neighbours if near and below == 0]
        below = [self.at(place, 1, dj, di) for dj, di in product((-1, 0, 1), repeat=2)]
        if place[1] > 0:
            prediction = self.at(place, 1, 0, 0)
        else:
            prediction = in_slice[0] if in_slice else 1
        if not set(in_slice + below) <= {prediction, 0}:
            return None
        if self.until_exception == 0:
            self.until_exception = self.next_exception()
            return self.literal()
        self.until_exception -= self.until_exception > 0
        return prediction

    def mixed(self, place: tuple, neighbours: list[Neighbour]) -> int:
        """The number of a voxel that borders on another label."""
        values = [(near, self.at(place, below, dj, di), vote) for near, below, dj, di, vote in neighbours]
        near = [number for is_near, number, _ in values if is_near and number]
        first = self.at(place, 1, 0, 0) if place[1] > 0 else near[0]
        second = next(number for number in near if number != first)
        third = next((number for number in near if number not in (first, second)), 0)
        lead = sum(((number == first) - (number == second)) * vote for _, number, vote in values)
        if lead < 0:
            first, second = second, first
        symbol = self.groups.next(min(CONTEXTS - 1, abs(lead) // 10))
        require(0 <= symbol <= 3 and (symbol != 2 or third != 0), "no such number")
        return self.literal() if symbol == 3 else (first, second, third)[symbol]

    def literal(self) -> int:
        number = self.groups.next(LITERALS)
        require(1 <= number <= self.labels, "a literal outside the list")
        return number

    def next_exception(self) -> int:
        """How many voxels of runs come before the next exception, -1 if there is none."""
        if self.exceptions_left == 0:
            return -1
        self.exceptions_left -= 1
        number = self.groups.next(EXCEPTIONS)
        require(number >= 0, "a negative number of voxels")
        return number


def lattices(rows: int, columns: int, coarsest: int) -> Iterator[tuple[range, range, list[Neighbour]]]:
    """Rows, columns and neighbours of the lattices of a slice, in order."""
    def neighbours(name: str, h: int) -> list[Neighbour]:
        most_j, most_i = (min(3 * coarsest, max(2, length - 1)) for length in (rows, columns))
        found = []
        for near, below, unit, places, votes in NEIGHBOURS[name]:
            vote = votes[min(h.bit_length() - 1, 2)]
            step = {"1": 1, "h": h, "r": max(h, 2)}[unit]
            for j, i in places if near or vote else []:
                for dj, di in sorted({(a * j * step, b * i * step) for a, b in product((-1, 1), repeat=2)}):
                    if abs(dj) <= most_j and abs(di) <= most_i:
                        found.append((near, below, dj, di, vote))
        return found

    first = [neighbour for neighbour in neighbours("A", coarsest) if neighbour[1] > 0]
    yield range(0, rows, 2 * coarsest), range(0, columns, 2 * coarsest), first
    h = coarsest
    while h:
        whole_rows, odd_rows = range(0, rows, 2 * h), range(h, rows, 2 * h)
        whole_columns, odd_columns = range(0, columns, 2 * h), range(h, columns, 2 * h)
        yield odd_rows, odd_columns, neighbours("A", h)
        yield whole_rows, odd_columns, neighbours("B", h)
        yield odd_rows, whole_columns, neighbours("C", h)
        h //= 2
