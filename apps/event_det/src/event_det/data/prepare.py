"""From raw recordings and their boxes to RVT's layout, with RVT's choice of windows and frames.

Frames are the times at which boxes stand. Gen1 is labelled at up to 4 Hz and 1 Mpx at 30 or 60 Hz, of which RVT takes
those that lie on a grid of 4 or about 10 Hz, to within 2 ms; of other data sets all frames are taken that are half a
window apart. The windows end at the frames, and between two frames at even distances of about 50 ms; the first ones
count back from the first frame, of which RVT leaves out the earliest. Boxes before 100 ms are not used. (For Gen1,
RVT's script as published would leave 125 ms between windows; its paper has 50 ms everywhere, and so it is here.)
"""

import functools
import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_det.data.boxes import Standard, check_boxes, filter_boxes
from event_det.data.raw import RawRecording, read_boxes
from event_det.data.rvt import FRAMES, HISTOGRAM, file_name, write_sequence
from event_det.formats.events import Events
from event_det.formats.recording import Recording
from event_det.representations.histogram import stacked_histogram
from polyscale.data.naming import plural
from polyscale.errors import UserError

EARLIEST = 100_000
JITTER = 2_000
COMPRESSION: dict[str, Any] = {"lzf": {"compression": "lzf"}, "gzip": {"compression": "gzip", "compression_opts": 1}}


@dataclass(frozen=True)
class Preparation:
    """How recordings are prepared.

    Attributes:
        standard: The data set: its classes, sensor and filters.
        grid: Microseconds between the frames that are taken: a number, "median" for RVT's rule for 1 Mpx, or None.
        window: Microseconds of a window.
        bins: Time bins of a window.
        cutoff: Largest count.
        compression: "lzf" and "gzip" are read everywhere, "blosc" is what RVT writes and needs hdf5plugin to be read.
        sparse: Store histograms by their cells.
    """

    standard: Standard
    grid: int | str | None = None
    window: int = 50_000
    bins: int = 10
    cutoff: int = 10
    compression: str = "lzf"
    sparse: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a recording: steps and boxes written, or why not; `warning` is what was dropped of its events."""

    name: str
    steps: int = 0
    boxes: int = 0
    skipped: str = ""
    warning: str = ""
    error: str = ""


def prepare_all(recordings: list[RawRecording], out: Path, how: Preparation, jobs: int) -> Iterator[Outcome]:
    """Prepare recordings, `jobs` at a time; what is there already is passed over, and a bad one does not end it."""
    work = functools.partial(prepare_one, out=out, how=how)
    if jobs == 1:
        yield from map(work, recordings)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, recordings)


def prepare_one(raw: RawRecording, out: Path, how: Preparation) -> Outcome:
    """Prepare one recording."""
    folder = out / raw.split / raw.name
    inner = folder / FRAMES / HISTOGRAM.format(window=how.window // 1000, bins=how.bins)
    label = f"{raw.split}/{raw.name}"
    if (inner / file_name(how.standard.half, how.sparse)).is_file():
        return Outcome(label, skipped="is there already")
    try:
        return _prepare(raw, folder, label, how)
    except UserError as error:
        return Outcome(label, error=str(error))


def _prepare(raw: RawRecording, folder: Path, label: str, how: Preparation) -> Outcome:
    standard = how.standard
    recording = Recording(raw.events)
    found = read_boxes(raw.boxes, standard.classes, recording)
    sensor = recording.sensor or standard.sensor
    if not sensor[0]:
        raise UserError(f"{raw.events}: states no sensor size; convert it first with: event-det data convert --sensor")
    if standard.sensor[0] and sensor != standard.sensor:
        raise UserError(f"{raw.events}: the sensor is {sensor[0]}x{sensor[1]}, {standard.about} has {standard.sensor}")
    warnings: list[str] = []
    if standard.sensor[0]:
        kept = filter_boxes(found.boxes, standard, raw.split)
        times = np.unique(kept["t"])  # a frame whose boxes are all filtered out is no frame, as in RVT
    else:
        unknown = found.boxes[found.boxes["class_id"] >= len(standard.classes)]
        if len(unknown):
            raise UserError(
                f"{raw.boxes}: {plural(len(unknown), 'box')} of no known class, the first is {unknown['class_id'][0]}; "
                "name all of them in --classes"
            )
        bad = check_boxes(found.boxes, sensor, raw.boxes) if len(found.boxes) else 0
        warnings += [f"{raw.boxes}: {plural(bad, 'box')} without area on the sensor left out"] * (bad > 0)
        kept = filter_boxes(found.boxes, Standard(standard.about, standard.classes, sensor), raw.split)
        times = _among_events(found.frames, recording, raw.boxes, how.window)
        if left := len(found.frames) - len(times):
            warnings.append(f"{raw.boxes}: {plural(left, 'frame')} without events left out, outside of the recording")
    chosen = choose_frames(times, how.grid, how.window, earliest=EARLIEST if standard.sensor[0] else None)
    if not len(chosen):
        return Outcome(label, skipped="no box is left after the filters")
    ends = window_ends(chosen, how.window, first=None if standard.sensor[0] else found.first)
    frames = {int(time): kept[kept["t"] == time] for time in chosen}
    histograms = (
        stacked_histogram(events, sensor[1], sensor[0], bins=how.bins, cutoff=how.cutoff, wrap=True, half=standard.half)
        for events in cut_windows(recording.chunks(int(ends[0]) - how.window, int(ends[-1]) + 1), ends, how.window)
    )
    write_sequence(
        folder, histograms, ends, frames, half=standard.half, sparse=how.sparse, window=how.window // 1000,
        compression=compression_options(how.compression),
    )  # fmt: skip
    warnings += [str(recording.dropped)] * bool(recording.dropped.total)
    return Outcome(label, len(ends), sum(map(len, frames.values())), warning="; ".join(warnings))


def _among_events(times: NDArray[np.int64], recording: Recording, path: Path, window: int) -> NDArray[np.int64]:
    """Return the times of frames from the first event to a window behind the last.

    Raises:
        UserError: no frame is there, or no event.
    """
    if (span := recording.span()) is None:
        raise recording.without_events()
    first, last = span
    inside = times[(times >= first) & (times <= last + window)]
    if len(times) and not len(inside):
        boxes, events = (f"{a / 1e6:g} to {b / 1e6:g} s" for a, b in ((times[0], times[-1]), span))
        raise UserError(
            f"{path}: its frames are of {boxes}, the events of {events}; microseconds of one clock are needed"
        )
    return inside


def choose_frames(
    times: NDArray[np.int64], grid: int | str | None, window: int, *, earliest: int | None
) -> NDArray[np.int64]:
    """Return the times of the frames to take.

    Args:
        times: Times with boxes, ascending, each once.
        grid: See `Preparation`.
        window: Microseconds of a window.
        earliest: No frame is before this time.

    Raises:
        UserError: the rate of the boxes is neither 30 nor 60 Hz where it has to be.
    """
    step = _grid(times, grid)
    chosen: list[int] = []
    for time in times.tolist():
        if earliest is not None and time < earliest:
            continue
        since = time - chosen[-1] if chosen else None
        if since is None:
            chosen.append(time)
        elif step is None:
            chosen += [time] * (since >= window / 2)
        else:
            turns = round(since / step)
            chosen += [time] * (turns > 0 and abs(since - turns * step) <= JITTER)
    return np.array(chosen, np.int64)


def _grid(times: NDArray[np.int64], grid: int | str | None) -> int | None:
    if not isinstance(grid, str) or len(times) < 2:
        return None if isinstance(grid, str) else grid
    median = float(np.median(np.diff(times)))
    rate = round(1e6 / median)
    if rate not in (30, 60):
        raise UserError(f"the boxes come at {rate} Hz; 30 or 60 Hz are expected of this data set")
    return int(median * (6 if rate == 60 else 3))


def window_ends(frames: NDArray[np.int64], window: int, *, first: int | None = None) -> NDArray[np.int64]:
    """Return the ends of all windows up to the last frame.

    Args:
        frames: Times of the frames.
        window: Microseconds of a window.
        first: Time of the first event; None for 0, and for RVT's way to leave out the earliest window.
    """
    before = range(int(frames[0]), first or 0, -window)[1:]
    ends = list(reversed(before if first is not None else before[:-1]))
    for start, stop in itertools.pairwise(frames.tolist()):
        count = max(round((stop - start) / window), 1)
        ends += np.linspace(start, stop, count + 1).astype(np.int64)[:-1].tolist()
    return np.array([*ends, int(frames[-1])], np.int64)


def cut_windows(chunks: Iterable[Events], ends: NDArray[np.int64], window: int) -> Iterator[Events]:
    """Yield the events of each window, from `window` before its end to its end, both included, as RVT takes them."""
    held = Events.allocate(0)
    source = iter(chunks)
    finished = False
    for end in ends.tolist():
        parts = [held.between(end - window, None)]
        while not finished and (not len(parts[-1]) or parts[-1].t[-1] <= end):
            block = next(source, None)
            finished = block is None
            if block is not None:
                parts.append(block.between(end - window, None))
                parts = [part for part in parts if len(part)] or [block[:0]]
        held = Events.concatenate(parts) if len(parts) > 1 else parts[0]
        yield held.between(None, end + 1)


def compression_options(name: str) -> dict[str, Any]:
    """Return the options of h5py for a compression.

    Raises:
        UserError: Blosc without hdf5plugin.
    """
    if name != "blosc":
        return COMPRESSION[name]
    try:
        import hdf5plugin
    except ImportError:
        raise UserError(
            "compression blosc needs hdf5plugin; install it with: pip install 'polyscale-event-det[hdf5plugin]'"
        ) from None
    return dict(hdf5plugin.Blosc(cname="zstd", clevel=1, shuffle=hdf5plugin.Blosc.SHUFFLE))
