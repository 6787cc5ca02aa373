"""Events as an image for people: the polarity of most events of each pixel, in one or several."""

import numpy as np
from numpy.typing import NDArray

from event_det.formats.events import Events, Sensor
from event_det.representations.histogram import stacked_histogram

PALETTE = ((26, 32, 46), (66, 120, 200), (150, 190, 235), (205, 170, 120), (255, 240, 215))
"""Background, then OFF (one event, several), then ON (one, several): blue and warm white differ in lightness too."""
LARGEST_SIDE = 1280


def draw_events(events: Events, sensor: Sensor) -> NDArray[np.uint8]:
    """Draw a window: [rows, columns] uint8 indices into `PALETTE`.

    A pixel takes the polarity of most of its events; sensors over 1280 pixels are shrunk by a whole factor.
    """
    width, height = sensor
    off, on = stacked_histogram(events, height, width, bins=1, cutoff=255).astype(np.int32)
    factor = shrinking(sensor)
    if factor > 1:
        off, on = (_sum_blocks(plane, factor) for plane in (off, on))
    return colour_counts(off, on)


def shrinking(sensor: Sensor) -> int:
    """Return the whole factor by which `draw_events` shrinks a sensor."""
    return -(-max(sensor) // LARGEST_SIDE)


def draw_histogram(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw a stacked histogram [2 * bins, H, W]: [H, W] indices into `PALETTE`."""
    bins = len(frames) // 2
    return colour_counts(frames[:bins].sum(0, dtype=np.int32), frames[bins:].sum(0, dtype=np.int32))


def colour_counts(off: NDArray[np.int32], on: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return indices into `PALETTE` for counts of OFF and ON events, both [H, W]."""
    net = on - off
    strong = (np.abs(net) > 1).astype(np.uint8)
    return np.where(off + on == 0, 0, np.where(net >= 0, 3, 1) + strong).astype(np.uint8)


def to_rgb(indices: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the colours of indices into `PALETTE`, uint8 [H, W, 3]."""
    return np.array(PALETTE, np.uint8)[indices]


def _sum_blocks(plane: NDArray[np.int32], factor: int) -> NDArray[np.int32]:
    rows, columns = (-(-side // factor) for side in plane.shape)
    padded = np.zeros((rows * factor, columns * factor), np.int32)
    padded[: plane.shape[0], : plane.shape[1]] = plane
    return padded.reshape(rows, factor, columns, factor).sum((1, 3), dtype=np.int32)
