"""RVT's recurrent backbone: four stages of convolution, window attention, grid attention and a 1x1 LSTM.

What differs from RVT's code: it walks through time and calls every stage for every step. A stage at time t needs the
stage below it at t and its own state at t - 1 only; so here a stage takes all steps at once, and only the product with
the hidden state is left to walk through time ("stage" order, the same numbers to rounding). "time" order is kept: on a
CPU it is as fast, and its working set is smaller.

    T steps, B streams, C channels, H, W sides of the input
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from event_det.model.attention import PartitionAttention

Order = Literal["auto", "stage", "time"]
States = list[tuple[Tensor, Tensor]]
"""(hidden, cell) of each stage, [B, C, h, w]."""


class PointwiseLSTM(nn.Module):
    """A convolutional LSTM with 1x1 kernels, on channels-last maps; gates in the order forget, input, output, cell.

    Its weights are those of RVT's convolution; a linear layer reads them without moving the channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.conv1x1 = nn.Conv2d(2 * channels, 4 * channels, 1)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """T steps: x [T, B, h, w, C] -> hidden of every step [T, B, h, w, C], (hidden, cell) after as [B, C, h, w]."""
        C = self.channels
        weight = self.conv1x1.weight.flatten(1)
        inputs = F.linear(x, weight[:, :C], self.conv1x1.bias)
        hidden, cell = (None, torch.zeros_like(x[0])) if state is None else (s.permute(0, 2, 3, 1) for s in state)
        steps = []
        for mix in inputs:
            if hidden is not None:
                mix = mix + F.linear(hidden.to(x.dtype), weight[:, C:])
            forget, enter, leave = mix[..., : 3 * C].sigmoid().chunk(3, dim=-1)
            cell = forget * cell + enter * mix[..., 3 * C :].tanh()
            hidden = leave * cell.tanh()
            steps.append(hidden)
        assert hidden is not None
        return torch.stack(steps), (hidden.permute(0, 3, 1, 2), cell.permute(0, 3, 1, 2))


class Stage(nn.Module):
    """Overlapping strided convolution, `blocks` pairs of window and grid attention, LSTM."""

    def __init__(self, in_channels: int, channels: int, stride: int, head: int, blocks: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 2 * stride - 1, stride, stride - 1, bias=False)
        self.norm = nn.LayerNorm(channels)
        self.attention = nn.ModuleList(
            PartitionAttention(channels, head, grid=grid, normed=block == 0 and not grid)
            for block in range(blocks)
            for grid in (False, True)
        )
        self.lstm = PointwiseLSTM(channels)

    def forward(
        self, x: Tensor, tile: tuple[int, int], state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """[T, B, in, H, W] -> hidden [T, B, C, H / stride, W / stride], state."""
        y = self.norm(self.conv(x.flatten(0, 1)).permute(0, 2, 3, 1))
        for layer in self.attention:
            y = layer(y, tile)
        hidden, state = self.lstm(y.unflatten(0, x.shape[:2]), state)
        return hidden.permute(0, 1, 4, 2, 3), state


class RecurrentBackbone(nn.Module):
    """[T, B, in, H, W] -> one [T, B, channels[i], H / strides[i], W / strides[i]] per stage.

    Args:
        in_channels: of the representation.
        width: channels of the first stage; they double from stage to stage.
        head: channels of an attention head.
        blocks: pairs of attention layers in each stage.
        patch: stride of the first stage; each further one halves the sides.
        order: "stage", "time", or "auto": by stage on a GPU.
    """

    def __init__(
        self, in_channels: int, width: int, head: int, blocks: Sequence[int], patch: int, order: Order
    ) -> None:
        super().__init__()
        self.order = order
        self.channels = [width * 2**i for i in range(len(blocks))]
        self.strides = [patch * 2**i for i in range(len(blocks))]
        self.stages = nn.ModuleList(
            Stage(before, channels, 2 if i else patch, head, blocks[i])
            for i, (before, channels) in enumerate(zip([in_channels, *self.channels[:-1]], self.channels, strict=True))
        )

    def forward(self, x: Tensor, tile: tuple[int, int], states: States | None) -> tuple[list[Tensor], States]:
        """Return the features of every step and the states after the last.

        Args:
            x: [T, B, in, H, W], sides multiples of the last stride times `tile`.
            tile: sides of the attention's tiles.
            states: after the step before the first; None where all streams begin.
        """
        if self.order == "stage" or (self.order == "auto" and x.device.type != "cpu"):
            return self._by_stage(x, tile, states)
        steps = []
        for step in x:
            features, states = self._by_stage(step[None], tile, states)
            steps.append(features)
        assert states is not None
        return [torch.cat(levels) for levels in zip(*steps, strict=True)], states

    def _by_stage(self, x: Tensor, tile: tuple[int, int], states: States | None) -> tuple[list[Tensor], States]:
        features, after = [], []
        for i, stage in enumerate(self.stages):
            x, state = stage(x, tile, None if states is None else states[i])
            features.append(x)
            after.append(state)
        return features, after
