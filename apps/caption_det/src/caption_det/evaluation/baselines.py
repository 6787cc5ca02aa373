"""What a model has to beat: answers that need no learning."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from caption_det.config import THRESHOLD
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


def whole_image(kinds: int) -> Answer:
    """For each of the categories the whole image."""
    return _everywhere(np.array([0.0, 0.0, 1.0, 1.0]), kinds)


def centred_box(train_set: CaptionSet) -> Answer:
    """For each category the box of the mean size of all boxes of the training set, in the middle of the image."""
    sizes = [np.zeros((0, 2))]
    for i in range(len(train_set)):
        boxes, (height, width) = train_set.record(i).boxes, train_set.image_size(i)
        if boxes is not None:
            sizes.append((boxes[:, 2:] - boxes[:, :2]) / np.array([width, height]))
    joined = np.concatenate(sizes)
    half = joined.mean(0) / 2 if len(joined) else np.full(2, 0.25)
    return _everywhere(np.concatenate([0.5 - half, 0.5 + half]), len(train_set.categories))


def largest_box(answer: Answer, kinds: int) -> Answer:
    """For each category the largest box of a model that is shown, whatever it is of: boxes without their names."""
    boxes = answer.boxes[answer.scores >= THRESHOLD]
    if not len(boxes):
        return _everywhere(np.zeros(4), kinds)
    return _everywhere(boxes[(boxes[:, 2:] - boxes[:, :2]).prod(1).argmax()], kinds)


def _everywhere(box: NDArray[np.float64], kinds: int) -> Answer:
    return Answer(None, np.tile(box, (kinds, 1)), np.ones(kinds), np.arange(kinds))


def histogram(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of each of BINS^3 colours in each of CELLS^2 parts of an image uint8 [3, S, S]: [CELLS^2 * BINS^3]."""
    bins = image.astype(np.int64) * BINS // 256
    codes = (bins[0] * BINS + bins[1]) * BINS + bins[2]
    parts = [part for rows in np.array_split(codes, CELLS, 0) for part in np.array_split(rows, CELLS, 1)]
    return np.concatenate([np.bincount(part.ravel(), minlength=BINS**3) / codes.size for part in parts])
