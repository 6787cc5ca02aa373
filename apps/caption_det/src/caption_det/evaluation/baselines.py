"""What a model has to beat: answers that need no learning."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from caption_det.data.dataset import CaptionSet
from caption_det.evaluation.evaluate import Answer

NEIGHBOURS = 1000  # training images that are looked at, at most
BINS = 6  # of each colour channel
CELLS = 2  # the image's halves in each direction have a histogram each


def most_frequent(train_set: CaptionSet) -> Answer:
    """The most frequent caption of the training set, and the mean box of each category, scored by how frequent it is.

    Of captions that are equally frequent the first in alphabetical order.
    """
    captions = Counter[str]()
    boxes: dict[int, list[NDArray[np.float64]]] = {}
    for i in range(len(train_set)):
        record, (height, width) = train_set.record(i), train_set.image_size(i)
        captions.update(record.captions)
        for box, label in zip(record.boxes if record.boxes is not None else (), record.labels, strict=False):
            boxes.setdefault(int(label), []).append(box / np.array([width, height, width, height]))
    best = min(captions, key=lambda caption: (-captions[caption], caption), default=None)
    labels = sorted(boxes)
    return Answer(
        best,
        np.array([np.mean(boxes[label], 0) for label in labels]).reshape(-1, 4),
        np.array([min(1.0, len(boxes[label]) / len(train_set)) for label in labels]),
        np.array(labels, np.int64),
    )


def nearest_neighbour(train_set: CaptionSet, dataset: CaptionSet) -> list[Answer]:
    """The first caption and the boxes of the training image with the most similar colour histogram."""
    known = range(min(NEIGHBOURS, len(train_set)))
    table = np.stack([histogram(train_set[i]["image"].numpy()) for i in known])
    answers = []
    for i in range(len(dataset)):
        own = histogram(dataset[i]["image"].numpy())
        nearest = int(np.minimum(table, own).sum(1).argmax())  # histogram intersection
        record, (height, width) = train_set.record(nearest), train_set.image_size(nearest)
        boxes = np.zeros((0, 4)) if record.boxes is None else record.boxes / np.array([width, height, width, height])
        caption = record.captions[0] if record.captions else None
        answers.append(Answer(caption, boxes, np.ones(len(boxes)), record.labels[: len(boxes)]))
    return answers


def histogram(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of each of BINS^3 colours in each of CELLS^2 parts of an image uint8 [3, S, S]: [CELLS^2 * BINS^3]."""
    bins = image.astype(np.int64) * BINS // 256
    codes = (bins[0] * BINS + bins[1]) * BINS + bins[2]
    parts = [part for rows in np.array_split(codes, CELLS, 0) for part in np.array_split(rows, CELLS, 1)]
    return np.concatenate([np.bincount(part.ravel(), minlength=BINS**3) / codes.size for part in parts])
