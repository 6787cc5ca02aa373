"""`event-det export`."""

from pathlib import Path
from typing import Annotated

import typer

from event_det.cli.evaluate import MODEL_HELP
from polyscale.commands import note, print_json
from polyscale.commands.types import AsJson


def export(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    file: Annotated[Path, typer.Argument(help="File to write: .onnx, or .pt2 for torch.export.")],
    as_json: AsJson = False,
) -> None:
    """Write one step of a detector with its state as inputs and outputs, and compare 20 steps of it with the model.

    Inputs: frame, float32 [1, C, H, W], first, bool [1] (true where a stream begins: the states are not looked at), and
    the states of the step before. Outputs: boxes [A, 4] in pixels, scores [A, K] (objectness times class), and the
    states for the next step, in the order of the inputs. Suppression of overlapping boxes is left to the caller.
    """
    from event_det.build import load_model
    from event_det.export import check_ending, export_step
    from polyscale.commands import check_targets

    check_ending(file)
    check_targets([file])
    note(f"writing {file}, and comparing it with the model over 20 steps")
    names = export_step(load_model(model), file)
    if as_json:
        print_json({"out": file, "states": names})
    note(f"made {file}: frame, first and {len(names)} states in; boxes, scores and {len(names)} states out")
