"""`iqa info`: what a configuration costs, and what is known about a model."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from iqa.config import PRESETS, Config
from polyscale.commands import print_json, table
from polyscale.commands.types import AsJson
from polyscale.errors import UserError
from polyscale.settings import configured

if TYPE_CHECKING:
    from polyscale.models.cost import Cost


@configured(Config, PRESETS, "nano", sections=("model",))
def info(
    config: Config,
    model: Annotated[
        str | None, typer.Argument(help="Show the card of this model: nano, a run, a hub id, a file.onnx.")
    ] = None,
    size: Annotated[tuple[int, int] | None, typer.Option(metavar="H W", help="Size of the image to count for.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show parameters and multiply-adds of the network with the last stage alone and with all, or a model's card."""
    if model is not None:
        from iqa.predict import WEIGHTS
        from polyscale.commands.card import show_card

        show_card(model, WEIGHTS, as_json=as_json)
        return
    height, width = size or (config.model.image_size, config.model.image_size)
    if min(height, width) < 1:
        raise UserError(f"--size: {height} {width} given, at least 1 pixel is needed", exit_code=2)
    rows = cost_rows(config, height, width)
    if as_json:
        print_json(rows)
        return
    table([{"preset": name, "about": preset.about} for name, preset in PRESETS.items()])
    table(rows, title=f"{config.model.backbone}, one image of {height} x {width}", digits=3)


def cost_rows(config: Config, height: int, width: int) -> list[dict[str, Any]]:
    """One row for the single-scale network, one for the multi-scale one where the configuration has it.

    Counted for one image of height x width, in one pass, as polyscale.models.cost counts.
    """
    from polyscale.models.cost import cost_row

    names = {False: "single scale (last stage)", True: f"multi-scale ({config.model.fusion})"}
    costs = {m: _network_cost(config, m, height, width) for m in (False, True)[: 1 + config.model.multiscale]}
    return [cost_row(names[multiscale], cost, costs[False]) for multiscale, cost in costs.items()]


def _network_cost(config: Config, multiscale: bool, height: int, width: int) -> "Cost":
    import torch

    from iqa.build import build_model
    from polyscale.models.cost import count

    changes = {"pretrained": "none", "weights": None, "multiscale": multiscale}
    model = build_model(config.model_copy(update={"model": config.model.model_copy(update=changes)})).eval()
    return count(model, torch.zeros(1, 3, height, width))
