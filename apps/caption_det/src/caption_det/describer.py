"""What a describer is, in torch or onnxruntime: how it searches captions, and what it says of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from caption_det.model import CaptionDetModel

CANDIDATES = 300  # best (place, class) pairs of an image that are looked at
LIMIT = 100  # most boxes of an image


@dataclass(frozen=True)
class Decoding:
    """How captions are searched; None leaves the model's own choice.

    Attributes:
        captions: of each image, the most likely first.
        beams: of beam search; 1 is greedy.
        temperature: draw words at random at this temperature instead.
        top_p: draw from the likeliest words of this probability together.
        max_tokens: longest caption.
    """

    captions: int = 1
    beams: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None

    def options(self, model: CaptionDetModel) -> dict[str, Any]:
        """Arguments of transformers' generate."""
        own = model.generation_config
        chosen: dict[str, Any] = {"max_new_tokens": self.max_tokens or own.max_new_tokens or 40}
        if self.temperature is not None or self.top_p is not None:
            chosen |= {"do_sample": True, "num_beams": 1, "temperature": self.temperature or 1.0, "top_k": 0}
            chosen["top_p"] = self.top_p or 1.0
        else:
            beams = self.beams or own.num_beams or 1
            chosen |= {"do_sample": False, "num_beams": max(beams, self.captions)}
        return chosen | {"num_return_sequences": self.captions}


class Described(NamedTuple):
    """Captions and scored boxes of one image.

    Attributes:
        captions: the most likely first; empty for a model without captions.
        boxes: float32 [D, 4] (x1, y1, x2, y2) as fractions of the image, the best score first.
        scores: float32 [D] in [0, 1].
        labels: int64 [D], numbers of the categories.
    """

    captions: list[str]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]


class Describer(Protocol):
    """A model ready for images, in torch or onnxruntime.

    Attributes:
        image_size: side of the square that it takes.
        categories: names of the classes.
        speaks: whether it writes captions.
    """

    image_size: int
    categories: list[str]
    speaks: bool

    def __call__(self, images: NDArray[np.uint8]) -> list[Described]:
        """Describe images uint8 [B, 3, S, S]."""
        ...


def choose_boxes(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], nms_iou: float | None, threshold: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Choose the boxes of one image as `caption_det.model.detections.score_boxes` does.

    Args:
        boxes: [N, 4] (x1, y1, x2, y2) as fractions of the image.
        scores: [N, K] of each class.
        nms_iou: of two boxes of a class that overlap more, the better stays; None keeps all.
        threshold: lowest score.

    Returns:
        Boxes [D, 4], scores [D] and classes [D], the best score first.
    """
    order = np.argsort(-scores, axis=None, kind="stable")[:CANDIDATES]
    order = order[scores.ravel()[order] >= threshold]
    places, labels = np.divmod(order, scores.shape[1])
    found, best = boxes[places], scores.ravel()[order]
    solid = ((found[:, 2:] - found[:, :2]) > 0).all(1)
    found, best, labels = found[solid], best[solid], labels[solid]
    if nms_iou is not None:
        kept = _suppress(found, labels, nms_iou)
        found, best, labels = found[kept], best[kept], labels[kept]
    return found[:LIMIT], best[:LIMIT], labels[:LIMIT].astype(np.int64)


def _suppress(boxes: NDArray[np.float32], labels: NDArray[np.int64], nms_iou: float) -> list[int]:
    """Places of the boxes, best first, that no better one of their class overlaps by more than `nms_iou`."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    left, kept = np.ones(len(boxes), bool), list[int]()
    for i in range(len(boxes)):
        if not left[i]:
            continue
        kept.append(i)
        sides: Any = np.minimum(boxes[:, 2:], boxes[i, 2:]) - np.maximum(boxes[:, :2], boxes[i, :2])
        shared = sides.clip(min=0).prod(1)
        left &= (shared <= nms_iou * (areas + areas[i] - shared)) | (labels != labels[i])
    return kept
