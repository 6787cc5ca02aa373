"""Multi-scale deformable attention (Zhu et al. 2021, Deformable DETR).

Equal to transformers' `DeformableDetrMultiscaleDeformableAttention`, values and gradients, with the same parameter
names. What differs: the ring initialisation lives in the module and not in a parent's `_init_weights`; coordinates are
never computed in less than float32; on the CPU a kernel of our own (`_deformable_cpu.py`) replaces grid_sample, unless
the environment variable POLYSCALE_DEFORMABLE_CPU is 0 when this module is imported (or `CPU_KERNEL` is False). The
attention of qvision rounded its offsets, so that they got no gradient; these do.

    B batch, Q queries, C embed_dim, L levels, N pixels of all levels, H heads, D = C / H, P points
"""

import math
import os
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks._checks import SEQUENCE, check_count
from polyscale.blocks.attention._deformable_cpu import SpatialShapes, sample_rows

CPU_KERNEL = os.environ.get("POLYSCALE_DEFORMABLE_CPU", "1") != "0"

# before torch 2.7 a compiled graph takes the exported path too
_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


def flatten_levels(features: Sequence[Tensor]) -> tuple[Tensor, list[tuple[int, int]]]:
    """List of [B, C, H_l, W_l] -> ([B, N, C], [(H_l, W_l), ...]): the value and shapes that the attention takes.

    Masks [B, 1, H_l, W_l] go the same way; `[..., 0]` of the result is the attention's `mask`.
    """
    if not isinstance(features, SEQUENCE) or not features or any(f.ndim != 4 for f in features):
        raise ValueError("features must be a non-empty list of [B, C, H, W] maps")
    shapes = [(feature.shape[-2], feature.shape[-1]) for feature in features]
    return torch.cat([feature.flatten(2).transpose(1, 2) for feature in features], dim=1), shapes


def reference_grid(spatial_shapes: SpatialShapes, valid_ratios: Tensor | None = None) -> Tensor:
    """Pixel centres of every level as reference points of an encoder: [1, N, L, 2], (x, y) in [0, 1].

    `valid_ratios` [B, L, 2] is the share (x, y) of each padded map that is image; with it the result is [B, N, L, 2]:
    the point's place in its image, in units of each level's padded map.
    """
    _check_shapes(spatial_shapes)
    device = valid_ratios.device if valid_ratios is not None else None
    centres = []
    for level, (height, width) in enumerate(spatial_shapes):
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(1, -1, 2)
        centres.append(grid if valid_ratios is None else grid / valid_ratios[:, None, level])
    points = torch.cat(centres, dim=1)[:, :, None]
    return points.expand(-1, -1, len(spatial_shapes), -1) if valid_ratios is None else points * valid_ratios[:, None]


def deformable_sample(value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of bilinear samples of every level; zero outside of the maps.

    Args:
        value: [B, N, H, D], the levels one after the other, each in row-major order.
        spatial_shapes: (height, width) of each level; N is the sum of their products.
        locations: [B, Q, H, L, P, 2], (x, y) with (0, 0) the upper left corner of a map and (1, 1) its lower right one.
        weights: [B, Q, H, L, P], any real numbers.

    Returns:
        [B, Q, H * D] in the dtype of `value`; coordinates and sums are computed in float32 or float64.

    On the CPU the samples are weighted sums of table rows, faster than grid_sample (docs/results.md has the times).
    Elsewhere, and in an exported graph (torch.export, ONNX), it is grid_sample, level by level.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    _check_shapes(spatial_shapes)
    _check_samples(value, spatial_shapes, locations, weights)
    compute = torch.promote_types(torch.promote_types(value.dtype, locations.dtype), torch.float32)
    by_rows = CPU_KERNEL and value.device.type == "cpu" and not _exporting()
    by_rows = by_rows and not torch.jit.is_tracing()  # type: ignore[attr-defined]
    sample = sample_rows if by_rows else _sample_grids
    return sample(value.to(compute), spatial_shapes, locations.to(compute), weights.to(compute)).to(value.dtype)


def _sample_grids(value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, weights: Tensor) -> Tensor:
    B, _, H, D = value.shape
    Q = locations.shape[1]
    grids = (2 * locations - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)  # [L, B * H, Q, P, 2]
    scales = weights.permute(3, 0, 2, 1, 4).flatten(1, 2)[:, :, None]  # [L, B * H, 1, Q, P]
    maps = value.permute(0, 2, 3, 1).flatten(0, 1).split([h * w for h, w in spatial_shapes], dim=-1)
    out = value.new_zeros(())
    for level, (height, width) in enumerate(spatial_shapes):
        image = maps[level].unflatten(-1, (height, width))
        out = out + (F.grid_sample(image, grids[level], align_corners=False) * scales[level]).sum(-1)
    return out.view(B, H * D, Q).transpose(1, 2)


class MultiScaleDeformableAttention(nn.Module):
    """Each query reads `num_points` places per head and level around its reference point, and weighs them.

    Args:
        embed_dim: C, channels of queries, values and output.
        num_levels: L, feature levels.
        num_heads: H, divides `embed_dim`.
        num_points: P, samples per head and level.

    The offsets start as a ring: head h looks into direction 2 * pi * h / H, point p is p + 1 pixels away; all
    samples weigh the same at first. Parameters load from transformers' modules of Deformable DETR and RT-DETR (v1).
    """

    def __init__(self, embed_dim: int = 256, num_levels: int = 4, num_heads: int = 8, num_points: int = 4) -> None:
        super().__init__()
        for name, count in (("embed_dim", embed_dim), ("num_levels", num_levels), ("num_points", num_points)):
            check_count(name, count)
        check_count("num_heads", num_heads)
        if embed_dim % num_heads:
            raise ValueError(f"num_heads must divide embed_dim = {embed_dim}, got {num_heads}")
        self.embed_dim, self.num_levels, self.num_heads, self.num_points = embed_dim, num_levels, num_heads, num_points
        self.sampling_offsets = nn.Linear(embed_dim, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(embed_dim, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(embed_dim, embed_dim)
        self.output_proj = nn.Linear(embed_dim, embed_dim)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Ring of offsets, equal weights, Xavier projections; every other bias 0."""
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
        for layer in (self.attention_weights, self.value_proj, self.output_proj):
            nn.init.zeros_(layer.bias)
        angles = torch.arange(self.num_heads, dtype=torch.float32) * (2 * math.pi / self.num_heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions /= directions.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        ring_HLP2 = (directions[:, None, None] * steps[:, None]).expand(-1, self.num_levels, -1, -1)
        self.sampling_offsets.bias.copy_(ring_HLP2.reshape(-1))

    def forward(
        self,
        query: Tensor,
        reference_points: Tensor,
        value: Tensor,
        spatial_shapes: SpatialShapes,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Attend to `value` around the reference points.

        Args:
            query: [B, Q, C], position embedding already added.
            reference_points: [B, Q, L or 1, 2 or 4] in [0, 1]: (x, y), or boxes (cx, cy, w, h) whose size scales the
                offsets; B may be 1. See `reference_grid`.
            value: [B, N, C], see `flatten_levels`.
            spatial_shapes: (height, width) of each level.
            mask: bool [B, N], True where `value` is image, False where it is padding (that reads as 0).

        Returns:
            [B, Q, C].

        Raises:
            ValueError: shapes that do not fit each other.
        """
        _check_shapes(spatial_shapes)
        pixels = sum(height * width for height, width in spatial_shapes)
        if value.ndim != 3 or value.shape[1] != pixels or value.shape[2] != self.embed_dim:
            raise ValueError(f"value must be [B, {pixels}, {self.embed_dim}] here, got {list(value.shape)}")
        if value.shape[0] != query.shape[0]:
            raise ValueError(f"value must have the batch size of query, {query.shape[0]}, got {value.shape[0]}")
        locations, weights = self.sampling(query, reference_points, spatial_shapes)
        value = self.value_proj(value)
        if mask is not None:
            if mask.dtype != torch.bool or mask.shape != value.shape[:2]:
                wanted = list(value.shape[:2])
                raise ValueError(f"mask must be bool {wanted} (True: image), got {mask.dtype} {list(mask.shape)}")
            value = value.masked_fill(~mask[..., None], 0.0)
        value_BNHD = value.unflatten(-1, (self.num_heads, -1))
        return self.output_proj(deformable_sample(value_BNHD, spatial_shapes, locations, weights))

    def sampling(self, query: Tensor, reference_points: Tensor, spatial_shapes: SpatialShapes) -> tuple[Tensor, Tensor]:
        """Where each query looks, and how much: locations [B, Q, H, L, P, 2], weights [B, Q, H, L, P] (sum 1)."""
        H, L, P = self.num_heads, self.num_levels, self.num_points
        if query.ndim != 3 or query.shape[-1] != self.embed_dim:
            raise ValueError(f"query must be [B, Q, {self.embed_dim}], got {list(query.shape)}")
        if len(spatial_shapes) != L:
            raise ValueError(f"spatial_shapes must have {L} levels, got {len(spatial_shapes)}")
        B, Q, _ = query.shape
        points = reference_points.to(torch.promote_types(reference_points.dtype, torch.float32))
        if points.ndim != 4 or points.shape[1] != Q or points.shape[2] not in (1, L) or points.shape[3] not in (2, 4):
            raise ValueError(f"reference_points must be [{B}, {Q}, {L} or 1, 2 or 4], got {list(points.shape)}")
        if points.shape[0] not in (1, B):
            raise ValueError(f"reference_points must have batch size {B} or 1, got {points.shape[0]}")
        points = points[:, :, None, :, None]
        offsets = self.sampling_offsets(query).to(points.dtype).view(B, Q, H, L, P, 2)
        weights = self.attention_weights(query).to(points.dtype).view(B, Q, H, L * P).softmax(-1).view(B, Q, H, L, P)
        if points.shape[-1] == 2:
            sizes = torch.tensor([[w, h] for h, w in spatial_shapes], dtype=points.dtype, device=points.device)
            return points + offsets / sizes[:, None], weights
        return points[..., :2] + offsets * points[..., 2:] * (0.5 / P), weights

    def extra_repr(self) -> str:
        """The four numbers of the constructor."""
        return f"{self.embed_dim}, levels={self.num_levels}, heads={self.num_heads}, points={self.num_points}"


def _check_shapes(spatial_shapes: SpatialShapes) -> None:
    if not isinstance(spatial_shapes, SEQUENCE) or not spatial_shapes:
        raise ValueError(
            f"spatial_shapes must be a non-empty list of (height, width), got {spatial_shapes!r} (tensors: .tolist())"
        )
    for shape in spatial_shapes:
        if not isinstance(shape, SEQUENCE) or len(shape) != 2 or shape[0] < 1 or shape[1] < 1:
            raise ValueError(f"spatial_shapes must be a list of (height, width) of at least 1, got {shape!r} in it")


def _check_samples(value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, weights: Tensor) -> None:
    L, pixels = len(spatial_shapes), sum(height * width for height, width in spatial_shapes)
    if value.ndim != 4 or value.shape[1] != pixels:
        raise ValueError(
            f"value must be [B, {pixels}, H, D] for spatial_shapes {spatial_shapes}, got {list(value.shape)}"
        )
    B, _, H, _ = value.shape
    if locations.ndim != 6 or [*locations.shape[:1], *locations.shape[2:4], locations.shape[5]] != [B, H, L, 2]:
        raise ValueError(f"locations must be [{B}, Q, {H}, {L}, P, 2], got {list(locations.shape)}")
    if weights.shape != locations.shape[:-1]:
        raise ValueError(f"weights must be {list(locations.shape[:-1])}, got {list(weights.shape)}")
