"""The CPU kernel of deformable attention: bilinear samples as weighted sums of table rows.

Bilinear sampling of L levels x P points followed by a weighted sum is, per query and head, a weighted sum of 4 * L * P
rows of the value table: torch's embedding_bag, which reads each row once and writes nothing in between. grid_sample
instead gathers channel by channel and materialises every sample. The backward pass avoids embedding_bag's own: the
gradient of the table is again an embedding_bag (the transposed one, after one sort), the gradient of the weights a
batched product over a buffer that stays in the cache. Not differentiable twice, like grid_sample.

    B batch, Q queries, N pixels of all levels, H heads, D channels per head, L levels, P points, S = L * P
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

SpatialShapes = Sequence[tuple[int, int]]

_CACHED_ROWS = 1 << 15  # rows gathered at once per thread: 4 MiB at 32 channels; 2x less or more costs up to 15 %


def _weighted_sum(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """out[i] = sum over j of weights[i, j] * table[rows[i, j]]; table [T, D], rows and weights [n, k] -> [n, D]."""
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)


def _table_gradient(grad: Tensor, rows: Tensor, weights: Tensor, size: int) -> Tensor:
    """[size, D]: row t is the sum of weights[i, j] * grad[i] over all i, j with rows[i, j] == t."""
    ordered, order = rows.reshape(-1).sort()
    starts = torch.searchsorted(ordered, torch.arange(size, dtype=rows.dtype), out_int32=rows.dtype == torch.int32)
    owners = order.to(rows.dtype).floor_divide_(rows.shape[1])
    picked = weights.reshape(-1).index_select(0, order)
    return F.embedding_bag(owners, grad, starts, mode="sum", per_sample_weights=picked)


def _weights_gradient(grad: Tensor, rows: Tensor, table: Tensor) -> Tensor:
    """[n, k]: the dot product of grad[i] and table[rows[i, j]]."""
    n, k = rows.shape
    out = grad.new_empty(n, 1, k)
    step = max(1, _CACHED_ROWS * torch.get_num_threads() // k)
    buffer = table.new_empty(min(step, n) * k, table.shape[1])  # reused: fresh pages cost more than the product
    for part, grad_part, out_part in zip(rows.split(step), grad.split(step), out.split(step), strict=True):
        gathered = torch.index_select(table, 0, part.reshape(-1), out=buffer[: part.numel()])
        # the row times the matrix: four times faster than the matrix times the column
        torch.bmm(grad_part.unsqueeze(1), gathered.view(-1, k, table.shape[1]).transpose(1, 2), out=out_part)
    return out.squeeze(1)


# Operators, so that torch.compile takes each as one step. torch.library.custom_op is shorter, but its first eager call
# imports torch._dynamo: seconds.
_OPERATORS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {  # schema: (kernel, shape)
    "row_sum(Tensor table, Tensor rows, Tensor weights) -> Tensor": (
        _weighted_sum,
        lambda table, rows, weights: table.new_empty(rows.shape[0], table.shape[1]),
    ),
    "row_sum_table_gradient(Tensor grad, Tensor rows, Tensor weights, SymInt size) -> Tensor": (
        _table_gradient,
        lambda grad, rows, weights, size: grad.new_empty(size, grad.shape[1]),
    ),
    "row_sum_weights_gradient(Tensor grad, Tensor rows, Tensor table) -> Tensor": (
        _weights_gradient,
        lambda grad, rows, table: grad.new_empty(rows.shape),
    ),
}
_LIBRARY = torch.library.Library("polyscale", "FRAGMENT")
for _schema, (_kernel, _fake) in _OPERATORS.items():
    _name = _LIBRARY.define(_schema)
    _LIBRARY.impl(_name, _kernel, "CPU")
    torch.library.register_fake(f"polyscale::{_name}", _fake, lib=_LIBRARY)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


@once_differentiable
def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
    table, rows, weights = ctx.saved_tensors
    wants_table, _, wants_weights = ctx.needs_input_grad
    grad = grad.contiguous()
    return (
        torch.ops.polyscale.row_sum_table_gradient(grad, rows, weights, table.shape[0]) if wants_table else None,
        None,
        torch.ops.polyscale.row_sum_weights_gradient(grad, rows, table) if wants_weights else None,
    )


torch.library.register_autograd("polyscale::row_sum", _backward, setup_context=_save, lib=_LIBRARY)


def _corners(position: Tensor, size: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(index, weight) of the lower and the upper neighbour on one axis; weight 0 and a clamped index when outside."""
    # a position that is not finite must not become an index: it keeps its NaN in the weight, where it is seen
    lower = position.detach().floor().nan_to_num_()
    fraction = position - lower
    corners = []
    for corner, weight in ((lower, 1 - fraction), (lower + 1, fraction)):
        inside = torch.minimum(corner.clamp(min=0), size - 1)
        corners.append((inside, weight.masked_fill(inside != corner, 0)))
    return corners


def sample_rows(value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Compute `polyscale.blocks.attention.deformable.deformable_sample` for CPU tensors of one float dtype."""
    B, N, H, D = value.shape
    _, Q, _, L, P, _ = locations.shape
    S = L * P
    index = torch.int32 if max(B * N * H, B * Q * H * S * 4) < 2**31 else torch.int64  # half the memory where it fits

    def per_sample(numbers: list[int], dtype: torch.dtype) -> Tensor:
        return torch.tensor(numbers, dtype=dtype).repeat_interleave(P)  # [L] -> [S]

    heights, widths = [h for h, _ in spatial_shapes], [w for _, w in spatial_shapes]
    starts = [sum(h * w for h, w in spatial_shapes[:i]) for i in range(L)]
    x, y = locations.reshape(B, Q, H, S, 2).unbind(-1)
    weights = weights.reshape(B, Q, H, S)
    # row of pixel n of head h of image b: (b * N + n) * H + h, so the table is `value` without a copy
    first = per_sample(starts, index) * H + torch.arange(H, dtype=index)[:, None]
    first = first + torch.arange(B, dtype=index)[:, None, None, None] * (N * H)
    row_stride = per_sample(widths, index) * H
    width, height = per_sample(widths, locations.dtype), per_sample(heights, locations.dtype)
    columns = [(i.to(index).mul_(H), w) for i, w in _corners(x * width - 0.5, width)]
    lines = [(i.to(index).mul_(row_stride).add_(first), w * weights) for i, w in _corners(y * height - 0.5, height)]
    rows = torch.stack([line + column for line, _ in lines for column, _ in columns], dim=3)
    row_weights = torch.stack([v * u for _, v in lines for _, u in columns], dim=3)
    out = torch.ops.polyscale.row_sum(
        value.reshape(B * N * H, D), rows.view(B * Q * H, 4 * S), row_weights.view(B * Q * H, 4 * S)
    )
    return out.view(B, Q, H * D)
