"""What a configuration costs: parameters and multiply-adds of the network with all stages and with the last alone."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from iqa.build import build_model
from iqa.config import Config


def cost_rows(config: Config, height: int, width: int) -> list[dict[str, Any]]:
    """One row for the single-scale network, one for the multi-scale one where the configuration has it.

    Counted at inference for one picture of height x width, in one pass: parameters in millions, multiply-adds of
    convolutions and matrix products in billions, each also as a ratio to the single-scale network.
    """
    names = {False: "single scale (last stage)", True: f"multi-scale ({config.model.fusion})"}
    counted = {m: count(config, m, height, width) for m in (False, True)[: 1 + config.model.multiscale]}
    return [_row(names[multiscale], cost, counted[False]) for multiscale, cost in counted.items()]


def count(config: Config, multiscale: bool, height: int, width: int) -> tuple[int, int]:
    """(parameters, multiply-adds of one pass) of the configured network with or without all four stages."""
    changes = {"pretrained": False, "weights": None, "multiscale": multiscale}
    settings = config.model_copy(update={"model": config.model.model_copy(update=changes)})
    model = build_model(settings).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, height, width))
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2


def _row(name: str, cost: tuple[int, int], single: tuple[int, int]) -> dict[str, Any]:
    return {
        "network": name,
        "parameters_M": cost[0] / 1e6,
        "x parameters": cost[0] / single[0],
        "multiply_adds_G": cost[1] / 1e9,
        "x multiply_adds": cost[1] / single[1],
    }
