"""What is made of detections: CSV, Prophesee's npy and COCO's JSON, written a window at a time, and images."""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from event_det.data.boxes import BOX_DTYPE
from event_det.formats.writing import open_output, replace_when_done
from event_det.predict import Detected
from event_det.representations.drawing import draw_events, shrinking, to_rgb
from polyscale.errors import UserError
from polyscale.report.drawing import category_colour, draw_boxes

Add = Callable[[Detected], None]
COLUMNS = ("t", "x", "y", "w", "h", "class_id", "class", "score")


def detection_writer(path: Path, classes: tuple[str, ...], sensor: tuple[int, int]) -> Any:
    """Return a context that gives what appends one window to the file; .csv, .npy or .json by its suffix.

    Raises:
        UserError: the suffix is another one.
    """
    kind = path.suffix.lower()
    if kind == ".csv":
        return _csv(path, classes)
    if kind == ".npy":
        return _npy(path)
    if kind == ".json":
        return _coco(path, classes, sensor)
    raise UserError(f"{path}: boxes are written as .csv, .npy or .json", exit_code=2)


@contextlib.contextmanager
def _csv(path: Path, classes: tuple[str, ...]) -> Iterator[Add]:
    with replace_when_done(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)

        def add(found: Detected) -> None:
            for (x1, y1, x2, y2), score, label in zip(found.boxes, found.scores, found.labels, strict=True):
                numbers = [f"{value:.2f}" for value in (x1, y1, x2 - x1, y2 - y1)]
                writer.writerow([found.time, *numbers, label, classes[label], f"{score:.4f}"])

        yield add


@contextlib.contextmanager
def _npy(path: Path) -> Iterator[Add]:
    """Write rows of BOX_DTYPE; the score is class_confidence."""
    count = 0
    with open_output(path) as file:
        file.write(_npy_header(0))

        def add(found: Detected) -> None:
            nonlocal count
            rows = np.zeros(len(found.boxes), BOX_DTYPE)
            rows["t"], rows["class_id"], rows["class_confidence"] = found.time, found.labels, found.scores
            rows["x"], rows["y"] = found.boxes[:, 0], found.boxes[:, 1]
            rows["w"], rows["h"] = found.boxes[:, 2] - found.boxes[:, 0], found.boxes[:, 3] - found.boxes[:, 1]
            file.write(rows.tobytes())
            count += len(rows)

        yield add
        file.seek(0)
        file.write(_npy_header(count))


def _npy_header(count: int) -> bytes:
    """Return a header whose length does not depend on the count."""
    text = f"{{'descr': {npy_format.dtype_to_descr(BOX_DTYPE)!r}, 'fortran_order': False, 'shape': ({count},), }}"
    length = 640
    return b"\x93NUMPY\x01\x00" + (length - 10).to_bytes(2, "little") + text.ljust(length - 11).encode() + b"\n"


@contextlib.contextmanager
def _coco(path: Path, classes: tuple[str, ...], sensor: tuple[int, int]) -> Iterator[Add]:
    """Write a COCO data set: one image for each window (its time in microseconds is `timestamp`), boxes with scores."""
    images: list[dict[str, Any]] = []
    count = 0
    with replace_when_done(path) as part, part.open("w", encoding="utf-8") as file:
        categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
        file.write(f'{{"categories": {json.dumps(categories)},\n"annotations": [')

        def add(found: Detected) -> None:
            nonlocal count
            image = len(images) + 1
            images.append({"id": image, "timestamp": found.time, "width": sensor[0], "height": sensor[1]})
            for box, score, label in zip(found.boxes.tolist(), found.scores, found.labels, strict=True):
                x, y, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]
                row = {
                    "id": count + 1, "image_id": image, "category_id": int(label) + 1, "score": round(float(score), 6),
                    "bbox": [round(value, 3) for value in (x, y, w, h)], "area": round(w * h, 3), "iscrowd": 0,
                }  # fmt: skip
                file.write((",\n" if count else "\n") + json.dumps(row))
                count += 1

        yield add
        file.write(f'\n],\n"images": {json.dumps(images)}}}\n')


def draw_detected(found: Detected, sensor: tuple[int, int], classes: tuple[str, ...]) -> NDArray[np.uint8]:
    """Draw the events of a window and the boxes over them, uint8 [H, W, 3]; a class keeps its colour."""
    image = to_rgb(draw_events(found.events, sensor))
    boxes = found.boxes / shrinking(sensor)
    names = [classes[label] for label in found.labels]
    colours = [category_colour(int(label)) for label in found.labels]
    return draw_boxes(image, boxes, names, found.scores.tolist(), colours)
