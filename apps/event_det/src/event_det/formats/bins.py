"""N-MNIST and N-Caltech101: 5 bytes an event: x, y, then polarity (1 bit) and time in microseconds (23 bits).

A row of 240 marks an overflow of the time: 8192 us are added to all times that follow, as the authors' reader does.
The format has no header and no mark of its own.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from event_det.formats.checks import INCOMPLETE, Block, Drop
from event_det.formats.events import BLOCK, Events, Sensor
from event_det.formats.writing import check_times, open_output
from polyscale.errors import UserError

SIZE = 5
OVERFLOW_ROW, OVERFLOW_US = 240, 1 << 13
PERIOD = 1 << 23


class Cursor(NamedTuple):
    """The number of a block's first event, and what overflows have added to the time before it."""

    row: int
    added: int


class BinReader:
    """Reads N-MNIST's bin files."""

    start = Cursor(0, 0)
    sensor: Sensor | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count, self.rest = divmod(path.stat().st_size, SIZE)
        head = self.read(self.start).events.t[:1000]
        if (np.diff(head) < 0).sum() * 10 > len(head):
            raise UserError(f"{path}: is no N-MNIST file (5 bytes an event): its times are out of order")

    def read(self, cursor: Cursor) -> Block:
        """Decode the block at `cursor`."""
        data = np.fromfile(self.path, np.uint8, BLOCK * SIZE, offset=cursor.row * SIZE)
        rows = data[: len(data) // SIZE * SIZE].reshape(-1, SIZE).astype(np.int64)
        overflow = rows[:, 1] == OVERFLOW_ROW
        added = cursor.added + OVERFLOW_US * np.cumsum(overflow)
        t = ((rows[:, 2] & 0x7F) << 16 | rows[:, 3] << 8 | rows[:, 4]) + added
        kept = np.flatnonzero(~overflow)
        columns = (
            rows[kept, 0].astype(np.uint16),
            rows[kept, 1].astype(np.uint16),
            (rows[kept, 2] >> 7).astype(np.uint8),
        )
        end = Cursor(cursor.row + len(rows), int(added[-1]) if len(rows) else cursor.added)
        done = end.row >= self.count or not len(rows)
        drops = [Drop(INCOMPLETE, int(self.rest > 0), f"byte {self.count * SIZE:,}")] if done else []

        def place(index: int) -> str:
            return f"byte {(cursor.row + int(kept[index])) * SIZE:,}"

        return Block(Events(t[kept], *columns), None if done else end, drops, place)


def write_bin(path: Path, blocks: Iterable[Events], sensor: Sensor) -> int:
    """Write N-MNIST's format and return the number of events."""
    count, last = 0, -1
    with open_output(path) as file:
        for events in blocks:
            latest = int(events.t.max(initial=0))
            if latest >= PERIOD:
                raise UserError(f"{path}: bin holds times below 8.39 s, not {latest / 1e6:.2f} s; see --time-origin")
            last = check_times(path, "bin", events.t, last, PERIOD)
            if len(events) and (events.x.max() > 255 or events.y.max() >= OVERFLOW_ROW):
                raise UserError(f"{path}: bin holds coordinates below 256 x 240; choose another format")
            rows = np.empty((len(events), SIZE), np.uint8)
            rows[:, 0], rows[:, 1] = events.x, events.y
            rows[:, 2] = events.p << 7 | (events.t >> 16).astype(np.uint8)
            rows[:, 3], rows[:, 4] = (events.t >> 8) & 0xFF, events.t & 0xFF
            file.write(rows.tobytes())
            count += len(events)
    return count
