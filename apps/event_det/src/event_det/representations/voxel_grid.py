"""The voxel grid of Zhu et al. (CVPR 2019): polarities, each shared between the two nearest time bins."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_det.compiled import compiled
from event_det.formats.events import Events


def voxel_grid(events: Events, height: int, width: int, *, bins: int = 5) -> NDArray[np.float32]:
    """Sum polarities (+1 ON, -1 OFF) by time bin and pixel, linearly interpolated in time.

    The first event stands at bin 0, the last at bin `bins` - 1.

    Args:
        events: The events, inside height x width.
        height: Rows.
        width: Columns.
        bins: Time bins.

    Returns:
        [bins, height, width] float32; values are not normalised.
    """
    grid = np.zeros((bins, height * width), np.float32)
    if len(events):
        scale = (bins - 1) / max(int(events.t[-1] - events.t[0]), 1)
        _add(events.t, events.x, events.y, events.p, scale, width, grid)
    return grid.reshape(bins, height, width)


@compiled
def _add(
    t: NDArray[Any], x: NDArray[Any], y: NDArray[Any], p: NDArray[Any], scale: float, width: int, grid: NDArray[Any]
) -> None:
    for i in range(t.size):
        position = (t[i] - t[0]) * scale
        b = min(int(position), len(grid) - 1)
        right = np.float32(position - b)
        sign = np.float32(1) if p[i] else np.float32(-1)
        at = np.intp(y[i]) * width + x[i]
        grid[b, at] += sign * (np.float32(1) - right)
        if b + 1 < len(grid):
            grid[b + 1, at] += sign * right


def reference_grid(events: Events, height: int, width: int, *, bins: int = 5) -> NDArray[np.float32]:
    """Compute `voxel_grid` in plain NumPy, adding in the same order."""
    grid = np.zeros((bins + 1, height, width), np.float32)  # the last bin's right neighbour is cut off
    if not len(events):
        return grid[:bins]
    position = (events.t - events.t[0]) * ((bins - 1) / max(int(events.t[-1] - events.t[0]), 1))
    b = np.minimum(position.astype(np.int64), bins - 1)
    right = (position - b).astype(np.float32)
    sign = np.where(events.p, np.float32(1), np.float32(-1))
    weights = np.stack([sign * (np.float32(1) - right), sign * right], axis=1)
    neighbours = np.stack([b, b + 1], axis=1)
    np.add.at(grid, (neighbours, events.y[:, None], events.x[:, None]), weights)
    return grid[:bins]
