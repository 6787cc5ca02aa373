"""`iqa predict`."""

from collections.abc import Mapping
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
    Runtime,
    Workers,
)
from polyscale.data.naming import plural, unique_names
from polyscale.errors import UserError

MIN_SIDE = 100  # pixels; models learn from larger images


def predict(
    inputs: ImageArguments,
    model: ModelOption = "nano",
    out: PredictionsOut = None,
    maps: Annotated[bool, typer.Option("--map", help="Write NAME_quality.jpg: where the quality is lost.")] = False,
    below: Annotated[float | None, typer.Option(help="Only images with a lower score.")] = None,
    above: Annotated[float | None, typer.Option(help="Only images with a higher score.")] = None,
    csv: Csv = None,
    as_json: JsonLines = False,
    sort: Annotated[Literal["none", "score", "name"], typer.Option(help=f"{SORT_HELP} Of score the lowest.")] = "none",
    limit: Limit = None,
    recursive: Recursive = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    runtime: Runtime = "auto",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Score images: a table, CSV or JSON lines; broken files are named and the others still scored."""
    from iqa.predict import Prediction, Predictor
    from iqa.predict_map import save_jpeg
    from polyscale.commands.bodies import Outputs, PredictOptions, check_outputs, list_inputs, predict_images

    if out is not None and not maps:
        raise UserError("--out: only --map writes files there; scores go to --csv FILE", exit_code=2)
    options = PredictOptions(csv, as_json, sort, limit, batch_size, workers, recursive)
    files, refused = list_inputs(inputs, options)

    folder = out or Path("predictions")

    def file_of(name: str) -> Path:
        return folder / f"{name}_quality.jpg"

    check_outputs(files, options, (lambda name: [file_of(name)]) if maps else None)
    predictor = Predictor(model, device, precision, runtime)
    scale = predictor.score_range
    _check_bounds(model, scale, {"--below": below, "--above": above})
    note(f"{model}: {scale.describe()}")
    names = unique_names([file if isinstance(file, Path) else None for file in files])
    sources = dict(zip(names, files, strict=True))

    def save(result: Prediction) -> None:
        save_jpeg(file_of(result.name), predictor.draw_map(sources[result.name]))

    outputs: Outputs[Prediction] = Outputs(
        save=save if maps else None,
        files=lambda name: [file_of(name)],
        keep=lambda result: (above is None or result.score > above) and (below is None or result.score < below),
        sort_keys={"score": lambda result: result.score},
        row=Prediction.row,
        digits=scale.decimals,
    )
    outcome = predict_images(predictor, files, options, outputs)
    if above is not None or below is not None:
        scored = outcome.counted + outcome.left_out
        note(f"in the asked range: {outcome.counted} of {plural(scored, 'image')} scored")
    small = sum(min(kept.fields["width"], kept.fields["height"]) < MIN_SIDE for kept in outcome.kept)
    if small:
        note(f"{plural(small, 'image')} below {MIN_SIDE} pixels a side: expect errors larger than the spread")
    if maps and outcome.kept:
        note(f"made {folder}: {plural(len(outcome.kept), 'map')} (_quality.jpg)")
    if outcome.failed or refused:
        raise typer.Exit(1)


def _check_bounds(model: str, score_range: tuple[float, float], bounds: Mapping[str, float | None]) -> None:
    """Refuse a bound on another scale than the model's: it would silently keep everything, or nothing."""
    low, high = score_range
    below, above = bounds["--below"], bounds["--above"]
    if below is not None and above is not None and above >= below:
        wrong = f"--above {above:g} --below {below:g}: no score is both; --above is the lower end of what is kept"
        raise UserError(wrong, exit_code=2)
    for option, value in bounds.items():
        if value is not None and not low <= value <= high:
            raise UserError(f"{option} {value:g}: {model} scores from {low:g} to {high:g}", exit_code=2)
