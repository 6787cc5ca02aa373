"""Prophesee DAT: 8 bytes an event, a 32-bit time in microseconds that wraps after 71.6 minutes.

Layout: uint32 t, then uint32 with x in bits 0-13, y in 14-27 and p in 28 (version 2), or x in 0-8, y in 9-16 and p in
17 (version 1, the ATIS). After the header stand one byte for the type of event and one for its size.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from event_det.compiled import compiled
from event_det.formats.checks import INCOMPLETE, Block, Drop
from event_det.formats.events import BLOCK, Events, Sensor
from event_det.formats.prophesee.headers import read_header
from event_det.formats.writing import check_range, check_times, open_output
from polyscale.errors import UserError

SIZE = 8
TYPES = (0, 12, 40)
"""Event2D, CD, and CD as some releases number it."""


class Cursor(NamedTuple):
    """Where a block begins: the event's number, and the state of the clock (its wraps, the last 32-bit time)."""

    row: int
    epoch: int
    last: int


class DatReader:
    """Reads DAT of version 1 and 2."""

    start = Cursor(0, 0, -1)

    def __init__(self, path: Path) -> None:
        self.path = path
        header = read_header(path)
        self.sensor = header.sensor
        self.offset = header.size
        if header:
            kind = np.fromfile(path, np.uint8, 2, offset=header.size)
            if kind.size < 2 or kind[1] != SIZE or kind[0] not in TYPES:
                found = f"type {kind[0]} of {kind[1]} bytes" if kind.size == 2 else "the end of the file"
                raise UserError(
                    f"{path}: byte {header.size} should start events of 8 bytes (type 0 or 12), found {found}"
                )
            self.offset += 2
        version = header.get("version", "2")
        if version not in ("1", "2"):
            raise UserError(f"{path}: the header states version {version!r}; versions 1 and 2 of DAT are read")
        self.layout = (0x1FF, 9, 0xFF, 17) if version == "1" else (0x3FFF, 14, 0x3FFF, 28)
        self.count, self.rest = divmod(path.stat().st_size - self.offset, SIZE)

    def read(self, cursor: Cursor) -> Block:
        """Decode the block at `cursor`."""
        words = np.fromfile(self.path, "<i8", BLOCK, offset=self.offset + cursor.row * SIZE)
        events = Events.allocate(words.size)
        epoch, last = _decode(words, *self.layout, cursor.epoch, cursor.last, events.t, events.x, events.y, events.p)
        end = Cursor(cursor.row + words.size, epoch, last)
        done = end.row >= self.count or not words.size
        drops = [Drop(INCOMPLETE, int(self.rest > 0), self.place(self.count))] if done else []
        return Block(events, None if done else end, drops, lambda index: self.place(cursor.row + index))

    def place(self, index: int) -> str:
        """Name the byte at which an event begins."""
        return f"byte {self.offset + index * SIZE:,}"


@compiled
def _decode(
    words: NDArray[Any],
    x_mask: int,
    y_shift: int,
    y_mask: int,
    p_shift: int,
    epoch: int,
    last: int,
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
) -> tuple[int, int]:
    """Decode events; a step of more than half the 32-bit range, either way, is a wrap of the clock."""
    half, full = 1 << 31, 1 << 32
    if last < 0 and words.size:
        last = words[0] & 0xFFFFFFFF
    for i in range(words.size):
        word = words[i]
        time = word & 0xFFFFFFFF
        step = time - last
        if step < -half:
            epoch += full
        elif step > half:
            epoch -= full
        last = time
        t[i] = epoch + time
        x[i] = (word >> 32) & x_mask
        y[i] = (word >> (32 + y_shift)) & y_mask
        p[i] = (word >> (32 + p_shift)) & 1
    return epoch, last


def write_dat(path: Path, blocks: Iterable[Events], sensor: Sensor) -> int:
    """Write DAT version 2 and return the number of events; times are stored modulo 2^32 us."""
    count, last = 0, -1
    with open_output(path) as file:
        file.write(
            f"% Data file containing CD events.\n% Version 2\n% Width {sensor[0]}\n% Height {sensor[1]}\n".encode()
        )
        file.write(b"% end\n" + bytes((12, SIZE)))
        for events in blocks:
            check_range(path, "DAT", events, 14)
            last = check_times(path, "DAT", events.t, last, 1 << 31)
            words = np.empty((len(events), 2), "<u4")
            words[:, 0] = events.t & 0xFFFFFFFF
            words[:, 1] = events.x | events.y.astype(np.uint32) << 14 | events.p.astype(np.uint32) << 28
            file.write(words.tobytes())
            count += len(events)
    return count
