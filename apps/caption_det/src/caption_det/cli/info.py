"""`caption-det info`."""

from caption_det.config import PRESETS, Config
from polyscale.commands import print_json, table
from polyscale.commands.types import AsJson
from polyscale.settings import configured


@configured(Config, PRESETS, "nano", sections=("model", "data.vocab_size"))
def info(config: Config, as_json: AsJson = False) -> None:
    """Show what a configuration costs: parameters of each part, multiply-adds of one image without its words."""
    from caption_det.build import cost_rows

    rows = cost_rows(config)
    if as_json:
        print_json(rows)
        return
    table([{"preset": name, "about": preset.about} for name, preset in PRESETS.items()])
    table(rows, title=f"{config.model.backbone} at {config.model.image_size} px", digits=3)
