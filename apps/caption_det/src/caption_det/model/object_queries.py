"""SetDetector: Deformable DETR's decoder (Zhu et al. 2021) with box refinement; for tens of thousands of images.

Matching and loss are core's SetLoss, equal to transformers'. What differs: no encoder over the pixels (the pyramid is
the encoder), layers are pre-norm, and objectness learns the overlap of each query with its matched object.

    B images, Q object queries, K classes
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from caption_det.model.detections import Detections, Targets
from caption_det.model.memory import QueryLayer, even_grid
from polyscale.blocks import flatten_levels
from polyscale.losses import SetLoss, cxcywh_to_xyxy, giou_loss, hungarian_match

PRIOR = -math.log(99.0)
FIRST_SIDE = 0.2  # of the reference boxes before the first layer, as a fraction of the image


class SetDetector(nn.Module):
    """Levels, a list of [B, width, h, w] -> Detections with one box per object query, of every decoder layer.

    Args:
        width: channels of every level; num_classes: K; levels: number of maps; queries: Q.
        layers, num_heads, num_points, dropout: of the decoder.
    """

    nms_iou: float | None = None

    def __init__(
        self,
        width: int,
        num_classes: int,
        levels: int = 3,
        queries: int = 100,
        layers: int = 3,
        num_heads: int = 8,
        num_points: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.queries = nn.Parameter(torch.randn(queries, width) * width**-0.5)
        self.places = nn.Parameter(torch.randn(queries, width) * width**-0.5)
        self.reference = nn.Parameter(
            torch.logit(torch.cat([even_grid(queries), torch.full((queries, 2), FIRST_SIDE)], -1))
        )
        self.layers = nn.ModuleList(QueryLayer(width, levels, num_heads, num_points, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.classes = nn.ModuleList(nn.Linear(width, num_classes) for _ in range(layers))
        self.objectness = nn.Linear(width, 1)  # learns from the last layer only
        self.boxes = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4)) for _ in range(layers)
        )
        self.criterion = SetLoss()
        nn.init.constant_(self.objectness.bias, PRIOR)
        for classes, boxes in zip(self.classes, self.boxes, strict=True):
            nn.init.constant_(classes.bias, PRIOR)  # type: ignore[arg-type]
            nn.init.zeros_(boxes[-1].weight)  # type: ignore[index]
            nn.init.zeros_(boxes[-1].bias)  # type: ignore[index]

    def forward(self, levels: list[Tensor]) -> Detections:
        """Return the last layer's boxes, with those of the earlier layers for the loss."""
        value, shapes = flatten_levels(levels)
        x = self.queries.expand(value.shape[0], -1, -1)
        reference = self.reference.expand(value.shape[0], -1, -1).float()
        found: list[Detections] = []
        for layer, classes, boxes in zip(self.layers, self.classes, self.boxes, strict=True):
            x = layer(x, self.places[None], reference.sigmoid()[:, :, None], value, shapes)
            normed = self.norm(x)
            refined = reference + boxes(normed).float()
            found.append(Detections(refined.sigmoid(), self.objectness(normed)[..., 0].float(), classes(normed)))
            reference = refined.detach()  # each layer learns its own step
        last, *earlier = reversed(found)
        return Detections(last.boxes, last.objectness, last.classes, tuple(reversed(earlier)))

    def loss(self, found: Detections, targets: Targets, shapes: list[tuple[int, int]]) -> dict[str, Tensor]:
        """Return "class" (focal), "l1" and "giou" over all layers, weighted as in Deformable DETR, and "objectness".

        All are divided by the number of objects. `shapes` is not needed here.
        """
        parts = self.criterion(
            {
                "logits": found.classes,
                "pred_boxes": found.boxes,
                "auxiliary_outputs": [{"logits": e.classes, "pred_boxes": e.boxes} for e in found.earlier],
            },
            targets,
        )
        summed = {
            name: weight * torch.stack([v for k, v in parts.items() if k.partition("_")[0] == term]).sum()
            for name, term, weight in zip(
                ("class", "l1", "giou"), ("label", "l1", "giou"), self.criterion.weights, strict=True
            )
        }
        overlap = torch.zeros_like(found.objectness)
        matches = hungarian_match(found.classes, found.boxes, targets)
        for image, (queries, chosen) in enumerate(matches):
            wanted = targets[image]["boxes"].to(found.boxes)[chosen]
            giou = 1 - giou_loss(cxcywh_to_xyxy(found.boxes[image, queries].detach()), cxcywh_to_xyxy(wanted))
            overlap[image, queries] = giou.clamp(min=0)
        count = max(sum(len(target["boxes"]) for target in targets), 1)
        objectness = F.binary_cross_entropy_with_logits(found.objectness, overlap, reduction="sum") / count
        return {**summed, "objectness": objectness}
