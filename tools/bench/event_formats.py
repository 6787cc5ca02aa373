"""Decoding speed of event-det next to other decoders: `python tools/bench/event_formats.py [EVT2.raw] [--rounds 9]`.

A recording of 8 million events is written as EVT2, EVT3, DAT and EVT2.1 (made by a seeded walk, or from the file given)
and read whole, round by round, the decoders taking turns. Peers are used where they are installed (expelliarmus, evt3;
neither is a dependency). Reported: M events/s, median over rounds, and our speed over the peer's: median and
middle half.
"""

import argparse
import importlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from event_det import Events, Recording, write_recording

COUNT = 8_000_000
SENSOR = (1280, 720)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="?", help="recording whose events are repeated; made up without it")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    events = repeat(Recording(arguments.source).read() if arguments.source else made_up())
    with tempfile.TemporaryDirectory() as folder:
        for name, peer in (("evt2", "expelliarmus"), ("dat", "expelliarmus"), ("evt3", "evt3"), ("evt21", "")):
            path = Path(folder, f"a.{'dat' if name == 'dat' else 'raw'}")
            write_recording(path, [events], SENSOR, format=name)
            compare(name, path, peer, len(events), arguments.rounds)


def made_up() -> Events:
    """Make events of moving edges: neighbours in time share rows."""
    rng = np.random.default_rng(0)
    t = np.cumsum(rng.integers(0, 2, 1_000_000))
    x, y = (np.abs(np.cumsum(rng.integers(-3, 4, len(t)))) % side for side in SENSOR)
    y = np.repeat(y[::4], 4)
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), rng.integers(0, 2, len(t)).astype(np.uint8))


def repeat(events: Events) -> Events:
    """Repeat events after each other until there are COUNT."""
    span = int(events.t[-1] - events.t[0]) + 1
    return Events.concatenate(events.shifted(span * i) for i in range(-(-COUNT // len(events))))[:COUNT]


def peer_reader(peer: str, name: str, path: Path) -> Callable[[], object] | None:
    """Return what reads the file with the peer, None where it is not installed."""
    try:
        module = importlib.import_module(peer)
    except ImportError:
        return None
    if peer == "evt3":
        return lambda: module.decode_file(str(path))
    return lambda: module.Wizard(encoding=name).read(str(path))


def read_all(path: Path) -> int:
    """Decode a file part by part, as every command does."""
    return sum(map(len, Recording(path).chunks()))


def compare(name: str, path: Path, peer: str, count: int, rounds: int) -> None:
    """Time our reader and the peer in turns and print one line."""
    readers: dict[str, Callable[[], object]] = {"ours": lambda: read_all(path)}
    if peer and (found := peer_reader(peer, name, path)):
        readers[peer] = found
    times: dict[str, list[float]] = {label: [] for label in readers}
    assert read_all(path) == count
    for turn in range(rounds):
        for label in sorted(readers, reverse=bool(turn % 2)):
            start = time.perf_counter()
            readers[label]()
            times[label].append(time.perf_counter() - start)
    speeds = [f"{label} {count / statistics.median(spent) / 1e6:.0f}" for label, spent in times.items()]
    line = f"{name}: {', '.join(speeds)} M events/s"
    if peer in times:
        ratios = sorted(theirs / ours for ours, theirs in zip(times["ours"], times[peer], strict=True))
        low, middle, high = (ratios[len(ratios) * part // 4] for part in (1, 2, 3))
        line += f"; ours / {peer} {middle:.2f} ({low:.2f} to {high:.2f})"
    print(line)


if __name__ == "__main__":
    main()
