"""`caption-det predict`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from caption_det.cli.options import Beams
from caption_det.config import THRESHOLD
from polyscale.commands import note
from polyscale.commands.types import (
    BatchSize,
    Csv,
    Device,
    ImageArguments,
    JsonLines,
    Limit,
    Precision,
    PredictionsOut,
    Recursive,
    Runtime,
    Workers,
)
from polyscale.data.naming import plural
from polyscale.errors import UserError

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Folder of a run or model, or what `export` wrote, hub id owner/name, or the name of a shipped model.",
    ),
]


def predict(
    inputs: ImageArguments,
    model: Model = "photo",
    out: PredictionsOut = Path("predictions"),
    maps: Annotated[
        bool, typer.Option("--map", help="Write NAME_words.jpg too: where each word of the caption looked.")
    ] = False,
    threshold: Annotated[float, typer.Option(help="Lowest score of the boxes.")] = THRESHOLD,
    captions: Annotated[int, typer.Option(min=1, help="Captions of each image, the most likely first.")] = 1,
    beams: Beams = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.01, help="Draw words at random at this temperature in place of a search.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="Draw from the likeliest words of this probability together.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the words that are drawn.")] = 0,
    csv: Csv = None,
    as_json: JsonLines = False,
    sort: Annotated[Literal["none", "name", "objects"], typer.Option(help="Order of CSV and JSON.")] = "none",
    limit: Limit = None,
    recursive: Recursive = False,
    device: Device = "auto",
    precision: Precision = "auto",
    runtime: Runtime = "auto",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Print a caption for each image and write the image with its boxes, or print JSON lines."""
    from caption_det.describer import Decoding
    from caption_det.predict import Prediction, Predictor, output_files, save_jpeg
    from polyscale.commands.bodies import Outputs, PredictOptions, check_outputs, list_inputs, predict_images

    if maps and as_json:
        raise UserError("--map --json: --json writes no files; leave one of them away", exit_code=2)
    options = PredictOptions(csv, as_json, sort, limit, batch_size, workers, recursive)
    files, refused = list_inputs(inputs, options)
    check_outputs(files, options, None if as_json else lambda name: output_files(out, name, maps))
    decoding = Decoding(captions, beams, temperature, top_p)
    predictor = Predictor(model, device, precision, decoding, threshold, runtime)
    if temperature is not None or top_p is not None:
        import torch

        torch.manual_seed(seed)
    if maps and not predictor.describer.speaks:
        raise UserError(f"--map: {model} writes no captions, so that no word has a place", exit_code=2)
    if model == "photo":
        note("photo knows scenes like Flickr8k's (people, dogs, sports outdoors) and is often wrong elsewhere: "
             "caption-det info photo")  # fmt: skip

    def save(result: Prediction) -> None:
        result.save(out)
        if maps:
            save_jpeg(output_files(out, result.name, maps)[1], predictor.draw_words(result))

    outputs: Outputs[Prediction] = Outputs(
        save=None if as_json else save,
        files=lambda name: output_files(out, name, maps),
        sort_keys={"objects": lambda result: -len(result.labels)},
        row=lambda result: {"name": result.name, "caption": " | ".join(result.captions), "objects": len(result.labels)},
    )
    outcome = predict_images(predictor, files, options, outputs)
    if outcome.kept and not as_json:
        endings = "_boxes.jpg, _words.jpg" if maps else "_boxes.jpg"
        note(f"made {out}: {len(outcome.kept)} of {plural(len(files), 'image')} ({endings})")
    if outcome.failed or refused:
        raise typer.Exit(1)
