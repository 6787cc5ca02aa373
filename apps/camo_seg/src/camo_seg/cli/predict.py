"""`camo-seg predict`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from polyscale.commands import note
from polyscale.commands.types import (
    BatchSize,
    Csv,
    Device,
    ImageArguments,
    JsonLines,
    Limit,
    ModelOption,
    Precision,
    PredictionsOut,
    Recursive,
    Workers,
)
from polyscale.data.naming import plural


def predict(
    inputs: ImageArguments,
    model: ModelOption = "nano",
    out: PredictionsOut = Path("predictions"),
    threshold: Annotated[float, typer.Option(help="Probability from which a pixel belongs to the mask.")] = 0.5,
    overlay: Annotated[bool, typer.Option(help="Write the overlay next to map and mask.")] = True,
    csv: Csv = None,
    as_json: JsonLines = False,
    sort: Annotated[Literal["none", "name", "area"], typer.Option(help="Order of CSV and JSON.")] = "none",
    limit: Limit = None,
    recursive: Recursive = False,
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: BatchSize = 4,
    workers: Workers = 2,
) -> None:
    """Write each image's probability map, mask and overlay at its own size, or print JSON lines."""
    from camo_seg.predict import Prediction, Predictor, output_files
    from polyscale.commands.bodies import Outputs, PredictOptions, list_inputs, predict_images

    options = PredictOptions(csv, as_json, sort, limit, batch_size, workers, recursive)
    files, refused = list_inputs(inputs, options)
    predictor = Predictor(model, device, precision, threshold=threshold)

    def save(result: Prediction) -> None:
        result.save(out, overlay)

    outputs: Outputs[Prediction] = Outputs(
        save=None if as_json else save,
        files=lambda name: output_files(out, name, overlay),
        sort_keys={"area": lambda result: -result.area},
    )
    outcome = predict_images(predictor, files, options, outputs)
    if outcome.kept and not as_json:
        written = f"{len(outcome.kept)} of {plural(len(files), 'image')}"
        note(f"made {out}: {written} (_probability.png, _mask.png, _overlay.jpg)")
    if outcome.failed or refused:
        raise typer.Exit(1)
