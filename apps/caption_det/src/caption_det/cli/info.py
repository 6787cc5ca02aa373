"""`caption-det info`: what a configuration costs, and what is known about a model."""

from typing import Annotated

import typer

from caption_det.config import PRESETS, Config
from polyscale.commands import print_json, table
from polyscale.commands.types import AsJson
from polyscale.settings import configured


@configured(Config, PRESETS, "nano", sections=("model", "data.vocab_size"))
def info(
    config: Config,
    model: Annotated[str | None, typer.Argument(help="Show the card of this model: photo, a run, a hub id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show parameters of each part and multiply-adds of one image without its words, or the card of a model."""
    if model is not None:
        from caption_det.config import SHIPPED
        from polyscale.commands.card import show_card

        show_card(model, SHIPPED, as_json=as_json)
        return
    from caption_det.build import cost_rows

    rows = cost_rows(config)
    if as_json:
        print_json(rows)
        return
    table([{"preset": name, "about": preset.about} for name, preset in PRESETS.items()])
    table(rows, title=f"{config.model.backbone} at {config.model.image_size} px", digits=3)
