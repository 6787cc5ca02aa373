"""What the writers share: a file that appears when it is complete, and the limits of each format."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from event_det.formats.events import Events
from polyscale.errors import UserError


@contextlib.contextmanager
def replace_when_done(path: Path) -> Iterator[Path]:
    """Yield a path next to `path` to write to; it takes the name `path` when the block ends without an error.

    The folder is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def open_output(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing bytes that appears under its name when it is complete."""
    with replace_when_done(path) as part, part.open("wb") as file:
        yield file


def check_range(path: Path, name: str, events: Events, bits: int) -> None:
    """Raise UserError if a coordinate needs more than `bits` bits."""
    largest = int(max(events.x.max(initial=0), events.y.max(initial=0)))
    if largest >= 1 << bits:
        raise UserError(f"{path}: {name} holds coordinates below {1 << bits}, not {largest}; choose another format")


def check_times(path: Path, name: str, t: NDArray[Any], last: int, limit: int) -> int:
    """Raise UserError if a time is negative or follows `limit` us or more after the one before it.

    Args:
        path: The file that is written.
        name: The format.
        t: Times in microseconds.
        last: Time of the event before, -1 for none.
        limit: Half the range of the format's clock; longer pauses could not be told from a wrap.

    Returns:
        The last time.
    """
    if not len(t):
        return last
    if t[0] < 0:
        raise UserError(f"{path}: {name} holds no negative times; use --time-origin first")
    longest = max(int(np.diff(t).max(initial=0)), int(t[0]) - last if last >= 0 else 0)
    if longest >= limit:
        raise UserError(f"{path}: {name} cannot hold a pause of {longest / 1e6:.0f} s; choose another format")
    return int(t[-1])
