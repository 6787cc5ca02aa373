"""`iqa export`."""

from pathlib import Path
from typing import Annotated

import typer

from polyscale.commands import note
from polyscale.commands.types import ModelArgument


def export(model: ModelArgument, file: Annotated[Path, typer.Argument(help="ONNX file to write.")]) -> None:
    """Write a model as ONNX: image [N, 3, H, W] in [0, 1] -> score [N], spread [N].

    Any N; H and W from 32, at most the model's image_size squared in all: larger images are first shrunk to that,
    aspect kept, bicubic and anti-aliased, as iqa predict does it.
    """
    from iqa.export import export_onnx
    from iqa.model import QualityNet
    from iqa.predict import ScoreRange
    from polyscale.commands.output import check_targets

    check_targets([file])
    network = QualityNet.from_pretrained(model)
    swin = str(network.arguments.get("backbone", "")).startswith("swin")
    time = "a Swin backbone may take longer than half an hour" if swin else "a few minutes"
    note(f"writing {file}, and comparing it with the model: {time}")
    export_onnx(network, file)
    note(f"made {file}: scores {ScoreRange(network.low, network.high).describe()}")
    note(f"first shrink images of more than {network.input_size}^2 pixels to that, aspect kept (anti-aliased, bicubic)")
