"""The time surface (Lagorce et al., 2017): how long ago each pixel last fired, as an exponential decay."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_det.compiled import compiled
from event_det.formats.events import Events


def time_surface(
    events: Events, height: int, width: int, *, tau: float = 50_000.0, at: int | None = None
) -> NDArray[np.float32]:
    """Return exp((t - at) / tau) of the latest event of each polarity and pixel.

    Args:
        events: The events, inside height x width, none later than `at`.
        height: Rows.
        width: Columns.
        tau: Time in microseconds after which a value has fallen to 1/e.
        at: Time of the surface; None for that of the last event.

    Returns:
        [2, height, width] float32 from 0 (no event) to 1 (an event at that time): OFF, then ON.
    """
    latest = np.full((2, height * width), -1, np.int64)
    start = events.t[0] if len(events) else 0
    _mark(events.t - start, events.x, events.y, events.p, width, latest)
    return decay(latest.reshape(2, height, width), start, events.t[-1] if at is None and len(events) else at or 0, tau)


@compiled
def _mark(
    elapsed: NDArray[Any], x: NDArray[Any], y: NDArray[Any], p: NDArray[Any], width: int, latest: NDArray[Any]
) -> None:
    for i in range(elapsed.size):
        latest[p[i], np.intp(y[i]) * width + x[i]] = elapsed[i]


def decay(latest: NDArray[np.int64], start: int, at: int, tau: float) -> NDArray[np.float32]:
    """Return the decayed value of the latest times since `start`; -1 stands for no event and gives 0."""
    age = (np.int64(at) - start) - latest
    if (latest >= 0).any() and age[latest >= 0].min() < 0:
        raise ValueError("the surface cannot be earlier than its last event")
    return np.where(latest >= 0, np.exp(-age / tau), 0.0).astype(np.float32)


def reference_surface(events: Events, height: int, width: int, *, tau: float = 50_000.0) -> NDArray[np.float32]:
    """Compute `time_surface` in plain NumPy."""
    latest = np.full((2, height, width), -1, np.int64)
    start = events.t[0] if len(events) else 0
    np.maximum.at(latest, (events.p, events.y, events.x), events.t - start)
    return decay(latest, start, events.t[-1] if len(events) else 0, tau)
