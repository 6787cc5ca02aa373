"""Prophesee RAW files: what EVT2, EVT2.1 and EVT3 share. Each is a stream of words that a small machine decodes.

Times come in two parts, TIME_HIGH words and the low bits of the events. The clock wraps: after 2^34 us (4.8 hours) in
EVT2 and EVT2.1, after 2^24 us (16.8 s) in EVT3. A TIME_HIGH that falls by at least half the range is a wrap.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from event_det.compiled import compiled
from event_det.formats.checks import INCOMPLETE, UNKNOWN, UNTIMED, Block, Drop
from event_det.formats.events import BLOCK, Events, Sensor
from event_det.formats.prophesee.headers import read_header
from polyscale.errors import UserError

SPARE = 32
"""The most events that one word holds."""
EPOCH, HIGH, LOW, ROW, BASE, POLARITY, COUNTS = 0, 1, 2, 3, 4, 5, 6
UNTIMED_COUNT, UNTIMED_WORD, UNKNOWN_COUNT, UNKNOWN_WORD = 6, 7, 8, 9
"""Places in the state of a decoder: the clock and the registers, then the words dropped and the first of them."""
FRESH = (0, -1, 0, -1, -1, 0)
"""The registers at the start of a file: the high time, row and base column are not known yet."""


class Cursor(NamedTuple):
    """Where a block begins: the number of its first word, and the registers of the decoder."""

    word: int
    registers: tuple[int, ...]


class EvtReader:
    """Reads a RAW file; subclasses set the type of a word and the kernel that decodes words.

    Attributes:
        words: NumPy type of a word.
        kernel: `kernel(words, limit, state, t, x, y, p) -> (events, words read)`.
    """

    words: DTypeLike
    kernel: Callable[..., tuple[int, int]]
    start = Cursor(0, FRESH)

    def __init__(self, path: Path) -> None:
        self.path = path
        header = read_header(path)
        self.sensor: Sensor | None = header.sensor
        self.offset, self.size = header.size, np.dtype(self.words).itemsize
        self.count, self.rest = divmod(path.stat().st_size - self.offset, self.size)
        if self.count == 0:
            raise UserError(f"{path}: no event data follows the header, which ends at byte {self.offset}")

    def read(self, cursor: Cursor) -> Block:
        """Decode the block at `cursor`."""
        events, state, used = self._decode(cursor, BLOCK)
        end = cursor.word + used
        following = Cursor(end, tuple(state[:COUNTS].tolist())) if end < self.count and used else None
        counts = state.tolist()
        drops = [
            Drop(UNTIMED, counts[UNTIMED_COUNT], self._byte(cursor.word + counts[UNTIMED_WORD])),
            Drop(UNKNOWN, counts[UNKNOWN_COUNT], self._byte(cursor.word + counts[UNKNOWN_WORD])),
        ]
        if following is None:
            drops.append(Drop(INCOMPLETE, int(self.rest > 0), self._byte(self.count)))
        return Block(events, following, drops, lambda index: self._place(cursor, index))

    def _decode(self, cursor: Cursor, limit: int) -> tuple[Events, Any, int]:
        words = np.fromfile(self.path, self.words, BLOCK, offset=self.offset + cursor.word * self.size)
        state = np.array([*cursor.registers, 0, 0, 0, 0], np.int64)
        room = Events.allocate(limit + SPARE)
        count, used = type(self).kernel(words, limit, state, room.t, room.x, room.y, room.p)
        return room[:count], state, used

    def _place(self, cursor: Cursor, index: int) -> str:
        """Name the byte of the word that holds an event: decode up to it once more."""
        return self._byte(cursor.word + self._decode(cursor, index + 1)[2] - 1)

    def _byte(self, word: int) -> str:
        return f"byte {self.offset + word * self.size:,}"


def evt_header(name: str, version: str, sensor: Sensor, extra: str = "") -> bytes:
    """Return the header of a RAW file in the entries of both the older and the newer releases."""
    width, height = sensor
    lines = [
        f"evt {version}",
        f"format {name};{extra}height={height};width={width}",
        f"geometry {width}x{height}",
        "end",
    ]
    return "".join(f"% {line}\n" for line in lines).encode()


BITS = np.zeros(4097, np.int64)
"""The position of the bit that is set, by the word."""
BITS[1 << np.arange(13)] = np.arange(13)


@compiled
def spread(
    bits: Any,
    base: Any,
    row: Any,
    time: Any,
    polarity: Any,
    n: int,
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
) -> int:
    """Write an event for each of up to 12 bits from place n on, in column `base` plus the bit; return the end."""
    while bits:
        t[n], x[n], y[n], p[n] = time, base + BITS[bits & -bits], row, polarity
        bits &= bits - 1
        n += 1
    return n


@compiled
def miss(state: NDArray[Any], count_at: int, word_at: int, word: int, events: int) -> None:
    """Count events or words that are dropped, and keep the first such word."""
    if state[count_at] == 0:
        state[word_at] = word
    state[count_at] += events
