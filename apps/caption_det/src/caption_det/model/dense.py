"""DenseDetector: a one-stage head in the manner of FCOS (Tian et al. 2019), for data sets of hundreds of images.

What differs: boxes are a centre and a size (YOLOX, Ge et al. 2021), so that a box smaller than a stride has a place
too; objectness learns the overlap of the box with its object (IoU-aware FCOS) instead of the centerness.

    B images, N places of all levels, K classes, T boxes of an image
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from caption_det.model.detections import Detections, Targets
from polyscale.blocks import flatten_levels, reference_grid
from polyscale.losses import cxcywh_to_xyxy, focal_loss, giou_loss

PRIOR = -math.log(99.0)  # class probability .01 at the start (RetinaNet)
REACH = 1.5  # strides around an object's centre in which places learn it
SIDE = 8.0  # a level learns objects whose longer side is up to this many strides


class DenseDetector(nn.Module):
    """Levels, a list of [B, width, h, w] at strides s, 2s, 4s ... -> Detections with one box per pixel.

    Args:
        width: channels of every level.
        num_classes: K.
        levels: number of maps.
        depth: 3x3 convolutions of each of the two towers.
    """

    nms_iou: float | None = 0.6

    def __init__(self, width: int, num_classes: int, levels: int = 3, depth: int = 2) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.class_tower, self.box_tower = _tower(width, depth), _tower(width, depth)
        self.classes = nn.Conv2d(width, num_classes, 3, padding=1)
        self.box = nn.Conv2d(width, 5, 3, padding=1)  # centre, size, objectness
        self.scales = nn.Parameter(torch.ones(levels))
        for layer in (self.classes, self.box):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.classes.bias, PRIOR)  # type: ignore[arg-type]

    def forward(self, levels: list[Tensor]) -> Detections:
        """Return a box, its objectness and its class logits for every pixel of every level."""
        classes, _ = flatten_levels([self.classes(self.class_tower(level)) for level in levels])
        boxes = [self.box(self.box_tower(level)) for level in levels]
        raw, shapes = flatten_levels(
            [torch.cat([box[:, :4] * scale, box[:, 4:]], 1) for box, scale in zip(boxes, self.scales, strict=True)]
        )
        centres, cells = _places(shapes, raw)
        raw = raw.float()
        xy = centres + raw[..., :2] * cells
        wh = (raw[..., 2:4].clamp(max=6).exp() * 2 * cells).clamp(max=2.0)
        return Detections(torch.cat([xy, wh], -1), raw[..., 4], classes)

    def loss(self, found: Detections, targets: Targets, shapes: list[tuple[int, int]]) -> dict[str, Tensor]:
        """Return "class" (focal), "giou" and "objectness" (cross-entropy), each divided by the places with an object.

        Args:
            found: what `forward` returned.
            targets: of each image.
            shapes: (height, width) of each level.
        """
        centres, cells = _places(shapes, found.boxes)
        chosen = torch.stack([assign(centres[0], cells[0], shapes, t["boxes"].to(centres.device)) for t in targets])
        images, places = (chosen >= 0).nonzero(as_tuple=True)
        positives = max(len(images), 1)
        wanted = torch.zeros_like(found.classes)
        boxes = found.boxes.new_zeros(len(images), 4)
        for image, target in enumerate(targets):
            here, which = images == image, chosen[image, places[images == image]]
            labels = target["class_labels"].to(wanted.device)[which]
            wanted[image, places[here], labels] = 1
            boxes[here] = target["boxes"].to(boxes)[which]
        giou = giou_loss(cxcywh_to_xyxy(found.boxes[images, places]), cxcywh_to_xyxy(boxes))
        objectness = F.binary_cross_entropy_with_logits(
            found.objectness[images, places], (1 - giou.detach()).clamp(min=0), reduction="sum"
        )
        return {
            "class": focal_loss(found.classes, wanted, num_positives=positives),
            "giou": giou.sum() / positives,
            "objectness": objectness / positives,
        }


def assign(centres: Tensor, cells: Tensor, shapes: list[tuple[int, int]], boxes: Tensor) -> Tensor:
    """The object that each place learns: int64 [N], -1 for none.

    An object is learnt on the level that fits its longer side, by the places inside it within REACH strides of its
    centre, at least by the nearest one. Where objects share a place, the smallest has it.

    Args:
        centres: [N, 2] of the places.
        cells: [N, 2], width and height of a pixel of their level.
        shapes: (height, width) of each level.
        boxes: [T, 4].
    """
    none = torch.full((len(centres),), -1, dtype=torch.int64, device=centres.device)
    if not len(boxes):
        return none
    levels = torch.cat([none.new_full((h * w,), number) for number, (h, w) in enumerate(shapes)])
    starts = [0, *torch.tensor([h * w for h, w in shapes]).cumsum(0).tolist()]
    sides = torch.stack([cells[start] for start in starts[:-1]])  # [L, 2]
    strides_TL = (boxes[:, None, 2:] / sides).amax(-1)  # longer side of each box in strides of each level
    wanted_T = (strides_TL > SIDE).sum(1).clamp(max=len(shapes) - 1)
    offset_NT = (boxes[:, :2] - centres[:, None]).abs()
    near_NT = (offset_NT < REACH * cells[:, None]).all(-1) & (offset_NT < boxes[:, 2:] / 2).all(-1)
    fits_NT = levels[:, None] == wanted_T
    distance_NT = (offset_NT / cells[:, None]).square().sum(-1).masked_fill(~fits_NT, math.inf)
    near_NT = near_NT & fits_NT
    near_NT[distance_NT.argmin(0), torch.arange(len(boxes), device=boxes.device)] = True
    areas_NT = (boxes[:, 2] * boxes[:, 3]).expand(len(centres), -1).masked_fill(~near_NT, math.inf)
    smallest, which = areas_NT.min(1)
    return torch.where(smallest.isfinite(), which, none)


def _places(shapes: list[tuple[int, int]], like: Tensor) -> tuple[Tensor, Tensor]:
    """Centres and cell sizes (x, y) of all pixels as fractions of the image, both [1, N, 2]."""
    centres = reference_grid(shapes)[:, :, 0].to(like.device)
    cells = [torch.tensor([1 / w, 1 / h]).expand(h * w, -1) for h, w in shapes]
    return centres, torch.cat(cells)[None].to(like.device)


def _tower(width: int, depth: int) -> nn.Sequential:
    groups = next(g for g in (16, 8, 4, 2, 1) if width % g == 0)
    layers: list[nn.Module] = []
    for before, after in pairwise([width] * (depth + 1)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.GroupNorm(groups, after), nn.SiLU()]
    return nn.Sequential(*layers)
