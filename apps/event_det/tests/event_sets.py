"""A data set of a bright square that moves, in RVT's layout."""

from pathlib import Path

import numpy as np

from event_det.data import BOX_DTYPE, write_sequence

HEIGHT, WIDTH = 60, 64
COUNTS = {"train": 3, "val": 2, "test": 2}


def write_tiny_set(folder: Path, steps: int = 24) -> None:
    """Write recordings of 1.2 s; two steps of three are labelled, one of them without a box."""
    for number, (split, count) in enumerate(COUNTS.items()):
        for recording in range(count):
            write_square(folder / split / f"r{recording}", steps - 3 * recording, seed=10 * number + recording)


def write_square(folder: Path, steps: int, seed: int) -> None:
    """Write one recording; the class is 0 for wide squares, 1 for tall ones."""
    rng = np.random.default_rng(seed)
    label = seed % 2
    width, height = ((24, 18), (18, 26))[label]
    frames = (rng.random((steps, 20, HEIGHT, WIDTH)) < 0.002).astype(np.uint8)
    times = 50_000 * (1 + np.arange(steps))
    start, speed = rng.uniform(0, 10, 2), rng.uniform(0.2, 1.0, 2)
    labels = {}
    for step, time in enumerate(times.tolist()):
        x, y = (int(value) for value in start + speed * step)
        edge = np.zeros((HEIGHT, WIDTH), bool)
        edge[y : y + height, x : x + width] = True
        edge[y + 2 : y + height - 2, x + 2 : x + width - 2] = False
        frames[step, :, edge] = rng.integers(0, 8, (int(edge.sum()), 20))
        if step % 3:
            rows = np.zeros(0 if step == 13 else 1, BOX_DTYPE)
            rows["t"], rows["x"], rows["y"], rows["w"], rows["h"], rows["class_id"] = time, x, y, width, height, label
            labels[time] = rows
    write_sequence(folder, frames, times, labels)
