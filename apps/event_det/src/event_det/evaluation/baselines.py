"""What a network has to beat: no box, the usual boxes of each class, and moving blobs, forgotten or held.

None of them learns from frames. Blobs are connected components of the cells with events; their class is the one whose
mean box is nearest in size. "blobs held" keeps a blob's box while nothing moves there: memory without a network.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from event_det.data import EventSet
from event_det.evaluation.average_precision import Found
from polyscale.evaluation.shard import Progress

CELL = 4  # pixels a side, in which events are summed up
LEAST_EVENTS = 3  # of a cell that counts as moving
LEAST_CELLS = 3  # of a blob
USUAL = 10  # boxes of each class
HELD_STEPS = 40  # 2 s
GRID = 8  # places along a side for the usual boxes

Boxes = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Prior:
    """What boxes look like.

    Attributes:
        usual: boxes that do not depend on the frame.
        sizes: float64 [K, 2], mean log width and log height of each class; NaN where it has no box.
    """

    usual: Found
    sizes: NDArray[np.float64]


def fit_prior(dataset: EventSet, frames: int = 2000) -> Prior:
    """Look at the boxes of up to `frames` labelled steps, evenly spread over the split."""
    steps = dataset.labelled()
    chosen = steps[:: max(len(steps) // frames, 1)]
    known = [found for found in map(dataset.labels, chosen) if found is not None]
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(found.boxes.numpy() for found in known)])
    labels = np.concatenate([np.zeros(0, np.int64), *(found.labels.numpy() for found in known)])
    sizes = np.full((len(dataset.classes), 2), np.nan)
    usual = []
    for label in range(len(dataset.classes)):
        own = boxes[labels == label]
        if not len(own):
            continue
        sides = own[:, 2:] - own[:, :2]
        sizes[label] = np.log(sides.clip(1)).mean(axis=0)
        middle = (own[:, :2] + own[:, 2:]) / 2 / np.array(dataset.size[::-1]) * GRID
        cells = np.column_stack([middle.astype(int), np.log2(sides.clip(1)).round()])
        _, which, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
        for cell in np.argsort(-counts, kind="stable")[:USUAL]:
            share = counts[cell] / max(len(chosen), 1)
            usual.append((own[which.reshape(-1) == cell].mean(axis=0), min(share, 1.0), label))
    return Prior(_found(usual), sizes)


def no_box(dataset: EventSet, prior: Prior, recording: range) -> Iterator[Found]:
    """Find nothing."""
    return (_found([]) for _ in recording)


def usual_boxes(dataset: EventSet, prior: Prior, recording: range) -> Iterator[Found]:
    """Find the usual boxes of each class in every frame."""
    return (prior.usual for _ in recording)


def blobs(dataset: EventSet, prior: Prior, recording: range) -> Iterator[Found]:
    """Find the connected components of the cells with events."""
    for step in recording:
        boxes, events = components(dataset.frames(step, step + 1)[0])
        yield _named(boxes, events / (events + 100), prior)


def blobs_held(dataset: EventSet, prior: Prior, recording: range) -> Iterator[Found]:
    """Find blobs, and keep each for HELD_STEPS or until another one touches it."""
    held, scores, ages = np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0, int)
    for step in recording:
        boxes, events = components(dataset.frames(step, step + 1)[0])
        touched = np.array([bool(_touch(box, boxes).any()) for box in held], bool)
        stays = ~touched & (ages < HELD_STEPS)
        held = np.concatenate([boxes, held[stays]])
        scores = np.concatenate([events / (events + 100), scores[stays]])
        ages = np.concatenate([np.zeros(len(boxes), int), ages[stays] + 1])
        yield _named(held, scores, prior)


BASELINES: dict[str, Callable[[EventSet, Prior, range], Iterator[Found]]] = {
    "no box": no_box,
    "usual boxes": usual_boxes,
    "blobs": blobs,
    "blobs held": blobs_held,
}


def run_baseline(
    name: str, dataset: EventSet, prior: Prior, recordings: range | list[int], progress: Progress | None = None
) -> dict[int, Found]:
    """Play recordings through a baseline: what it found in their labelled steps, by the number of the step."""
    labelled = set(dataset.labelled())
    found: dict[int, Found] = {}
    for done, number in enumerate(recordings, start=1):
        steps = range(dataset.starts[number], dataset.starts[number + 1])
        results = zip(steps, BASELINES[name](dataset, prior, steps), strict=True)
        found |= {step: frame for step, frame in results if step in labelled}
        if progress is not None:
            progress(done, len(recordings))
    return found


def components(frame: NDArray[np.uint8]) -> tuple[Boxes, NDArray[np.float64]]:
    """Boxes float32 [n, 4] around connected cells with events in a frame [C, H, W], and the events in each, [n]."""
    from scipy import ndimage

    height, width = frame.shape[1:]
    rows, columns = -(-height // CELL), -(-width // CELL)
    padded = np.zeros((rows * CELL, columns * CELL), np.int64)
    padded[:height, :width] = frame.sum(axis=0, dtype=np.int64)
    cells = padded.reshape(rows, CELL, columns, CELL).sum(axis=(1, 3))
    marked, count = ndimage.label(cells >= LEAST_EVENTS, np.ones((3, 3)))
    if not count:
        return np.zeros((0, 4), np.float32), np.zeros(0)
    numbers = np.arange(1, count + 1)
    events = ndimage.sum_labels(cells, marked, numbers)
    large = ndimage.sum_labels(np.ones_like(cells), marked, numbers) >= LEAST_CELLS
    boxes = [(c.start * CELL, r.start * CELL, c.stop * CELL, r.stop * CELL) for r, c in ndimage.find_objects(marked)]
    limits = np.array([width, height, width, height])
    return np.minimum(np.array(boxes), limits).astype(np.float32)[large], events[large]


def _named(boxes: Boxes, scores: NDArray[np.float64], prior: Prior) -> Found:
    """Give each box the class whose mean size is nearest."""
    sides = np.log((boxes[:, 2:] - boxes[:, :2]).clip(1))
    apart = ((sides[:, None] - prior.sizes) ** 2).sum(axis=-1)
    apart = np.where(np.isnan(apart), np.inf, apart)
    return Found(boxes, scores.astype(np.float32), apart.argmin(axis=1).astype(np.int64))


def _touch(box: Boxes, others: Boxes) -> NDArray[np.bool_]:
    apart: NDArray[np.bool_] = np.minimum(box[2:], others[:, 2:]) <= np.maximum(box[:2], others[:, :2])
    return ~(apart[:, 0] | apart[:, 1])


def _found(boxes: list[tuple[Boxes, float, int]]) -> Found:
    return Found(
        np.array([box for box, _, _ in boxes], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in boxes], np.float32),
        np.array([label for _, _, label in boxes], np.int64),
    )
