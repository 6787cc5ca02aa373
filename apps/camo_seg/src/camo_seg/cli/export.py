"""`camo-seg export`."""

from typing import Annotated

import typer

from polyscale.commands import note
from polyscale.commands.types import ExportOut, ModelArgument


def export(
    model: ModelArgument,
    out: ExportOut = None,
    fixed_size: Annotated[
        bool, typer.Option("--fixed-size", help="Take the model's own size alone; for a network that needs it.")
    ] = False,
) -> None:
    """Write a model as ONNX, which predicts without torch: image [N, 3, H, W] in [0, 1] -> probability [N, 1, H, W].

    The file is compared with the model and only kept where they agree. Any N, H and W from 32; the model is best at
    squares of its image_size, to which camo-seg predict squeezes an image.
    """
    from camo_seg.export import export_onnx
    from camo_seg.model import CamoSegmenter
    from polyscale.commands.output import check_targets
    from polyscale.inference.network import export_target
    from polyscale.models import find

    folder = find(model, shipped=CamoSegmenter.shipped)
    file = export_target(model, folder, out)
    check_targets([file])
    network = CamoSegmenter.from_pretrained(folder)
    note(f"writing {file}, and comparing it with the model: a minute or more")
    export_onnx(network, file, fixed_size=fixed_size, source=folder)
    note(f"made {file} ({file.stat().st_size / 2**20:.1f} MB): camo-seg predict IMAGES --model {file}")
