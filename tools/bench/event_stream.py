"""A minute of 100 million events through the detector in flat memory: `python tools/bench/event_stream.py`.

A made-up recording of 1280 x 720 pixels (or `--sensor`) is written as EVT3 (`--format` takes another) and then read
three times, each time by a process of its own: in windows of 50 ms, in windows that become histograms of half the
size, as for a network of 1 Mpx, and by `Predictor.stream` with the shipped model (`--model` takes any that `event-det
predict` takes, none leaves it out). Printed of each: how many times faster than real time it is by the clock and in
processor time, the memory that the process took at most, by how much that grew after the first tenth of the recording,
and, where glibc tells it, by how much its heap in use grew: flat memory is a growth near 0 of what is in use.
`--events 4000000 --seconds 12 --sensor 640x360` is a try of a minute.
"""

import argparse
import ctypes
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from event_det import Events, Recording, stacked_histogram, write_recording
from event_det.formats.events import parse_sensor
from event_det.predict import Predictor, inclusive_windows

BLOCK = 1_000_000
WINDOW = 50_000
EARLY = 0.1  # share of the recording after which memory should be what it will be


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--sensor", type=parse_sensor, default=(1280, 720), metavar="WxH")
    parser.add_argument("--format", default="evt3")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--json", action="store_true", help="one JSON object for each way in place of a line")
    given = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "minute.dat" if given.format == "dat" else "minute.raw")
        count = write_recording(
            path, made_up(given.events, given.seconds, given.sensor), given.sensor, format=given.format
        )
        if not given.json:
            size = path.stat().st_size / 1e6
            print(f"{count:,} events of {given.seconds:g} s, {size:.0f} MB of {given.format}", flush=True)
        ways = {"windows": "", "histograms": ""} | ({} if given.model == "none" else {"prediction": given.model})
        for way, model in ways.items():
            with spawn.Pool(1) as pool:  # its memory is of this way alone
                found = pool.apply(measure, (way, path, given.seconds, model))
            print(json.dumps(found) if given.json else describe(found, given.seconds), flush=True)


def made_up(count: int, seconds: float, sensor: tuple[int, int]) -> Iterator[Events]:
    """Yield blocks of events of edges that wander, evenly spread over the time."""
    rng = np.random.default_rng(0)
    step = seconds * 1e6 / count
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        t = (step * np.arange(start, start + size)).astype(np.int64)
        x, y = (np.abs(np.cumsum(rng.integers(-3, 4, size)) + rng.integers(side)) % side for side in sensor)
        yield Events(t, x.astype(np.uint16), y.astype(np.uint16), rng.integers(0, 2, size).astype(np.uint8))


def measure(way: str, path: Path, seconds: float, model: str) -> dict[str, Any]:
    """Send a recording through once; the clock starts when a model is loaded."""
    results = {"windows": read_windows, "histograms": histograms}[way](path) if not model else predict(path, model)
    windows = events = boxes = 0
    early = used = 0.0
    clock, processor = time.perf_counter(), time.process_time()
    for end, seen, found in results:
        windows, events, boxes = windows + 1, events + seen, boxes + found
        if end <= EARLY * seconds * 1e6:
            early, used = resident(), heap_in_use()
    spent = {"seconds": time.perf_counter() - clock, "processor_seconds": time.process_time() - processor}
    memory = {"memory_MB": resident(), "growth_MB": resident() - early, "heap_growth_MB": heap_in_use() - used}
    return {"way": way, "windows": windows, "events": events, "boxes": boxes, **spent, **memory}


def read_windows(path: Path) -> Iterator[tuple[int, int, int]]:
    """Yield (end of the window, its events, 0)."""
    for end, events in inclusive_windows(Recording(path), WINDOW):
        yield end, len(events), 0


def histograms(path: Path) -> Iterator[tuple[int, int, int]]:
    """Yield the same of windows that became histograms."""
    recording = Recording(path)
    width, height = recording.sensor or (0, 0)
    out = np.zeros((20, height // 2, width // 2), np.uint8)
    for end, events in inclusive_windows(recording, WINDOW):
        stacked_histogram(events, height, width, half=True, out=out)
        yield end, len(events), 0


def predict(path: Path, model: str) -> Iterator[tuple[int, int, int]]:
    """Return what yields (end of the window, its events, its boxes)."""
    predictor = Predictor(model, window=WINDOW)
    results = predictor.stream(Recording(path))
    return ((found.time, len(found.events), len(found.boxes)) for found in results)


def resident() -> float:
    """Return the largest resident memory so far in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


class _Heap(ctypes.Structure):
    """struct mallinfo2 of glibc."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keep",
        )
    ]


def heap_in_use() -> float:
    """Return what this process has allocated and not freed, in MB; NaN where there is no glibc of 2.33 or newer."""
    try:
        ask = ctypes.CDLL("libc.so.6").mallinfo2
    except (OSError, AttributeError):
        return float("nan")
    ask.restype = _Heap
    found = ask()
    return (found.uordblks + found.hblkhd) / 1e6


def describe(found: dict[str, Any], seconds: float) -> str:
    factor, alone = seconds / found["seconds"], seconds / found["processor_seconds"]
    boxes = f", {found['boxes']:,} boxes" if found["way"] == "prediction" else ""
    pace = f"{factor:.2f} times real time ({alone:.2f} in processor time)"
    rate = f"{found['events'] / found['seconds'] / 1e6:.2f} M events/s{boxes}"
    memory = f"{found['memory_MB']:.0f} MB at most, {found['growth_MB']:+.1f} MB after the first tenth"
    memory += f", in use {found['heap_growth_MB']:+.1f} MB"
    return f"{found['way']}: {pace}, {rate}; memory {memory}"


if __name__ == "__main__":
    main()
