"""`camo-seg info`: what a configuration costs, and what is known about a model."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from camo_seg.config import PRESETS, Config
from polyscale.commands import print_json, table
from polyscale.commands.types import AsJson
from polyscale.settings import configured

if TYPE_CHECKING:
    from polyscale.models.cost import Cost


@configured(Config, PRESETS, "nano", sections=("model", "loss.scale_loss"))
def info(
    config: Config,
    model: Annotated[
        str | None, typer.Argument(help="Show the card of this model: nano, a run, a hub id, a file.onnx.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show parameters and multiply-adds of the network with one input scale and with all, or the card of a model."""
    if model is not None:
        from camo_seg.predict import WEIGHTS
        from polyscale.commands.card import show_card

        show_card(model, WEIGHTS, as_json=as_json)
        return
    rows = cost_rows(config)
    if as_json:
        print_json(rows)
        return
    table([{"preset": name, "about": preset.about} for name, preset in PRESETS.items()])
    table(rows, title=f"{config.model.backbone} at {config.model.image_size} px, batch 1", digits=3)


def cost_rows(config: Config) -> list[dict[str, Any]]:
    """One row for the single-scale network, one for the configured scales, one for the mixture of experts.

    Counted at inference, batch 1. Parameters in millions (with the heads that only training uses) and multiply-adds in
    billions, each also as a ratio to the single-scale network.
    """
    from polyscale.models.cost import cost_row

    single = network_cost(config, (1.0,))
    rows = [cost_row("single scale (1.0)", single, single)]
    m = config.model
    scales = ", ".join(map(str, m.scales))
    if len(m.scales) > 1:
        rows.append(cost_row(f"{m.fusion} ({scales})", network_cost(config, m.scales), single))
    if m.experts:
        name = f"{m.experts} experts, top {m.top_k} ({scales})"
        rows.append(cost_row(name, network_cost(config, m.scales, m.experts), single))
    return rows


def network_cost(config: Config, scales: tuple[float, ...], experts: int = 0) -> "Cost":
    """(parameters, multiply-adds of one forward pass) of the configured network at `scales`.

    With `experts`, of which top_k decode an image, the multiply-adds are the mean over their choices.
    """
    import torch

    from camo_seg.model import CamoSegmenter
    from camo_seg.model.mixture import Expert
    from polyscale.models.backbones import STRIDES
    from polyscale.models.cost import count

    m = config.model
    with torch.device("meta"):
        heads = config.loss.scale_loss > 0
        model = CamoSegmenter(
            m.backbone, scales, m.fusion, m.width, m.image_size, heads, experts=experts, top_k=m.top_k
        ).eval()
        image = torch.empty(1, 3, model.input_size, model.input_size)
        parameters, everything = count(model, image)  # without values nothing is chosen: every expert is counted
        if not experts:
            return parameters, everything
        decoded = [m.image_size] if model.window is None else [m.image_size, model.input_size // 12 * 4]
        one_each = 0
        for size in decoded:  # the whole, and the window: a third of the finer image, in cells of 4 pixels
            levels = torch.empty(1, len(STRIDES) * m.width, -(-size // STRIDES[0]), -(-size // STRIDES[0]))
            one_each += sum(count(e, levels)[1] for e in model.decoder.modules() if isinstance(e, Expert))
        return parameters, round(everything - one_each * (1 - m.top_k / experts))
