"""What is not taken from a recording: events outside the sensor or back in time, and counts of all that is dropped."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from event_det.compiled import compiled
from event_det.formats.events import Events, Sensor
from polyscale.data.naming import plural

OUTSIDE = "outside the sensor"
BACKWARDS = "earlier than an event before it"
INCOMPLETE = "incomplete at the end of the file"
UNTIMED = "before the first time word"
UNKNOWN = "of unknown type"
NOT_NUMBERS = "not four numbers"
POLARITY = "with a polarity other than 0, 1 and -1"
UNREADABLE = "unreadable"
LATE_RUN = 4096
NO_SENSOR: Sensor = (2**16, 2**16)


class Drop(NamedTuple):
    """Events or words that a reader did not take: why, how many, and where the first one is."""

    reason: str
    number: int
    place: str


class Block(NamedTuple):
    """What a reader decodes at a time.

    Attributes:
        events: The events in file order, not yet checked by `sift`; the arrays belong to the caller.
        following: Cursor of the next block, None at the end of the file.
        drops: What was dropped while decoding.
        place: Names the place of the event with that index in the block: "byte 812", "row 17".
    """

    events: Events
    following: Any
    drops: list[Drop]
    place: Callable[[int], str]


@dataclass
class Tally:
    """Counts of what one pass over a recording dropped, with the place of the first of each kind."""

    counts: dict[str, int] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def add(self, drop: Drop) -> None:
        """Count a drop; the first place of each reason is kept."""
        if drop.number:
            self.counts[drop.reason] = self.counts.get(drop.reason, 0) + drop.number
            self.places.setdefault(drop.reason, drop.place)

    @property
    def total(self) -> int:
        """Number of events and words dropped."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        """State the counts in one line; empty if nothing was dropped."""
        parts = [f"{count:,} {reason} (first at {self.places[reason]})" for reason, count in self.counts.items()]
        return f"dropped {plural(self.total, 'event')}: {', '.join(parts)}" if parts else ""


def sift(block: Block, sensor: Sensor | None, last: int, tally: Tally) -> tuple[Events, int]:
    """Drop the events outside the sensor and those back in time.

    Where time goes back, either the events before the step are late or those after it are early. Up to 4096 events
    before the step are dropped if more than that many events follow that are earlier; otherwise the events after the
    step are dropped until time has caught up. One wrong time word so costs its own events only.

    Args:
        block: The block; its arrays are changed.
        sensor: Width and height, None if unknown.
        last: Time of the last event taken before the block.
        tally: Where the drops are counted.

    Returns:
        The events kept, and the time of the last of them.
    """
    for drop in block.drops:
        tally.add(drop)
    width, height = sensor or NO_SENSOR
    t, x, y, p = block.events.t, block.events.x, block.events.y, block.events.p
    kept, outside, first_outside, back, first_back, last = _sift(t, x, y, p, width, height, last)
    if outside:
        tally.add(Drop(OUTSIDE, outside, block.place(first_outside)))
    if back:
        tally.add(Drop(BACKWARDS, back, block.place(first_back)))
    return block.events[:kept], last


@compiled
def _sift(
    t: NDArray[Any], x: NDArray[Any], y: NDArray[Any], p: NDArray[Any], width: int, height: int, last: int
) -> tuple[int, int, int, int, int, int]:
    before, kept, outside, first_outside, back, first_back = last, 0, 0, -1, 0, -1
    for i in range(t.size):
        if x[i] >= width or y[i] >= height:
            if outside == 0:
                first_outside = i
            outside += 1
            continue
        time = t[i]
        if time < last:
            start = np.searchsorted(t[:kept], time, side="right")
            late, early = kept - start, 0
            if 0 < late <= LATE_RUN and time >= before:
                for k in range(i, min(t.size, i + late + 1)):
                    early += t[k] < last and x[k] < width and y[k] < height
            if early > late:
                first_back = i - late if back == 0 else first_back
                back += late
                kept = start
            else:
                first_back = i if back == 0 else first_back
                back += 1
                continue
        if kept != i:
            t[kept], x[kept], y[kept], p[kept] = time, x[i], y[i], p[i]
        last = time
        kept += 1
    return kept, outside, first_outside, back, first_back, last


def narrow(
    t: NDArray[Any], x: NDArray[Any], y: NDArray[Any], p: NDArray[Any], place: Callable[[int], str]
) -> tuple[Events, list[Drop], Callable[[int], str]]:
    """Bring columns of any number type to `Events`.

    Polarity 0 and -1 are OFF, 1 is ON. Fractions of a microsecond are rounded.

    Args:
        t: Times in microseconds.
        x: Columns.
        y: Rows.
        p: Polarities.
        place: Names the place of a row.

    Returns:
        The events, what was dropped (not finite, negative or too large, other polarities), and the place of each
        event that was kept.
    """
    with np.errstate(invalid="ignore"):
        finite = np.ones(len(t), bool)
        for column in (t, x, y, p):
            if column.dtype.kind == "f":
                finite &= np.isfinite(column) & (np.abs(column) < 2.0**62)
            elif column.dtype == np.uint64:
                finite &= column < 2**62
        inside = (x >= 0) & (x < 2**16) & (y >= 0) & (y < 2**16)
        known = (p == 0) | (p == 1) | (p == -1) if p.dtype.kind != "b" else np.ones(len(p), bool)
    drops, keep = [], np.ones(len(t), bool)
    for reason, good in ((NOT_NUMBERS, finite), (OUTSIDE, inside), (POLARITY, known)):
        bad = keep & ~good
        if bad.any():
            drops.append(Drop(reason, int(bad.sum()), place(int(bad.argmax()))))
            keep &= good
    if drops:
        rows = np.flatnonzero(keep)
        t, x, y, p = t[rows], x[rows], y[rows], p[rows]
    time = np.rint(t) if t.dtype.kind == "f" else t
    events = Events(time.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), (p == 1).astype(np.uint8))
    return events, drops, (lambda index: place(int(rows[index]))) if drops else place
