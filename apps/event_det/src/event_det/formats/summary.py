"""What a recording holds, gathered in one pass."""

from typing import Any

import numpy as np

from event_det.formats.recording import Recording
from polyscale.terminal import Bar

RATE_WINDOW = 10_000


def summarise(recording: Recording, *, gap: int = 100_000, bar: Bar | None = None) -> dict[str, Any]:
    """Read the recording once and describe it.

    Args:
        recording: The recording.
        gap: Pauses of at least this many microseconds between two events are counted.
        bar: A progress bar that counts events.

    Returns:
        format, sensor ("640x480" or None), extent (the smallest such size that holds all events), events, first and
        last time and duration in microseconds, rate (events per second), peak rate (in any aligned 10 ms), share of
        ON events, number of gaps, the longest pause and its start, and what was dropped with the first place of each
        kind.
    """
    count = on = gaps = longest = peak = width = height = 0
    first: int | None = None
    last, longest_at = 0, None
    window, in_window = 0, 0
    for events in recording.chunks():
        count += len(events)
        on += int(np.count_nonzero(events.p))
        width, height = max(width, int(events.x.max()) + 1), max(height, int(events.y.max()) + 1)
        if first is None:
            first = last = int(events.t[0])
        pauses = np.diff(events.t, prepend=last)
        gaps += int(np.count_nonzero(pauses >= gap))
        if pauses.max() > longest:
            longest, longest_at = int(pauses.max()), int(events.t[pauses.argmax()] - pauses.max())
        last = int(events.t[-1])
        starts = np.flatnonzero(np.diff(events.t // RATE_WINDOW, prepend=window))
        counts = np.diff(np.concatenate(([0], starts, [len(events)])))
        counts[0] += in_window
        peak = max(peak, int(counts.max()))
        window, in_window = int(events.t[-1] // RATE_WINDOW), int(counts[-1])
        if bar is not None:
            bar.advance(len(events))
    duration = (last - first) if first is not None else 0
    return {
        "format": recording.format,
        "sensor": "{}x{}".format(*recording.sensor) if recording.sensor else None,
        "extent": f"{width}x{height}",
        "events": count,
        "first_us": first,
        "last_us": last if count else None,
        "duration_us": duration,
        "rate": count / duration * 1e6 if duration else None,
        "peak_rate": peak * 1e6 / RATE_WINDOW,
        "on_share": on / count if count else None,
        "gaps": gaps,
        "longest_pause_us": longest,
        "longest_pause_at_us": longest_at,
        "dropped": recording.dropped.counts,
        "dropped_first_at": recording.dropped.places,
    }
