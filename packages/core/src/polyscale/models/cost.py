"""What a network costs, counted rather than timed: parameters and multiply-adds."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Cost = tuple[int, int]  # parameters, multiply-adds


def count(model: nn.Module, *inputs: Tensor) -> Cost:
    """Parameters and the multiply-adds of one forward pass, also on the meta device, where neither takes memory.

    The multiply-adds are those of convolutions and matrix products (torch's FlopCounterMode, halved); interpolation,
    pooling, sampling and norms are not in it. The model should be in eval mode.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2


def cost_row(name: str, cost: Cost, single: Cost) -> dict[str, Any]:
    """A row of the table that `info` shows: millions and billions, each beside its ratio to the network `single`."""
    return {
        "network": name,
        "parameters_M": cost[0] / 1e6,
        "x parameters": cost[0] / single[0],
        "multiply_adds_G": cost[1] / 1e9,
        "x multiply_adds": cost[1] / single[1],
    }
