"""`caption-det export`."""

from pathlib import Path
from typing import Annotated

import typer

from polyscale.commands import note
from polyscale.commands.types import ModelArgument


def export(
    model: ModelArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of the ONNX files [default: onnx beside the weights, NAME-onnx of any other].",
        ),
    ] = None,
) -> None:
    """Write a model as ONNX, and compare boxes and greedy captions of it with the model's.

    encoder.onnx: image [B, 3, S, S] in [0, 1] at the model's own size -> boxes [B, N, 4] as fractions of the image,
    scores [B, N, K] before the suppression of overlaps, and the state in which a caption begins. decoder.onnx writes
    one word: token [B, 1] and state -> logits [B, V] and the new state. caption_det.onnx runs both without torch.
    """
    from caption_det.config import SHIPPED
    from caption_det.export import export as write
    from caption_det.model import load
    from caption_det.onnx import EXPORTED
    from polyscale.commands import check_folder
    from polyscale.inference.network import beside
    from polyscale.models import find

    folder = out or beside(model, find(model, shipped=SHIPPED), EXPORTED, f"-{EXPORTED}")
    check_folder(folder)
    network = load(model)
    note(f"writing {folder}, and comparing it with the model: a minute or more")
    write(network, folder)
    size = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
    note(f"made {folder} ({size:.1f} MB); next: caption-det predict IMAGES --model {folder}, which needs no torch")
