"""What a configuration costs: parameters and multiply-adds of one picture."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from iqa.build import build_model
from iqa.config import Config


def cost(config: Config) -> dict[str, Any]:
    """Backbone, size, parameters in millions and multiply-adds in billions, counted at inference, batch 1."""
    size = config.model.image_size
    fresh = config.model.model_copy(update={"pretrained": False})
    with torch.device("meta"):
        model = build_model(config.model_copy(update={"model": fresh})).eval()
        images = torch.empty(1, 3, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "backbone": config.model.backbone,
        "image_size": size,
        "parameters_M": parameters / 1e6,
        "multiply_adds_G": counter.get_total_flops() / 2e9,
    }
