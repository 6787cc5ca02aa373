"""Boxes as the Prophesee data sets store them, and which of them count, by data set and stage.

RVT (Gehrig and Scaramuzza, CVPR 2023) drops boxes in two places: small and absurd ones when a data set is prepared,
smaller ones than its authors count when it is evaluated, then from the truth and from what was detected alike.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from polyscale.errors import UserError

MANY = 0.01  # share of boxes that may have no area on the sensor; more is a mistake in the file
SLACK = 2.0  # pixels by which a box may stick out and still count as inside

BOX_DTYPE = np.dtype(
    {
        "names": ["t", "x", "y", "w", "h", "class_id", "track_id", "class_confidence"],
        "formats": ["<i8", "<f4", "<f4", "<f4", "<f4", "<u4", "<u4", "<f4"],
        "offsets": [0, 8, 12, 16, 20, 24, 28, 32],
        "itemsize": 40,
    }
)
"""A row of a bbox.npy: time in microseconds, upper left corner and size in pixels, class, track, confidence."""


Ranking = Literal["class", "product"]
"""What boxes are ranked by: the class probability alone, or its product with the objectness."""


@dataclass(frozen=True)
class BoxFilter:
    """Which boxes count.

    Attributes:
        min_diagonal: Smallest diagonal in pixels of the sensor.
        min_side: Smallest width and height.
        max_width: Largest width as a share of the sensor's.
        skip: Boxes at or before this time in microseconds do not count.
    """

    min_diagonal: float = 0.0
    min_side: float = 0.0
    max_width: float = 1.0
    skip: int = -1

    def keep(self, width: NDArray[Any], height: NDArray[Any], time: Any = 0, *, sensor_width: float) -> NDArray[Any]:
        """Return which boxes count, bool [N].

        Args:
            width: Widths in pixels of a sensor that is `sensor_width` wide.
            height: Heights.
            time: Times in microseconds, one or [N].
            sensor_width: Width of the sensor; with half of it, halve the filter by `scaled` too.
        """
        sides = (width >= self.min_side) & (height >= self.min_side)
        # RVT takes the whole number below 0.9 of the width
        narrow = width <= int(self.max_width * sensor_width) if self.max_width < 1 else np.ones(len(width), bool)
        return (width**2 + height**2 >= self.min_diagonal**2) & sides & narrow & (np.asarray(time) > self.skip)

    def scaled(self, factor: float) -> "BoxFilter":
        """Return the filter for frames that are `factor` as large as the sensor."""
        return BoxFilter(self.min_diagonal * factor, self.min_side * factor, self.max_width, self.skip)


@dataclass(frozen=True)
class Standard:
    """What the field agreed on for a data set.

    Attributes:
        about: Its name in words.
        classes: Names by class id.
        sensor: Width and height in pixels.
        half: Whether networks see it at half the size.
        prepare: Boxes that are kept in all splits when it is prepared.
        train: Boxes that are kept in the training split on top.
        evaluate: Boxes that count in an evaluation, of the truth and of the detections.
        ignored: Recordings that are left out, as nothing of them is kept.
        ranking: How its published tables rank boxes.
    """

    about: str
    classes: tuple[str, ...]
    sensor: tuple[int, int]
    half: bool = False
    prepare: BoxFilter = BoxFilter()
    train: BoxFilter = BoxFilter()
    evaluate: BoxFilter = BoxFilter()
    ignored: tuple[str, ...] = ()
    ranking: Ranking = "product"


_GEN4 = Standard(
    about="1 Mpx automotive detection (Prophesee), all 7 classes",
    classes=("pedestrian", "two-wheeler", "car", "truck", "bus", "traffic sign", "traffic light"),
    sensor=(1280, 720),
    half=True,
    prepare=BoxFilter(min_side=5),
    train=BoxFilter(max_width=0.9),
    evaluate=BoxFilter(60, 20, skip=500_000),
    ranking="class",
)

STANDARDS = {
    "gen1": Standard(
        about="Gen1 automotive detection (Prophesee)",
        classes=("car", "pedestrian"),
        sensor=(304, 240),
        prepare=BoxFilter(30, 10),
        train=BoxFilter(max_width=0.9),
        evaluate=BoxFilter(30, 10, skip=500_000),
        ignored=(
            "17-04-06_09-57-37_6344500000_6404500000",
            "17-04-13_19-17-27_976500000_1036500000",
            "17-04-06_15-14-36_1159500000_1219500000",
            "17-04-11_15-13-23_122500000_182500000",
        ),
        ranking="class",
    ),
    "gen4": replace(_GEN4, about="1 Mpx automotive detection, 3 classes", classes=_GEN4.classes[:3]),
    "gen4-7": _GEN4,
    "etram": replace(
        _GEN4,
        about="eTraM traffic monitoring",
        classes=("pedestrian", "car", "bicycle", "bus", "motorbike", "truck", "tram", "wheelchair"),
    ),
    "dsec": Standard(
        "DSEC detection",
        ("pedestrian", "rider", "car", "bus", "truck", "bicycle", "motorcycle", "train"),
        sensor=(640, 480),
    ),
    "synthetic": Standard(
        about="embedded synthetic traffic",
        classes=("pedestrian", "two-wheeler", "car"),
        sensor=(160, 128),
        evaluate=BoxFilter(skip=500_000),
    ),
}
"""Data sets by name; class ids are the places in `classes`, of others nothing is kept."""


def crop_boxes(boxes: NDArray[Any], sensor: tuple[int, int]) -> NDArray[Any]:
    """Cut boxes at the last row and column of the sensor, as RVT does, and drop what lies outside.

    Args:
        boxes: Rows of `BOX_DTYPE`; they are not changed.
        sensor: Width and height.
    """
    cropped = boxes.copy()
    for corner, side, limit in (("x", "w", sensor[0] - 1), ("y", "h", sensor[1] - 1)):
        low = np.clip(boxes[corner], 0, limit)
        high = np.clip(boxes[corner] + boxes[side], 0, limit)
        cropped[corner], cropped[side] = low, high - low
    return cropped[(cropped["w"] > 0) & (cropped["h"] > 0)]


def check_boxes(boxes: NDArray[Any], sensor: tuple[int, int], path: Path) -> int:
    """Return how many boxes have no area on the sensor.

    Args:
        boxes: Rows of `BOX_DTYPE`.
        sensor: Width and height.
        path: The file of the boxes, named in the error.

    Raises:
        UserError: they are more than a hundredth, or most boxes stick out while all fit as corners.
    """
    ends = boxes["x"] + boxes["w"], boxes["y"] + boxes["h"]
    out = (ends[0] > sensor[0] + SLACK) | (ends[1] > sensor[1] + SLACK)
    solid = (boxes["w"] > boxes["x"]) & (boxes["h"] > boxes["y"])
    within = (boxes["w"] <= sensor[0] + SLACK) & (boxes["h"] <= sensor[1] + SLACK)
    if out.sum() > max(2, len(boxes) / 2) and (solid & within).all():
        raise UserError(f"{path}: the boxes look like corners x1, y1, x2, y2; x, y, w, h are needed")
    bad = len(boxes) - len(crop_boxes(boxes, sensor))
    if bad > MANY * len(boxes):
        raise UserError(f"{path}: {bad} of {len(boxes)} boxes have no area on the sensor of "
                        f"{sensor[0]}x{sensor[1]}; x, y, w, h in pixels are needed")  # fmt: skip
    return bad


def filter_boxes(boxes: NDArray[Any], standard: Standard, split: str) -> NDArray[Any]:
    """Return the boxes that a prepared data set keeps in that split, cropped to the sensor."""
    boxes = crop_boxes(boxes[boxes["class_id"] < len(standard.classes)], standard.sensor)
    for rule in (standard.prepare, standard.train) if split == "train" else (standard.prepare,):
        boxes = boxes[rule.keep(boxes["w"], boxes["h"], sensor_width=standard.sensor[0])]
    return boxes
