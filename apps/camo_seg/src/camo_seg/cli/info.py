"""`camo-seg info`: what a configuration costs, and what is known about a model."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from camo_seg.config import PRESETS, Config
from polyscale.commands import print_json, table
from polyscale.commands.types import AsJson
from polyscale.errors import UserError
from polyscale.settings import configured

if TYPE_CHECKING:
    from polyscale.models.cost import Cost


@configured(Config, PRESETS, "nano", sections=("model", "loss.scale_loss"))
def info(
    config: Config,
    model: Annotated[str | None, typer.Argument(help="Show the card of this model: nano, a run, a hub id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show parameters and multiply-adds of the network with one input scale and with all, or the card of a model."""
    if model is not None:
        _show_card(model, as_json)
        return
    rows = cost_rows(config)
    if as_json:
        print_json(rows)
        return
    table([{"preset": name, "about": preset.about} for name, preset in PRESETS.items()])
    table(rows, title=f"{config.model.backbone} at {config.model.image_size} px, batch 1", digits=3)


def _show_card(model: str, as_json: bool) -> None:
    from camo_seg.model import CamoSegmenter
    from polyscale.models import find
    from polyscale.models.card import CARD

    if as_json:
        print_json(CamoSegmenter.about(model))
        return
    card = find(model, shipped=CamoSegmenter.shipped) / CARD
    if not card.is_file():
        raise UserError(f"{card}: this model has no card")
    typer.echo(card.read_text(encoding="utf-8"))


def cost_rows(config: Config) -> list[dict[str, Any]]:
    """One row for the single-scale network, one for the configured scales; counted at inference, batch 1.

    Parameters in millions (with the heads that only training uses) and multiply-adds in billions, each also as a
    ratio to the single-scale network.
    """
    from polyscale.models.cost import cost_row

    single = network_cost(config, (1.0,))
    rows = [cost_row("single scale (1.0)", single, single)]
    if len(config.model.scales) > 1:
        scales = ", ".join(map(str, config.model.scales))
        rows.append(cost_row(f"{config.model.fusion} ({scales})", network_cost(config, config.model.scales), single))
    return rows


def network_cost(config: Config, scales: tuple[float, ...]) -> "Cost":
    """(parameters, multiply-adds of one forward pass) of the configured network at `scales`."""
    import torch

    from camo_seg.model import CamoSegmenter
    from polyscale.models.cost import count

    m = config.model
    with torch.device("meta"):
        model = CamoSegmenter(m.backbone, scales, m.fusion, m.width, m.image_size, config.loss.scale_loss > 0).eval()
        return count(model, torch.empty(1, 3, m.image_size, m.image_size))
