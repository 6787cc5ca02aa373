"""What a configuration costs: parameters and multiply-adds of the network with one input scale and with all."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from camo_seg.config import Config
from camo_seg.model import CamoSegmenter


def cost_rows(config: Config) -> list[dict[str, Any]]:
    """One row for the single-scale network, one for the configured scales; counted at inference, batch 1.

    Parameters in millions (with the heads that only training uses) and multiply-adds in billions, each also as a
    ratio to the single-scale network.
    """
    single = count(config, (1.0,))
    rows = [_row("single scale (1.0)", single, single)]
    if len(config.model.scales) > 1:
        scales = ", ".join(map(str, config.model.scales))
        rows.append(_row(f"{config.model.fusion} ({scales})", count(config, config.model.scales), single))
    return rows


def count(config: Config, scales: tuple[float, ...]) -> tuple[int, int]:
    """(parameters, multiply-adds of one forward pass) of the configured network at `scales`."""
    m = config.model
    with torch.device("meta"):
        model = CamoSegmenter(m.backbone, scales, m.fusion, m.width, m.image_size, config.loss.scale_loss > 0).eval()
        images = torch.empty(1, 3, m.image_size, m.image_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2


def _row(name: str, cost: tuple[int, int], single: tuple[int, int]) -> dict[str, Any]:
    return {
        "network": name,
        "parameters_M": cost[0] / 1e6,
        "x parameters": cost[0] / single[0],
        "multiply_adds_G": cost[1] / 1e9,
        "x multiply_adds": cost[1] / single[1],
    }
