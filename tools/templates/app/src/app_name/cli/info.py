"""`app-name info`."""

from app_name.config import PRESETS, Config
from polyscale.commands import print_json, table
from polyscale.commands.types import AsJson
from polyscale.settings import configured


@configured(Config, PRESETS, "nano", sections=("model",))
def info(config: Config, as_json: AsJson = False) -> None:
    """Show what a configuration costs: parameters and multiply-adds of one image."""
    import torch

    from app_name.model import Segmenter
    from polyscale.models.cost import cost_row, count

    m = config.model
    with torch.device("meta"):
        model = Segmenter(m.backbone, m.width, m.image_size).eval()
        cost = count(model, torch.empty(1, 3, m.image_size, m.image_size))
    row = cost_row(f"{m.backbone} at {m.image_size} px", cost, cost)
    shown = {key: value for key, value in row.items() if not key.startswith("x ")}
    if as_json:
        print_json(shown)
        return
    table([{"preset": name, "about": preset.about} for name, preset in PRESETS.items()])
    table([shown], digits=3)
