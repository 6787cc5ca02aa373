"""What a configuration costs: parameters and multiply-adds of one image."""

from typing import Any

import torch

from app_name.build import build_model
from app_name.config import Config
from polyscale.models.cost import count


def cost(config: Config) -> dict[str, Any]:
    """Backbone, size, parameters in millions and multiply-adds in billions, counted at inference, batch 1."""
    size = config.model.image_size
    fresh = config.model.model_copy(update={"pretrained": False})
    with torch.device("meta"):
        model = build_model(config.model_copy(update={"model": fresh})).eval()
        parameters, multiply_adds = count(model, torch.empty(1, 3, size, size))
    return {
        "backbone": config.model.backbone,
        "image_size": size,
        "parameters_M": parameters / 1e6,
        "multiply_adds_G": multiply_adds / 1e9,
    }
