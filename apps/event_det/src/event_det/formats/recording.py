"""A recording of an event camera: one class for all formats, read in parts of bounded size."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from event_det.formats.checks import Tally, sift
from event_det.formats.events import Events, Sensor
from event_det.formats.table import detect_format, find_format, read_head
from polyscale.errors import UserError

TimeOrigin = Literal["raw", "first"]
EARLIEST = -(1 << 62)


class Recording:
    """Opens a recording of any format.

    Times are int64 microseconds. They never decrease: what goes back in time, lies outside the sensor or cannot be
    decoded is dropped and counted in `dropped`. The parts that `chunks` yields depend on the file only.

    Args:
        path: The file.
        format: A name in `FORMATS`; auto detects it.
        time_origin: raw keeps the times of the file; first makes the first event's time 0.
        sensor: Width and height, in place of what the file states.

    Attributes:
        format: Name of the format.
        sensor: Width and height in pixels, None if the file does not state them.
        dropped: What the latest pass over the recording dropped so far.

    Raises:
        UserError: the file is missing, of no known format, or its header is wrong.
    """

    def __init__(
        self, path: Path | str, *, format: str = "auto", time_origin: TimeOrigin = "raw", sensor: Sensor | None = None
    ) -> None:
        self.path = Path(path)
        head = read_head(self.path)
        self.format = detect_format(self.path, head) if format == "auto" else format
        self._reader = find_format(self.format).open(self.path)
        self.sensor = sensor or self._reader.sensor
        self.time_origin = time_origin
        self.dropped = Tally()
        self._marks: list[tuple[int, Any]] = [(EARLIEST, self._reader.start)]
        self._first: int | None = None

    def chunks(self, start: int | None = None, end: int | None = None) -> Iterator[Events]:
        """Yield the events with start <= t < end in parts of at most a few megabytes.

        A pass remembers where its parts begin, so a later one that starts in the middle reads from there.

        Args:
            start: Earliest time in microseconds, in the clock of `time_origin`; None for the beginning.
            end: Time to stop before; None for the end.
        """
        offset = self.offset
        low, high = (None if side is None else side + offset for side in (start, end))
        self.dropped = tally = Tally()
        number = self._mark_before(low)
        last, cursor = self._marks[number]
        while cursor is not None:
            block = self._reader.read(cursor)
            events, last = sift(block, self.sensor, last, tally)
            cursor, number = block.following, number + 1
            if cursor is not None and number == len(self._marks):
                self._marks.append((last, cursor))
            wanted = events.between(low, high)
            if len(wanted):
                yield wanted.shifted(-offset) if offset else wanted
            if high is not None and last >= high:
                return

    def without_events(self, start: int | None = None, end: int | None = None) -> UserError:
        """Return the error that says that there is nothing between two times, and where there is something."""
        if (span := self.span()) is None:
            return UserError(f"{self.path}: holds no events{f' ({self.dropped})' if self.dropped.total else ''}")
        part = " and ".join(
            f"{word} {time / 1e6:g} s" for word, time in (("from", start), ("before", end)) if time is not None
        )
        return UserError(
            f"{self.path}: holds no events {part}; it has some from {span[0] / 1e6:g} to {span[1] / 1e6:g} s"
        )

    def span(self) -> tuple[int, int] | None:
        """Read all events and return the times of the first and the last, None if there is none."""
        first = last = None
        for events in self.chunks():
            first, last = int(events.t[0]) if first is None else first, int(events.t[-1])
        return None if first is None or last is None else (first, last)

    def windows(self, duration: int, start: int | None = None, end: int | None = None) -> Iterator[tuple[int, Events]]:
        """Yield (start of the window, its events) for windows of `duration` microseconds, empty ones included.

        Args:
            duration: Length of a window in microseconds.
            start: Start of the first window; None for the time of the first event.
            end: Time to stop before; None ends with the window of the last event.
        """
        parts: list[Events] = []
        begin = start
        for events in self.chunks(start, end):
            if begin is None:
                begin = int(events.t[0])
            while int(events.t[-1]) >= begin + duration:
                parts.append(events.between(None, begin + duration))
                events = events[len(parts[-1]) :]
                yield begin, Events.concatenate(parts)
                parts, begin = [], begin + duration
            parts.append(events)
        if begin is not None and parts:
            yield begin, Events.concatenate(parts)

    def read(self, start: int | None = None, end: int | None = None) -> Events:
        """Read all events with start <= t < end; 13 bytes of memory each."""
        return Events.concatenate(self.chunks(start, end))

    @property
    def offset(self) -> int:
        """What `time_origin` takes off the times of the file: 0, or the time of the first event."""
        return 0 if self.time_origin == "raw" else self.first or 0

    @property
    def first(self) -> int | None:
        """Time of the first event in the clock of the file, None if there is no event."""
        if self._first is None:
            last, cursor = self._marks[0]
            while cursor is not None and self._first is None:
                block = self._reader.read(cursor)
                events, last = sift(block, self.sensor, last, Tally())
                cursor, self._first = block.following, int(events.t[0]) if len(events) else None
        return self._first

    def _mark_before(self, time: int | None) -> int:
        """Return the number of the latest known part before which every event is earlier than `time`."""
        if time is None:
            return 0
        return max(int(np.searchsorted([last for last, _ in self._marks], time)) - 1, 0)
