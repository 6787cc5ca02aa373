"""What a detection head gives, and the scored boxes that are made of it.

B images, N places or object queries, K classes. Boxes are (centre x, centre y, width, height) as fractions of the
image, unless they are called xyxy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from caption_det.describer import CANDIDATES, LIMIT
from polyscale.losses import cxcywh_to_xyxy

Targets = Sequence[Mapping[str, Tensor]]
"""One dict per image: "class_labels" int64 [T] in [0, K) and "boxes" [T, 4]; T may be 0."""


@dataclass
class Detections:
    """Raw output of a head.

    Attributes:
        boxes: [B, N, 4].
        objectness: logits [B, N] of how well the box overlaps an object.
        classes: logits [B, N, K], one sigmoid per class.
        earlier: the same of the earlier decoder layers, where there are any.
    """

    boxes: Tensor
    objectness: Tensor
    classes: Tensor
    earlier: tuple["Detections", ...] = ()

    def chosen(self, images: Tensor) -> "Detections":
        """Those of some of the images, by their numbers."""
        earlier = tuple(part.chosen(images) for part in self.earlier)
        return Detections(self.boxes[images], self.objectness[images], self.classes[images], earlier)


class ScoredBoxes(NamedTuple):
    """The objects of one image, the best score first.

    Attributes:
        boxes: float32 [D, 4] (x1, y1, x2, y2) as fractions of the image, in [0, 1].
        scores: float32 [D] in [0, 1].
        labels: int64 [D], numbers of the classes.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


@torch.no_grad()
def score_boxes(
    found: Detections, *, nms_iou: float | None = 0.6, threshold: float = 0.05, limit: int = LIMIT
) -> list[ScoredBoxes]:
    """Return the scored boxes of each image.

    Args:
        found: output of a head. A score is the geometric mean of class probability and objectness.
        nms_iou: of two boxes of a class that overlap more, the better stays; None keeps all.
        threshold: lowest score.
        limit: most boxes of an image.
    """
    from torchvision.ops import batched_nms

    scores_BNK = (found.classes.float().sigmoid() * found.objectness.float().sigmoid()[..., None]).sqrt()
    boxes_BN4 = cxcywh_to_xyxy(found.boxes.float()).clamp(0, 1)
    results = []
    for scores_NK, boxes_N4 in zip(scores_BNK, boxes_BN4, strict=True):
        scores, order = scores_NK.flatten().sort(descending=True, stable=True)
        kept = scores[:CANDIDATES] >= threshold
        scores, order = scores[:CANDIDATES][kept], order[:CANDIDATES][kept]
        labels, boxes = order % scores_NK.shape[1], boxes_N4[order // scores_NK.shape[1]]
        solid = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
        scores, labels, boxes = scores[solid], labels[solid], boxes[solid]
        if nms_iou is not None:
            best = batched_nms(boxes, scores, labels, nms_iou)
            scores, labels, boxes = scores[best], labels[best], boxes[best]
        results.append(ScoredBoxes(boxes[:limit].cpu(), scores[:limit].cpu(), labels[:limit].cpu()))
    return results
