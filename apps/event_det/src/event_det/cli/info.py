"""`event-det info`: what a configuration costs, and what is known about a model."""

from typing import Annotated, Any

import typer

from event_det.config import PRESETS, Config
from polyscale.commands import print_json, table
from polyscale.commands.types import AsJson
from polyscale.errors import UserError
from polyscale.settings import configured


@configured(Config, PRESETS, "nano", sections=("model",))
def info(
    config: Config,
    model: Annotated[str | None, typer.Argument(help="Show the card of this model: nano, a run, a hub id.")] = None,
    size: Annotated[str, typer.Option(help="Width x height of the frames.")] = "304x240",
    classes: Annotated[int, typer.Option(min=1, help="Number of classes.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Show parameters and multiply-adds of a step, part by part, and the size of the state, or the card of a model."""
    if model is not None:
        from event_det.model import EventDetector
        from polyscale.commands.card import show_card

        show_card(model, EventDetector.shipped, as_json=as_json)
        return
    rows = cost_rows(config, parse_size(size), classes)
    if as_json:
        print_json(rows)
        return
    table([{"preset": name, "about": preset.about} for name, preset in PRESETS.items()])
    table(rows, title=f"one step of {size}, batch 1", digits=3)


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of a text such as 304x240.

    Raises:
        UserError: it is no size.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and 0 < int(part) <= 8192 for part in parts):
        raise UserError(f"--size: {text} is no width x height such as 304x240", exit_code=2)
    return int(parts[1]), int(parts[0])


def cost_rows(config: Config, size: tuple[int, int], classes: int) -> list[dict[str, Any]]:
    """One row for each part and one for the whole: millions of parameters, billions of multiply-adds, state in MiB."""
    import torch
    from torch import Tensor, nn

    from event_det.build import network
    from polyscale.models.cost import count

    with torch.device("meta"), torch.no_grad():
        model = network(config, [str(i) for i in range(classes)], size, 2 * config.representation.bins).eval()
        frames = torch.empty(1, 1, 2 * config.representation.bins, *size)
        features, state = model.backbone_features(frames)
        levels, state["attention"] = model.pyramid(features)

    class Backbone(nn.Module):
        """The part of the network that remembers."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone = model.backbone

        def forward(self, frames: Tensor) -> object:
            """Run it."""
            return model.backbone_features(frames, state)

    class Pyramid(nn.Module):
        """Pyramid and attention."""

        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([part for part in (model.fpn, model.small, model.channel) if part is not None])

        def forward(self, features: list[Tensor]) -> object:
            """Run it."""
            return model.pyramid(features, state)

    costs = {
        "backbone": count(Backbone(), frames),
        "pyramid": count(Pyramid(), features),
        "head": count(model.head, levels),
    }
    costs["all"] = (sum(c[0] for c in costs.values()), sum(c[1] for c in costs.values()))
    memory = 4 * sum(tensor.numel() for tensors in state.values() for tensor in tensors) / 2**20
    return [
        {
            "part": part,
            "parameters_M": parameters / 1e6,
            "multiply_adds_G": work / 1e9,
            "state_MiB": memory if part == "all" else None,
        }
        for part, (parameters, work) in costs.items()
    ]
