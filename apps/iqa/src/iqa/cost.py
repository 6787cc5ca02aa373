"""What a configuration costs: parameters and multiply-adds of the network with all stages and with the last alone."""

from typing import Any

import torch

from iqa.build import build_model
from iqa.config import Config
from polyscale.models.cost import Cost, cost_row, count


def cost_rows(config: Config, height: int, width: int) -> list[dict[str, Any]]:
    """One row for the single-scale network, one for the multi-scale one where the configuration has it.

    Counted for one image of height x width, in one pass, as polyscale.models.cost counts.
    """
    names = {False: "single scale (last stage)", True: f"multi-scale ({config.model.fusion})"}
    costs = {m: _cost(config, m, height, width) for m in (False, True)[: 1 + config.model.multiscale]}
    return [cost_row(names[multiscale], cost, costs[False]) for multiscale, cost in costs.items()]


def _cost(config: Config, multiscale: bool, height: int, width: int) -> Cost:
    changes = {"pretrained": False, "weights": None, "multiscale": multiscale}
    model = build_model(config.model_copy(update={"model": config.model.model_copy(update=changes)})).eval()
    return count(model, torch.zeros(1, 3, height, width))
