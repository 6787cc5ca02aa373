"""`app-name predict`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from polyscale.commands import note
from polyscale.commands.types import (
    SORT_HELP,
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
    out: PredictionsOut = None,
    csv: Csv = None,
    as_json: JsonLines = False,
    sort: Annotated[Literal["none", "name", "area"], typer.Option(help=f"{SORT_HELP} Of area the largest.")] = "none",
    limit: Limit = None,
    recursive: Recursive = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Write each image's mask and overlay at its own size, or print JSON lines."""
    from app_name.predict import Prediction, Predictor, output_files
    from polyscale.commands.bodies import (
        Outputs,
        PredictOptions,
        check_outputs,
        list_inputs,
        output_folder,
        predict_images,
    )

    options = PredictOptions(csv, as_json, sort, limit, batch_size, workers, recursive)
    files, refused = list_inputs(inputs, options)

    folder = output_folder(out, as_json=as_json)

    def written(name: str) -> list[Path]:
        return [] if folder is None else output_files(folder, name)

    check_outputs(files, options, written)
    outputs: Outputs[Prediction] = Outputs(
        save=None if folder is None else lambda result: result.save(folder),
        files=written,
        sort_keys={"area": lambda result: -result.area},
    )
    outcome = predict_images(Predictor(model, device, precision), files, options, outputs)
    if outcome.kept and folder is not None:
        note(f"made {folder}: {len(outcome.kept)} of {plural(len(files), 'image')} (_mask.png, _overlay.png)")
    if outcome.failed or refused:
        raise typer.Exit(1)
