"""Cost of a network, counted and not timed: parameters and multiply-adds."""

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

Cost = tuple[int, int]  # parameters, multiply-adds


def count(model: nn.Module, *inputs: Any) -> Cost:
    """Return the parameters and the multiply-adds of one forward pass.

    The multiply-adds are those of convolutions and matrix products (torch's FlopCounterMode, halved); interpolation,
    pooling, sampling and norms are not counted.

    Args:
        model: in eval mode; on the meta device nothing takes memory.
        inputs: of its forward pass.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2


def cost_row(name: str, cost: Cost, single: Cost) -> dict[str, Any]:
    """Return a row of the table that `info` shows: millions and billions, each with its ratio to `single`."""
    return {
        "network": name,
        "parameters_M": cost[0] / 1e6,
        "x parameters": cost[0] / single[0],
        "multiply_adds_G": cost[1] / 1e9,
        "x multiply_adds": cost[1] / single[1],
    }
