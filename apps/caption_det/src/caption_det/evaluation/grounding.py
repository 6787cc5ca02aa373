"""Grounding of phrases: is what a human caption names where the model's best box of that class is?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from caption_det.evaluation.box_metrics import Boxes
from caption_det.evaluation.caption_metrics import Words
from caption_det.evaluation.mentions import MentionFinder

OVERLAP = 0.5


def grounded(
    found: Sequence[Boxes], truth: Sequence[Boxes], references: Sequence[Sequence[Words]], categories: Sequence[str]
) -> float:
    """Recall@1 of phrases in [0, 1]; NaN where no caption names a class that has a box.

    A phrase is one mention of a class in one human caption of an image that has boxes of this class. It is right where
    the best scored box of the class overlaps one of these boxes by OVERLAP or more.

    Args:
        found: of each image, with scores.
        truth: of each image; crowds count as boxes.
        references: the human captions of each image, as words.
        categories: names of the classes.
    """
    finder = MentionFinder(categories)
    right = phrases = 0
    for boxes, known, captions in zip(found, truth, references, strict=True):
        present = set(known.labels.tolist())
        named = [label for words in captions for label in finder.find(words) if label in present]
        hits = {label: _is_right(boxes, known, label) for label in set(named)}
        phrases, right = phrases + len(named), right + sum(hits[label] for label in named)
    return right / phrases if phrases else float("nan")


def _is_right(boxes: Boxes, known: Boxes, label: int) -> bool:
    """Whether the best box of a class overlaps a true one."""
    own = np.flatnonzero(boxes.labels == label)
    if not len(own):
        return False
    assert boxes.scores is not None
    best = own[boxes.scores[own].argmax()]
    return bool((overlap(boxes.xyxy[best], known.xyxy[known.labels == label]) >= OVERLAP).any())


def overlap(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of one box [4] with others [T, 4]: float64 [T]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = sides.clip(min=0).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return shared / np.maximum(areas - shared, 1e-9)
