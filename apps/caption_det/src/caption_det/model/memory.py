"""What the caption is read from: learned queries that look at all levels, one map, or queries and detected objects.

The seed of this application (multiscale_encoder.py of qvision) pooled one map to 3x3 and 2x2 and rounded its offsets,
so that they got no gradient. Here the levels are a true pyramid, and every query starts at its own place of a grid.

    B images, Q queries, C width, L levels, N pixels of all levels, K classes, O objects
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from caption_det.model.detections import Detections
from polyscale.blocks import MultiScaleDeformableAttention, flatten_levels
from polyscale.losses import cxcywh_to_xyxy

SAME = 0.5  # overlap from which two boxes are taken for one object
RING = 0.5  # pixels of a level that a query of the memory looks away from its place at first, at most


class QueryLayer(nn.Module):
    """Self-attention, deformable attention and a feed-forward network, each after a norm and added."""

    def __init__(self, width: int, levels: int, num_heads: int, num_points: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, num_heads, dropout, batch_first=True)
        self.look = MultiScaleDeformableAttention(width, levels, num_heads, num_points)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, place: Tensor, reference: Tensor, value: Tensor, shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Update the queries x [B, Q, C].

        Args:
            x: the queries.
            place: [B or 1, Q, C], added where attention asks and answers.
            reference: [B or 1, Q, 1, 2 or 4], places or boxes.
            value: [B, N, C], the levels.
            shapes: (height, width) of each level.
        """
        asked = self.norms[0](x)
        keys = asked + place
        x = x + self.drop(self.attention(keys, keys, asked, need_weights=False)[0])
        x = x + self.drop(self.look(self.norms[1](x) + place, reference, value, shapes))
        return x + self.drop(self.mlp(self.norms[2](x)))


class QueryMemory(nn.Module):
    """Levels, a list of [B, C, h, w] -> memory [B, num_queries, C].

    Args:
        width: C.
        levels: number of maps.
        num_queries: Q; their reference points start on a grid over the image and are learned.
        layers, num_heads, num_points, dropout: of the layers.
    """

    def __init__(
        self, width: int, levels: int, num_queries: int, layers: int, num_heads: int, num_points: int, dropout: float
    ) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(num_queries, width) * width**-0.5)
        self.places = nn.Parameter(torch.randn(num_queries, width) * width**-0.5)
        self.reference = nn.Parameter(torch.logit(even_grid(num_queries)))
        self.layers = nn.ModuleList(QueryLayer(width, levels, num_heads, num_points, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        with torch.no_grad():
            for layer in self.layers:  # a query starts with its own place; the usual ring covers a small map whole
                layer.look.sampling_offsets.bias.mul_(RING / num_points)  # type: ignore[union-attr, operator]

    def forward(self, levels: list[Tensor], more: Tensor | None = None, at: Tensor | None = None) -> Tensor:
        """Return the memory.

        Args:
            levels: of the pyramid.
            more: [B, O, C], further queries, which come last: the memory is [B, num_queries + O, C].
            at: [B, O, 2], their reference points (x, y) as fractions of the image.
        """
        value, shapes = flatten_levels(levels)
        B = value.shape[0]  # len() would fix it in an exported graph
        x, place, reference = (p.expand(B, -1, -1) for p in (self.queries, self.places, self.reference.sigmoid()))
        if more is not None and at is not None:
            x, place = torch.cat([x, more], 1), torch.cat([place, torch.zeros_like(more)], 1)
            reference = torch.cat([reference, at.to(reference.dtype)], 1)
        for layer in self.layers:
            x = layer(x, place, reference[:, :, None], value, shapes)
        return self.norm(x)


class ObjectMemory(nn.Module):
    """The queries, the image as a whole, and the objects that a dense head is surest of.

    Bottom-up attention (Anderson et al. 2018): an object starts as its class, box and score, which the head learns from
    its own loss alone, and its pixel of the pyramid; then it is a query like the others, at its own place, so that
    objects know of each other. The whole image is the mean of each level. On the embedded world a captioner that reads
    objects names them after tens of steps; one that reads queries alone was still blind after 500.

    Args:
        queries: the memory of the rest of the image.
        width: C.
        levels: L.
        num_classes: K.
        objects: O.
    """

    def __init__(self, queries: QueryMemory, width: int, levels: int, num_classes: int, objects: int) -> None:
        super().__init__()
        self.queries, self.objects = queries, objects
        self.kind, self.box = nn.Linear(num_classes, width, bias=False), nn.Linear(5, width)
        self.pixel, self.whole = nn.Linear(width, width), nn.Linear(levels * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        for layer in (self.kind, self.box):  # a class is one of K numbers, the pixel is C: as loud as that
            nn.init.normal_(layer.weight)

    def forward(self, levels: list[Tensor], found: Detections) -> Tensor:
        """Return the memory [B, Q + O + 1, C] of levels and what the head found in them."""
        chosen = choose_objects(found, self.objects)[..., None]
        pixels, _ = flatten_levels(levels)
        every = (found.classes.detach(), found.boxes.detach(), found.objectness.detach()[..., None], pixels)
        logits, boxes, objectness, pixels = (x.gather(1, chosen.expand(-1, -1, x.shape[-1])) for x in every)
        score = logits.sigmoid().amax(-1, keepdim=True) * objectness.sigmoid()
        centres, sides = boxes.chunk(2, -1)
        facts = torch.cat([4 * centres - 2, sides.clamp(min=1e-3).log() + 1.5, 4 * score - 2], -1)  # about 0, within 2
        known = self.norms[0](self.kind(logits.softmax(-1).to(pixels.dtype)) + self.box(facts.to(pixels.dtype)))
        memory = self.queries(levels, known + self.norms[1](self.pixel(pixels)), centres)
        rest, objects = memory.split([memory.shape[1] - self.objects, self.objects], 1)
        whole = self.norms[2](self.whole(level_means(levels)))
        return torch.cat([rest, objects + known, whole[:, None]], 1)


def level_means(levels: Sequence[Tensor]) -> Tensor:
    """The mean of each of L levels [B, C, h, w], one after another: [B, L * C]."""
    return torch.cat([level.mean((2, 3)) for level in levels], -1)


@torch.no_grad()
def choose_objects(found: Detections, count: int) -> Tensor:
    """The places with the best scores, int64 [B, count]; what overlaps a better one by half is passed over."""
    scores = found.classes.sigmoid().amax(-1) * found.objectness.sigmoid()
    boxes = cxcywh_to_xyxy(found.boxes)
    areas = found.boxes[..., 2] * found.boxes[..., 3]
    chosen = []
    for _ in range(count):
        best = scores.argmax(1, keepdim=True)
        own = boxes.gather(1, best[..., None].expand(-1, -1, 4))
        sides = torch.minimum(boxes[..., 2:], own[..., 2:]) - torch.maximum(boxes[..., :2], own[..., :2])
        shared = sides.clamp(min=0).prod(-1)
        overlap = shared / (areas + areas.gather(1, best) - shared).clamp(min=1e-9)
        scores = scores.masked_fill(overlap > SAME, -1.0).scatter(1, best, -2.0)
        chosen.append(best)
    return torch.cat(chosen, 1)


class MapMemory(nn.Module):
    """The pixels of one level with sine positions: list of [B, C, h, w] -> [B, h * w, C]."""

    def __init__(self, width: int, level: int) -> None:
        super().__init__()
        self.level = level
        self.norm = nn.LayerNorm(width)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Return the memory."""
        level = levels[self.level]
        x = level.flatten(2).transpose(1, 2)
        return self.norm(x) + sine_positions(level.shape[-2:], level.shape[1], x)


def sine_positions(shape: tuple[int, int] | torch.Size, width: int, like: Tensor) -> Tensor:
    """Sines and cosines of the pixel centres, [1, h * w, width], half for y and half for x."""
    quarter = width // 4
    frequencies = torch.exp(torch.arange(quarter, device=like.device) * (-math.log(100.0) / max(quarter, 1)))
    parts = []
    for axis, side in enumerate(shape):
        centres = (torch.arange(side, device=like.device) + 0.5) / side * (2 * math.pi)
        angles = centres[:, None] * frequencies
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)
        waves = waves[:, None] if axis == 0 else waves[None]
        parts.append(waves.expand(shape[0], shape[1], -1))
    positions = torch.cat(parts, dim=-1).flatten(0, 1)[None].to(like.dtype)
    return torch.nn.functional.pad(positions, (0, width - positions.shape[-1]))


def even_grid(count: int) -> Tensor:
    """`count` places (x, y) in (0, 1), evenly over the square."""
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    index = torch.arange(count)
    return torch.stack([(index % columns + 0.5) / columns, (index // columns + 0.5) / rows], dim=-1)
