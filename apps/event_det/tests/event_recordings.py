"""Events that the tests make, and recordings that are broken on purpose."""

import itertools
from pathlib import Path

import numpy as np

from event_det import Events
from event_det.formats import FORMATS, write_recording

SENSOR = (200, 180)
DATA = next((p / "shared/data/event" for p in Path(__file__).parents if (p / "shared/data").is_dir()), Path("none"))
WRITTEN = [name for name, row in FORMATS.items() if row.writer]


def make_events(
    count: int, seed: int = 0, *, step: int = 30, start: int = 1000, sensor: tuple[int, int] = SENSOR
) -> Events:
    """Make sorted events with repeated times and runs of neighbours in a row, as cameras give them."""
    rng = np.random.default_rng(seed)
    t = start + np.cumsum(rng.integers(0, step + 1, count) * (rng.random(count) < 0.5))
    x, y = rng.integers(0, sensor[0], count), rng.integers(0, sensor[1], count)
    runs = np.flatnonzero(rng.random(count) < 0.3)[1:]
    p = rng.integers(0, 2, count)
    for i in runs:  # the neighbour to the right of the event before, at its time
        if x[i - 1] + 1 < sensor[0]:
            t[i:] -= t[i] - t[i - 1]
            x[i], y[i], p[i] = x[i - 1] + 1, y[i - 1], p[i - 1]
    return Events(t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8))


def same(a: Events, b: Events) -> bool:
    """Whether two series of events are equal, and of the promised types."""
    types = (np.int64, np.uint16, np.uint16, np.uint8)
    return all(
        np.array_equal(getattr(a, n), getattr(b, n)) and getattr(a, n).dtype == kind
        for n, kind in zip("txyp", types, strict=True)
    )


def write(path: Path, events: Events, name: str, parts: int = 3) -> Path:
    """Write events in several parts."""
    bounds = np.linspace(0, len(events), parts + 1).astype(int)
    write_recording(path, (events[a:b] for a, b in itertools.pairwise(bounds)), SENSOR, format=name)
    return path


WAYS = ("cut", "flip", "zero", "noise", "insert")


def break_file(path: Path, way: str, rng: np.random.Generator) -> None:
    """Damage a file in one of WAYS, at a place that is drawn."""
    content = bytearray(path.read_bytes())
    at = int(rng.integers(len(content)))
    if way == "cut":
        content = content[:at]
    elif way == "flip":
        for _ in range(8):
            content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    elif way == "zero":
        content[at : at + 512] = bytes(len(content[at : at + 512]))
    elif way == "noise":
        content[at : at + 512] = rng.bytes(len(content[at : at + 512]))
    else:
        content[at:at] = rng.bytes(3)
    path.write_bytes(bytes(content))
