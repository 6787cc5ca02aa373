"""EVT3: 16-bit words that set registers (time, row, base column) or hold events, alone or in vectors of 12 and 8.

The time has 24 bits: TIME_HIGH holds the upper 12, TIME_LOW the lower. A new TIME_HIGH sets the lower ones to 0. Since
the clock wraps every 16.8 s, times count from the last wrap before the recording; later wraps are counted.
Some decoders add 4096 us when TIME_LOW falls, on top of the TIME_HIGH that follows; that doubles time.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_det.compiled import compiled
from event_det.formats.events import Events, Sensor
from event_det.formats.prophesee.evt import (
    BASE,
    EPOCH,
    HIGH,
    LOW,
    POLARITY,
    ROW,
    UNKNOWN_COUNT,
    UNKNOWN_WORD,
    UNTIMED_COUNT,
    UNTIMED_WORD,
    EvtReader,
    evt_header,
    miss,
    spread,
)
from event_det.formats.writing import check_range, check_times, open_output

ADDR_Y, OTHER_Y, ADDR_X, VECT_BASE_X, VECT_12, VECT_8, TIME_LOW, CONTINUED_4, TIME_HIGH = 0, 1, 2, 3, 4, 5, 6, 7, 8
TRIGGER, OTHER, CONTINUED_12 = 0xA, 0xE, 0xF
PERIOD = 1 << 24
LONGEST_PAUSE = 1 << 36


@compiled
def _decode(
    words: NDArray[Any],
    limit: int,
    state: NDArray[Any],
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
) -> tuple[int, int]:
    n, i = 0, 0
    epoch, high, low = state[EPOCH], state[HIGH], state[LOW]
    row, base, polarity = state[ROW], state[BASE], state[POLARITY]
    time = epoch + (high << 12) + low
    while i < words.size and n < limit:
        word = np.int64(words[i])
        kind, value = word >> 12, word & 0xFFF
        if kind == ADDR_X:
            if high >= 0 and row >= 0:
                t[n], x[n], y[n], p[n] = time, value & 0x7FF, row, value >> 11
                n += 1
            else:
                miss(state, UNTIMED_COUNT, UNTIMED_WORD, i, 1)
        elif kind == ADDR_Y:
            row = value & 0x7FF
        elif kind == TIME_LOW:
            low = value
            time = epoch + (high << 12) + low
        elif kind in (VECT_12, VECT_8):
            bits = value if kind == VECT_12 else value & 0xFF
            end = spread(bits, base, row, time, polarity, n, t, x, y, p)
            if high >= 0 and row >= 0 and base >= 0:
                n = end
            else:  # what was written is overwritten
                miss(state, UNTIMED_COUNT, UNTIMED_WORD, i, end - n)
            if base >= 0:
                base += 12 if kind == VECT_12 else 8
        elif kind == VECT_BASE_X:
            base, polarity = value & 0x7FF, value >> 11
        elif kind == TIME_HIGH:
            if value != high:
                if high - value >= 1 << 11:
                    epoch += PERIOD
                high, low = value, 0
                time = epoch + (high << 12)
        elif kind == OTHER_Y:
            row = -1  # the row of an event of another kind
        elif kind not in (CONTINUED_4, TRIGGER, OTHER, CONTINUED_12):
            miss(state, UNKNOWN_COUNT, UNKNOWN_WORD, i, 1)
        i += 1
    state[EPOCH], state[HIGH], state[LOW] = epoch, high, low
    state[ROW], state[BASE], state[POLARITY] = row, base, polarity
    return n, i


class Evt3Reader(EvtReader):
    """Reads EVT3."""

    words = "<u2"
    kernel = staticmethod(_decode)


@compiled
def _encode(
    t: NDArray[Any], x: NDArray[Any], y: NDArray[Any], p: NDArray[Any], state: NDArray[Any], words: NDArray[Any]
) -> tuple[int, int]:
    """Fill `words`, stop when they are nearly full, and return (words filled, events written)."""
    n, i = 0, 0
    while i < t.size and n + 4 < words.size:
        high = t[i] >> 12
        if state[HIGH] < 0:
            state[HIGH] = high - 1
        if state[HIGH] < high:  # every value in between, as cameras send them, so that no wrap is missed
            state[HIGH] += 1
            words[n] = TIME_HIGH << 12 | (state[HIGH] & 0xFFF)
            n += 1
            state[LOW] = 0
            continue
        low = t[i] & 0xFFF
        if low != state[LOW]:
            words[n] = TIME_LOW << 12 | low
            n += 1
            state[LOW] = low
        if y[i] != state[ROW]:
            words[n] = ADDR_Y << 12 | y[i]
            n += 1
            state[ROW] = y[i]
        words[n] = ADDR_X << 12 | np.int64(p[i]) << 11 | x[i]
        n += 1
        i += 1
    return n, i


def write_evt3(path: Path, blocks: Iterable[Events], sensor: Sensor) -> int:
    """Write EVT3 without vectors and return the number of events; times are stored modulo 2^24 us."""
    count, last = 0, -1
    state, words = np.array([0, -1, 0, -1, -1, 0], np.int64), np.empty(1 << 20, "<u2")
    with open_output(path) as file:
        file.write(evt_header("EVT3", "3.0", sensor))
        for events in blocks:
            check_range(path, "EVT3", events, 11)
            last = check_times(path, "EVT3", events.t, last, LONGEST_PAUSE)
            done = 0
            while done < len(events):
                rest = events[done:]
                filled, written = _encode(rest.t, rest.x, rest.y, rest.p, state, words)
                file.write(words[:filled].tobytes())
                done += written
            count += len(events)
    return count
