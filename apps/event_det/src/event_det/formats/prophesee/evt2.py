"""EVT2 (32-bit words, one event each) and EVT2.1 (64-bit words, up to 32 events of one row), in both half-word orders.

EVT2: bits 28-31 type, 22-27 low time, 11-21 x, 0-10 y. EVT2.1 holds the same in one half and a mask of 32 columns in
the other. The mask is the low half ("evt21"), or the high half ("evt21-legacy": Gen4.1, IMX636 and IMX646 cameras).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_det.compiled import compiled
from event_det.formats.events import Events, Sensor
from event_det.formats.prophesee.evt import (
    EPOCH,
    HIGH,
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

TIME_HIGH, TRIGGER, OTHER, CONTINUED = 0x8, 0xA, 0xE, 0xF
HIGH_BITS = 28
PERIOD = 1 << 34


@compiled
def _advance(high: Any, state: NDArray[Any]) -> None:
    """Set the high time; a step of more than half the range, either way, is a wrap."""
    half = 1 << (HIGH_BITS - 1)
    if state[HIGH] >= 0:
        step = high - state[HIGH]
        if step < -half:
            state[EPOCH] += PERIOD
        elif step > half:
            state[EPOCH] -= PERIOD
    state[HIGH] = high


@compiled
def _decode_evt2(
    words: NDArray[Any],
    limit: int,
    state: NDArray[Any],
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
) -> tuple[int, int]:
    n, i = 0, 0
    timed, base = state[HIGH] >= 0, state[EPOCH] + (state[HIGH] << 6)
    while i < words.size and n < limit:
        word = np.int64(words[i])
        kind = (word >> 28) & 0xF
        if kind <= 1:
            if timed:
                t[n] = base | ((word >> 22) & 0x3F)
                x[n] = (word >> 11) & 0x7FF
                y[n] = word & 0x7FF
                p[n] = kind
                n += 1
            else:
                miss(state, UNTIMED_COUNT, UNTIMED_WORD, i, 1)
        elif kind == TIME_HIGH:
            _advance(word & 0xFFFFFFF, state)
            timed, base = True, state[EPOCH] + (state[HIGH] << 6)
        elif kind not in (TRIGGER, OTHER, CONTINUED):
            miss(state, UNKNOWN_COUNT, UNKNOWN_WORD, i, 1)
        i += 1
    return n, i


@compiled
def _decode_evt21(
    words: NDArray[Any],
    limit: int,
    state: NDArray[Any],
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
) -> tuple[int, int]:
    """Decode rows of [N, 2]: the half with the type, then the mask."""
    n, i = 0, 0
    timed, base = state[HIGH] >= 0, state[EPOCH] + (state[HIGH] << 6)
    while i < len(words) and n < limit:
        word, mask = np.int64(words[i, 0]), np.int64(words[i, 1])
        kind = (word >> 28) & 0xF
        if kind <= 1:
            time, column, row = base | ((word >> 22) & 0x3F), (word >> 11) & 0x7FF, word & 0x7FF
            first = n
            for shift in (0, 12, 24):
                n = spread((mask >> shift) & 0xFFF, column + shift, row, time, kind, n, t, x, y, p)
            if not timed:
                miss(state, UNTIMED_COUNT, UNTIMED_WORD, i, n - first)
                n = first
        elif kind == TIME_HIGH:
            _advance(word & 0xFFFFFFF, state)
            timed, base = True, state[EPOCH] + (state[HIGH] << 6)
        elif kind not in (TRIGGER, OTHER, CONTINUED):
            miss(state, UNKNOWN_COUNT, UNKNOWN_WORD, i, 1)
        i += 1
    return n, i


@compiled
def _decode_mask_first(
    words: NDArray[Any],
    limit: int,
    state: NDArray[Any],
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
) -> tuple[int, int]:
    return _decode_evt21(words[:, ::-1], limit, state, t, x, y, p)


class Evt2Reader(EvtReader):
    """Reads EVT2."""

    words = "<u4"
    kernel = staticmethod(_decode_evt2)


class Evt21LegacyReader(EvtReader):
    """Reads EVT2.1 whose first half-word holds the type (`endianness=legacy`)."""

    words = np.dtype(("<u4", (2,)))
    kernel = staticmethod(_decode_evt21)


class Evt21Reader(Evt21LegacyReader):
    """Reads EVT2.1 whose first half-word is the mask."""

    kernel = staticmethod(_decode_mask_first)


def write_evt2(path: Path, blocks: Iterable[Events], sensor: Sensor) -> int:
    """Write EVT2 and return the number of events; times are stored modulo 2^34 us."""
    count, last, high = 0, -1, np.int64(-1)
    with open_output(path) as file:
        file.write(evt_header("EVT2", "2.0", sensor))
        for events in blocks:
            check_range(path, "EVT2", events, 11)
            last = check_times(path, "EVT2", events.t, last, PERIOD >> 1)
            words, high = encode_evt2(events, high)
            file.write(words.tobytes())
            count += len(events)
    return count


def encode_evt2(events: Events, high: Any) -> tuple[NDArray[np.uint32], Any]:
    """Encode events as EVT2 words: a TIME_HIGH word before each event whose high time differs from the one before.

    Args:
        events: The events.
        high: High time of the event before, not wrapped; -1 for none.

    Returns:
        The words, and the high time of the last event.
    """
    highs = events.t >> 6
    new = np.diff(highs, prepend=high) != 0
    at = np.arange(len(events)) + np.cumsum(new)
    words = np.empty(len(events) + int(new.sum()), "<u4")
    x, p = events.x.astype(np.uint32), events.p.astype(np.uint32)
    words[at] = p << 28 | (events.t & 0x3F).astype(np.uint32) << 22 | x << 11 | events.y
    words[at[new] - 1] = TIME_HIGH << 28 | (highs[new] & 0xFFFFFFF)
    return words, highs[-1] if len(events) else high


def write_evt21(path: Path, blocks: Iterable[Events], sensor: Sensor, *, legacy: bool = False) -> int:
    """Write EVT2.1 and return the number of events; neighbours of one row, time and polarity share a word."""
    count, last, high = 0, -1, np.int64(-1)
    with open_output(path) as file:
        file.write(evt_header("EVT21", "2.1", sensor, f"endianness={'legacy' if legacy else 'little'};"))
        for events in blocks:
            check_range(path, "EVT2.1", events, 11)
            last = check_times(path, "EVT2.1", events.t, last, PERIOD >> 1)
            first, masks = _group_columns(events)
            heads = events[first]
            aligned = Events(heads.t, heads.x & np.uint16(0xFFE0), heads.y, heads.p)
            words, high = encode_evt2(aligned, high)
            pairs = np.zeros((len(words), 2), "<u4")
            pairs[:, 0] = words
            pairs[words >> 28 <= 1, 1] = masks
            file.write((pairs if legacy else pairs[:, ::-1]).tobytes())
            count += len(events)
    return count


def write_evt21_legacy(path: Path, blocks: Iterable[Events], sensor: Sensor) -> int:
    """Write EVT2.1 whose first half-word holds the type."""
    return write_evt21(path, blocks, sensor, legacy=True)


def _group_columns(events: Events) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the index of the first event of each word, and its mask; columns ascend in a word, so order is kept."""
    if not len(events):
        return np.zeros(0, np.int64), np.zeros(0, np.uint32)
    x = events.x.astype(np.int64)
    new = (np.diff(events.t) != 0) | (np.diff(events.y) != 0) | (np.diff(events.p) != 0)
    new |= (np.diff(x) <= 0) | (np.diff(x >> 5) != 0)
    first = np.flatnonzero(np.concatenate(([True], new)))
    return first, np.bitwise_or.reduceat(np.uint32(1) << (x & 31).astype(np.uint32), first)
