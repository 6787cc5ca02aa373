"""A minute of 100 million events, decoded window by window in flat memory: `python tools/bench/event_stream.py`.

A made-up recording of 1280 x 720 pixels is written as EVT3 (`--format` takes another), then read in windows of 50 ms
that become histograms of half the size, as for a network of 1 Mpx. Reported: how many times faster than real time it
is in processor time of one thread, reading alone and with histograms, and by how much the memory of the process grew
from the first tenth of the recording to its end. With `--model` the same recording goes through a detector, any that
`event-det predict` takes.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from event_det import Events, Recording, stacked_histogram, write_recording
from event_det.predict import inclusive_windows

SENSOR = (1280, 720)
BLOCK = 1_000_000
WINDOW = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--format", default="evt3")
    parser.add_argument("--model", help="also predict with this model")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "minute.dat" if arguments.format == "dat" else "minute.raw")
        count = write_recording(path, made_up(arguments.events, arguments.seconds), SENSOR, format=arguments.format)
        print(
            f"{count:,} events over {arguments.seconds:g} s in {path.stat().st_size / 1e6:.0f} MB of {arguments.format}"
        )
        measure("reading", Recording(path), arguments.seconds, histograms=False)
        measure("reading and histograms", Recording(path), arguments.seconds, histograms=True)
        if arguments.model:
            predict(path, arguments.model, arguments.seconds)


def made_up(count: int, seconds: float) -> Iterator[Events]:
    """Yield blocks of events of edges that wander, evenly spread over the time."""
    rng = np.random.default_rng(0)
    step = seconds * 1e6 / count
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        t = (step * np.arange(start, start + size)).astype(np.int64)
        x, y = (np.abs(np.cumsum(rng.integers(-3, 4, size)) + rng.integers(side)) % side for side in SENSOR)
        yield Events(t, x.astype(np.uint16), y.astype(np.uint16), rng.integers(0, 2, size).astype(np.uint8))


def resident() -> float:
    """Return the largest resident memory so far in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def measure(what: str, recording: Recording, seconds: float, *, histograms: bool) -> None:
    """Read a recording once and print one line."""
    out = np.zeros((20, SENSOR[1] // 2, SENSOR[0] // 2), np.uint8)
    began, seen, early = time.process_time(), 0, 0.0
    for end, events in inclusive_windows(recording, WINDOW):
        seen += len(events)
        if histograms:
            stacked_histogram(events, SENSOR[1], SENSOR[0], half=True, out=out)
        if end <= seconds * 1e5:
            early = resident()
    spent = time.process_time() - began
    print(
        f"{what}: {seen / spent / 1e6:.0f} M events/s, {seconds / spent:.1f} times real time; "
        f"memory grew by {resident() - early:.1f} MB after the first tenth"
    )


def predict(path: Path, model: str, seconds: float) -> None:
    """Send a recording through a detector and print one line."""
    from event_det.predict import Predictor

    predictor = Predictor(model)
    began, boxes, early = time.perf_counter(), 0, 0.0
    for found in predictor.stream(Recording(path)):
        boxes += len(found.boxes)
        if found.time <= seconds * 1e5:
            early = resident()
    spent = time.perf_counter() - began
    print(
        f"prediction: {seconds / spent:.2f} times real time, {boxes:,} boxes; "
        f"memory grew by {resident() - early:.1f} MB after the first tenth"
    )


if __name__ == "__main__":
    main()
