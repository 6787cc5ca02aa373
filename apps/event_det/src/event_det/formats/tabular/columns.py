"""Which column of a table is t, x, y or p: by its name, or by its values where it has none."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_det.formats.events import Sensor
from polyscale.errors import UserError

NAMES = {
    "t": ("t", "ts", "time", "timestamp", "timestamps", "time_us", "t_us"),
    "x": ("x", "xs", "col", "x_pos"),
    "y": ("y", "ys", "row", "y_pos"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
LARGEST_SECOND = 1e6
MAX_LETTERS = 100  # of a header that an error shows
MOSTLY = 0.9


def find_columns(names: Sequence[str], path: Path) -> dict[str, int]:
    """Return the index of the columns t, x, y and p among `names` (case-insensitive, units in brackets ignored).

    Raises:
        UserError: one of the four is missing or named twice.
    """
    plain = [re.sub(r"\s*[\[(].*", "", name).strip().strip('"').lower() for name in names]
    found = {}
    for column, aliases in NAMES.items():
        places = [index for index, name in enumerate(plain) if name in aliases]
        if len(places) != 1:
            problem = "has no" if not places else "has more than one"
            among = ", ".join(names)
            among = among if len(among) <= MAX_LETTERS else f"{among[:MAX_LETTERS]} ..."
            raise UserError(f"{path}: {problem} column {column} among {among or 'none'}; expected t, x, y, p")
        found[column] = places[0]
    return found


def guess_columns(sample: NDArray[Any], path: Path) -> dict[str, int]:
    """Return the index of the columns t, x, y and p of a table without names.

    The polarity is the last column, or the one before, that holds only 0, 1 and -1. With the polarity third the time is
    last (Metavision's order). With the polarity last the time is the first or the third column, whichever never
    decreases or does so less often; the first in a tie.

    Args:
        sample: The first rows, [N, 4].
        path: Named in the error.

    Raises:
        UserError: the values do not tell.
    """
    if sample.ndim != 2 or sample.shape[1] != 4:
        raise UserError(f"{path}: expected 4 columns (t, x, y, p), found an array of shape {list(sample.shape)}")
    if not len(sample):
        raise UserError(f"{path}: holds no events")
    steps = np.diff(sample.astype(np.float64), axis=0)
    sorted_share = (steps >= 0).mean(0) if len(steps) else np.ones(4)  # of a single event
    binary = [bool(np.isin(sample[:, column], (-1, 0, 1)).all()) for column in range(4)]
    if binary[3] or binary[2]:
        p = 3 if binary[3] else 2
        t = 3 if p == 2 else 0 if sorted_share[0] >= sorted_share[2] else 2
        if sorted_share[t] > MOSTLY:
            x, y = (column for column in range(4) if column not in (p, t))
            return {"t": t, "x": x, "y": y, "p": p}
    raise UserError(f"{path}: the columns cannot be told apart; name them t, x, y, p (csv header or structured array)")


def in_seconds(times: NDArray[Any]) -> bool:
    """Whether times are in seconds: they have fractions and stay below a million."""
    if times.dtype.kind != "f" or not len(times):
        return False
    finite = times[np.isfinite(times)]
    return bool((finite != np.floor(finite)).any() and np.abs(finite).max() < LARGEST_SECOND)


def sensor_or_none(width: Any, height: Any) -> Sensor | None:
    """Return (width, height) as int if both are sensible, else None."""
    try:
        size = int(np.asarray(width).reshape(-1)[0]), int(np.asarray(height).reshape(-1)[0])
    except (TypeError, ValueError, IndexError):
        return None
    return size if min(size) > 0 and max(size) < 2**16 else None
