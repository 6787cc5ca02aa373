"""The embedded data set: drawn traffic, filmed and kept in RVT's layout in the user's cache folder."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_det.data.boxes import BOX_DTYPE
from event_det.data.rvt import write_sequence
from event_det.representations.histogram import stacked_histogram
from event_det.simulation import CameraModel, Film, film, make_scene
from event_det.simulation.filming import Boxes
from polyscale.data.prefetch import prefetch
from polyscale.terminal import note, progress

VERSION = 1
"""Counts changes of what is drawn or filmed: a new number makes the set anew."""
SIZE = (128, 160)
DURATION = 4_000_000
STEP = 50_000
CAMERA = CameraModel()
HELD_OUT = {"val": 12, "test": 16}
"""Recordings of the other splits; that of train is a setting."""


def synthetic_folder(split: str, train_recordings: int, bins: int, cutoff: int) -> Path:
    """Return the folder of a split; it is made first if it is not there (about a second a recording)."""
    count = HELD_OUT.get(split, train_recordings)
    settings = {
        "version": VERSION, "split": split, "count": count, "bins": bins, "cutoff": cutoff, "size": SIZE,
        "duration": DURATION, "camera": vars(CAMERA),
    }  # fmt: skip
    code = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    target = cache_folder() / f"synthetic-{split}-{code}"
    if not target.is_dir():
        _make_split(target, split, count, bins, cutoff)
    return target


def cache_folder() -> Path:
    """Return where event-det keeps what it can make again: POLYSCALE_CACHE, or the system's folder for that."""
    import platformdirs

    given = os.environ.get("POLYSCALE_CACHE")
    return (Path(given) if given else Path(platformdirs.user_cache_dir("polyscale", appauthor=False))) / "event-det"


def scene_seed(split: str, number: int) -> int:
    """Return the seed of a recording: the splits never share one."""
    return {"train": 0, "val": 1, "test": 2}[split] * 1_000_000 + number


def _make_split(target: Path, split: str, count: int, bins: int, cutoff: int) -> None:
    """Make all recordings of a split; another process that makes it at the same time does no harm."""
    part = target.with_name(f"{target.name}.{os.getpid()}")
    part.mkdir(parents=True)
    try:
        with progress(f"making the embedded {split} set", total=count, transient=True) as bar:
            workers = min(os.cpu_count() or 1, 4)
            for _ in prefetch(lambda n: _make(part, split, n, bins, cutoff), range(count), workers=workers):
                bar.advance()
        try:
            part.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        else:
            note(f"made {target}: {count} recordings")
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _make(folder: Path, split: str, number: int, bins: int, cutoff: int) -> None:
    seed = scene_seed(split, number)
    write_film(folder / f"{split}_{number:04d}", film(make_scene(seed, SIZE, DURATION), CAMERA, seed), bins, cutoff)


def write_film(folder: Path, filmed: Film, bins: int, cutoff: int) -> None:
    """Write a film in RVT's layout; a time at which nothing is to be seen stays unlabelled, as in RVT's sets."""
    times = np.array(sorted(filmed.boxes), np.int64)
    frames = {time: as_rows(time, boxes) for time, boxes in filmed.boxes.items() if len(boxes.labels)}
    standing = np.concatenate([np.zeros(0, bool), *(filmed.boxes[time].standing for time in sorted(frames))])
    write_sequence(folder, _histograms(filmed, times, bins, cutoff), times, frames, standing=standing)


def _histograms(filmed: Film, times: NDArray[np.int64], bins: int, cutoff: int) -> Iterator[NDArray[np.uint8]]:
    for end in times.tolist():
        window = filmed.events.between(end - STEP, end + 1)
        yield stacked_histogram(window, *SIZE, bins=bins, cutoff=cutoff)


def as_rows(time: int, boxes: Boxes) -> NDArray[Any]:
    """Return boxes as rows of BOX_DTYPE."""
    rows = np.zeros(len(boxes.labels), BOX_DTYPE)
    rows["t"], rows["class_id"], rows["track_id"], rows["class_confidence"] = time, boxes.labels, boxes.tracks, 1
    rows["x"], rows["y"] = boxes.xyxy[:, 0], boxes.xyxy[:, 1]
    rows["w"], rows["h"] = boxes.xyxy[:, 2] - boxes.xyxy[:, 0], boxes.xyxy[:, 3] - boxes.xyxy[:, 1]
    return rows
