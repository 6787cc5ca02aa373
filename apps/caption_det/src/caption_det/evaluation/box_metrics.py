"""Average precision of boxes: COCO's, by faster-coco-eval, which equals pycocotools on all twelve numbers."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NAMES = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L")
"""AP is the mean over overlaps .50 to .95; S, M and L are areas below 32^2, below 96^2 and from 96^2 pixels."""
BY_CLASS = ("AP", "AP50", "AP75")
"""What is told of each class."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of one image in pixels of its own size.

    Attributes:
        xyxy: float64 [T, 4].
        labels: int64 [T].
        scores: float64 [T]; None for the truth.
        crowd: bool [T] of the truth: regions where detections count neither for nor against.
    """

    xyxy: NDArray[np.float64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64] | None = None
    crowd: NDArray[np.bool_] | None = None


def average_precision(
    found: Sequence[Boxes], truth: Sequence[Boxes], num_classes: int, sizes: Sequence[tuple[int, int]]
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Return the metrics NAMES over all classes, and BY_CLASS of each; in [0, 1], NaN where there is nothing to find.

    Args:
        found: of each image, with scores.
        truth: of each image.
        num_classes: classes are numbered from 0.
        sizes: (height, width) of each image.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    images = [{"id": i + 1, "height": h, "width": w} for i, (h, w) in enumerate(sizes)]
    categories = [{"id": i + 1, "name": str(i)} for i in range(num_classes)]
    objects = [row for i, boxes in enumerate(truth) for row in _rows(i, boxes)]
    there = {row["category_id"] for row in objects if not row["iscrowd"]}
    nothing = [dict.fromkeys(BY_CLASS, 0.0 if row["id"] in there else math.nan) for row in categories]
    if not objects:
        return dict.fromkeys(NAMES, math.nan), nothing
    for number, row in enumerate(objects, start=1):
        row["id"] = number
    results = [row for i, boxes in enumerate(found) for row in _rows(i, boxes)]
    if not results:
        return dict.fromkeys(NAMES, 0.0), nothing
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO({"info": {}, "images": images, "categories": categories, "annotations": objects})
        evaluation = COCOeval_faster(known, known.loadRes(results), "bbox", print_function=lambda *_: None)
        evaluation.run()
    stats = np.asarray(evaluation.stats, np.float64)[: len(NAMES)]
    summary = {name: float(value) if value >= 0 else math.nan for name, value in zip(NAMES, stats, strict=True)}
    # [overlaps .50 to .95, recalls, classes, areas, most boxes of an image]: all areas, 100 boxes
    table = np.asarray(evaluation.eval["precision"], np.float64)[:, :, :, 0, -1].mean(axis=1)
    rows = np.stack([table.mean(axis=0), table[0], table[5]], axis=1)
    by_class = [dict(zip(BY_CLASS, row.tolist(), strict=True)) for row in np.where(rows >= 0, rows, math.nan)]
    return summary, by_class


def _rows(image: int, boxes: Boxes) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for i, (x1, y1, x2, y2) in enumerate(boxes.xyxy.tolist()):
        row: dict[str, object] = {"image_id": image + 1, "category_id": int(boxes.labels[i]) + 1}
        row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
        if boxes.scores is not None:
            row["score"] = float(boxes.scores[i])
        elif boxes.crowd is not None:
            row["iscrowd"] = int(boxes.crowd[i])
        rows.append(row)
    return rows
