"""The stacked histogram of RVT (Gehrig and Scaramuzza, CVPR 2023), equal to its StackedHistogram value for value.

Events are counted by polarity, time bin and pixel. The bins divide the time from the first to the last event given,
not the window they were cut from. RVT computes the bin of every event in float32; here the first time of each bin is
found by bisection on the same float32 formula, and since events are sorted by time, a bin is a slice.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_det.compiled import compiled
from event_det.formats.events import Events


def stacked_histogram(
    events: Events,
    height: int,
    width: int,
    *,
    bins: int = 10,
    cutoff: int = 10,
    wrap: bool = False,
    half: bool = False,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Count events by polarity, time bin and pixel.

    Args:
        events: The events, inside height x width.
        height: Rows.
        width: Columns.
        bins: Time bins.
        cutoff: Largest count, up to 255; more events leave it at that.
        wrap: Let counts start again at 0 after 255, before the cutoff. RVT's fast mode does so; without it counts
            equal those of its other mode.
        half: Half the size in both directions, the way RVT makes it for 1 Mpx: of each 2 x 2 pixels only the lower
            right one counts.
        out: Array to overwrite, in place of a new one.

    Returns:
        [2 * bins, height, width] uint8, or half of both: the bins of OFF events, then those of ON events.
    """
    if not 1 <= cutoff <= 255:
        raise ValueError(f"cutoff must be from 1 to 255, not {cutoff}")
    rows, columns = (height // 2, width // 2) if half else (height, width)
    shape = (2 * bins, rows, columns)
    if out is None:
        out = np.empty(shape, np.uint8)
    elif out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise ValueError(f"out must be a contiguous uint8 array of shape {shape}, not {out.dtype} of shape {out.shape}")
    if not len(events):
        out[...] = 0
    else:
        edges = np.append(
            np.searchsorted(events.t, events.t[0] + bin_starts(events.t[-1] - events.t[0], bins)), len(events)
        )
        most = 255 if wrap else cutoff
        _count(events.x, events.y, events.p, edges, rows, columns, most, wrap, half, out.reshape(-1))
        if wrap:
            np.minimum(out, cutoff, out=out)
    return out


@compiled
def bin_starts(span: int, bins: int) -> NDArray[np.int64]:
    """Return the smallest time since the first event that falls into each bin, [bins]; span + 1 for an empty bin."""
    starts = np.empty(bins, np.int64)
    width, count = np.float32(max(span, 1)), np.float32(bins)
    for b in range(bins):
        low, high = 0, span + 1
        while low < high:
            middle = (low + high) // 2
            # min(floor, bins - 1) >= b, in RVT's float32 arithmetic
            if np.floor(np.float32(middle) / width * count) >= b:
                high = middle
            else:
                low = middle + 1
        starts[b] = low
    return starts


def time_bins(elapsed: NDArray[np.int64], span: int, bins: int) -> NDArray[np.int64]:
    """Return the bin of each time since the first event, in RVT's float32 arithmetic."""
    normalised = elapsed.astype(np.float32) / np.float32(max(span, 1)) * np.float32(bins)
    return np.minimum(np.floor(normalised), bins - 1).astype(np.int64)


@compiled
def _count(
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    edges: NDArray[Any],
    rows: int,
    columns: int,
    most: int,
    wrap: bool,
    half: bool,
    cells: NDArray[Any],
) -> None:
    """Count into `cells`, flat, of any content before: a bin's are cleared when it begins, so that they are in cache.

    Nothing that is done for an event depends on its count by a branch: that would be guessed wrongly too often.
    """
    bins = edges.size - 1
    width, plane = np.uint32(columns), np.uint32(rows * columns)
    on, full = np.uint32(bins) * plane, np.uint32(256 if wrap else most)  # 255 + 1 is 0
    for b in range(bins):
        start = np.uint32(b) * plane
        cells[start : start + plane] = 0
        cells[start + on : start + on + plane] = 0
        if half:
            for i in range(edges[b], edges[b + 1]):
                if x[i] & y[i] & 1 and x[i] >> 1 < columns:
                    at = start + np.uint32(y[i] >> 1) * width + np.uint32(x[i] >> 1) + np.uint32(p[i] != 0) * on
                    count = cells[at]
                    cells[at] = np.uint8(count + np.uint8(count < full))
        else:
            for i in range(edges[b], edges[b + 1]):
                at = start + np.uint32(y[i]) * width + np.uint32(x[i]) + np.uint32(p[i] != 0) * on
                count = cells[at]
                cells[at] = np.uint8(count + np.uint8(count < full))


def reference_histogram(
    events: Events, height: int, width: int, *, bins: int = 10, cutoff: int = 10
) -> NDArray[np.uint8]:
    """Compute `stacked_histogram` in plain NumPy: one index for each event, then a count."""
    if not len(events):
        return np.zeros((2 * bins, height, width), np.uint8)
    b = time_bins(events.t - events.t[0], int(events.t[-1] - events.t[0]), bins)
    plane = events.p.astype(np.int64) * bins + b
    index = (plane * height + events.y) * width + events.x
    counts = np.bincount(index, minlength=2 * bins * height * width)
    return np.minimum(counts, cutoff).astype(np.uint8).reshape(2 * bins, height, width)
