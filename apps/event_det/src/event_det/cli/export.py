"""`event-det export`."""

from pathlib import Path
from typing import Annotated

import typer

from event_det.cli.evaluate import MODEL_HELP
from polyscale.commands import note, print_json
from polyscale.commands.types import AsJson


def export(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File: .onnx, or .pt2 of torch.export [default: model.onnx beside the weights, NAME.onnx of others].",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one step of a detector with its state as inputs and outputs, and compare 20 steps of it with the model.

    Inputs: frame, float32 [1, C, H, W], first, bool [1] (true where a stream begins: the states are not looked at), and
    the states of the step before. Outputs: boxes [A, 4] in pixels, scores [A, K] (objectness times class), and the
    states for the next step, in the order of the inputs. Suppression of overlapping boxes is left to the caller.
    """
    from event_det.build import RVT_SUFFIX, load_model
    from event_det.export import KINDS, export_step
    from event_det.model import EventDetector
    from polyscale.commands import check_targets
    from polyscale.inference.network import export_target
    from polyscale.models import find

    folder = Path() if model.endswith(RVT_SUFFIX) else find(model, shipped=EventDetector.shipped)
    file = export_target(model.removesuffix(RVT_SUFFIX), folder, out, endings=KINDS)
    check_targets([file])
    note(f"writing {file}, and comparing it with the model over 20 steps")
    names = export_step(load_model(model), file)
    if as_json:
        print_json({"out": file, "states": names})
    note(f"made {file}: frame, first and {len(names)} states in; boxes, scores and {len(names)} states out")
