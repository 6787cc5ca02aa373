"""Events in memory: four arrays, sorted by time."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyscale.errors import UserError

Sensor = tuple[int, int]
"""Width and height in pixels."""
BLOCK = 1 << 18
"""Events that a reader decodes at a time: 3.4 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Events of one recording, or of a part of it.

    Attributes:
        t: Times in microseconds, int64, never decreasing.
        x: Columns from the left, uint16.
        y: Rows from the top, uint16.
        p: Polarities, uint8: 1 brighter (ON), 0 darker (OFF).
    """

    t: NDArray[np.int64]
    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    p: NDArray[np.uint8]

    @classmethod
    def allocate(cls, count: int) -> "Events":
        """Allocate `count` events without setting them."""
        return cls(
            np.empty(count, np.int64), np.empty(count, np.uint16), np.empty(count, np.uint16), np.empty(count, np.uint8)
        )

    @classmethod
    def concatenate(cls, parts: Iterable["Events"]) -> "Events":
        """Join parts in their order; no part gives no events."""
        kept = [cls.allocate(0), *parts]
        return cls(*(np.concatenate([getattr(part, name) for part in kept]) for name in ("t", "x", "y", "p")))

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, which: Any) -> "Events":
        """Select events by a slice, a mask or indices, as in NumPy."""
        return Events(self.t[which], self.x[which], self.y[which], self.p[which])

    def between(self, start: int | None, end: int | None) -> "Events":
        """Select the events with start <= t < end; None leaves that side open."""
        first = 0 if start is None else int(np.searchsorted(self.t, start))
        last = len(self) if end is None else int(np.searchsorted(self.t, end))
        return self[first:last]

    def shifted(self, offset: int) -> "Events":
        """Return the same events with `offset` microseconds added to their times."""
        return Events(self.t + offset, self.x, self.y, self.p)


def parse_sensor(text: str) -> Sensor:
    """Parse "640x480" as (640, 480).

    Raises:
        UserError: the text is not WIDTHxHEIGHT with whole numbers from 1 to 65535.
    """
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdigit() and 0 < int(side) < 2**16 for side in sides):
        raise UserError(f"{text!r} is not a sensor size such as 640x480", exit_code=2)
    return int(sides[0]), int(sides[1])
