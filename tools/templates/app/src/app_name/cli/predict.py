"""`app-name predict`."""

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
    model: ModelOption,
    out: PredictionsOut = Path("predictions"),
    csv: Csv = None,
    as_json: JsonLines = False,
    sort: Annotated[Literal["none", "name", "area"], typer.Option(help="Order of CSV and JSON.")] = "none",
    limit: Limit = None,
    recursive: Recursive = False,
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Write each image's mask and overlay at its own size, or print JSON lines."""
    from app_name.predict import Prediction, Predictor, output_files
    from polyscale.commands.bodies import Outputs, PredictOptions, check_outputs, list_inputs, predict_images

    options = PredictOptions(csv, as_json, sort, limit, batch_size, workers, recursive)
    files, refused = list_inputs(inputs, options)

    def written(name: str) -> list[Path]:
        return output_files(out, name)

    def save(result: Prediction) -> None:
        result.save(out)

    check_outputs(files, options, None if as_json else written)
    outputs: Outputs[Prediction] = Outputs(
        save=None if as_json else save,
        files=written,
        sort_keys={"area": lambda result: -result.area},
    )
    outcome = predict_images(Predictor(model, device, precision), files, options, outputs)
    if outcome.kept and not as_json:
        note(f"made {out}: {len(outcome.kept)} of {plural(len(files), 'image')} (_mask.png, _overlay.png)")
    if outcome.failed or refused:
        raise typer.Exit(1)
