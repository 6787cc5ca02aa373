"""`caption-det predict`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from caption_det.cli.options import Beams
from caption_det.config import THRESHOLD
from polyscale.commands import note
from polyscale.commands.types import (
    SORT_HELP,
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
    out: PredictionsOut = None,
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
    seed: Annotated[int | None, typer.Option(min=0, help="Of the words that are drawn [default: 0].")] = None,
    csv: Csv = None,
    as_json: JsonLines = False,
    sort: Annotated[
        Literal["none", "name", "objects"], typer.Option(help=f"{SORT_HELP} Of objects the most.")
    ] = "none",
    limit: Limit = None,
    recursive: Recursive = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    runtime: Runtime = "auto",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Print a caption for each image and write the image with its boxes, or print JSON lines."""
    from caption_det.describer import Decoding
    from caption_det.predict import Prediction, Predictor, output_files, save_jpeg
    from polyscale.commands.bodies import (
        Outputs,
        PredictOptions,
        check_outputs,
        list_inputs,
        output_folder,
        predict_images,
    )

    drawn = temperature is not None or top_p is not None
    if drawn and beams is not None:
        raise UserError("--beams: words that are drawn (--temperature, --top-p) are not searched; leave one of them "
                        "away", exit_code=2)  # fmt: skip
    if beams is not None and beams < captions and not drawn:
        raise UserError(f"--beams {beams}: a search for {captions} captions needs {captions} or more", exit_code=2)
    if seed is not None and not drawn:
        raise UserError("--seed: no words are drawn without --temperature or --top-p", exit_code=2)
    options = PredictOptions(csv, as_json, sort, limit, batch_size, workers, recursive)
    files, refused = list_inputs(inputs, options)
    folder = output_folder(out, as_json=as_json, asked=maps)

    def written(name: str) -> list[Path]:
        return [] if folder is None else output_files(folder, name, maps)

    check_outputs(files, options, written)
    decoding = Decoding(captions, beams, temperature, top_p)
    predictor = Predictor(model, device, precision, decoding, threshold, runtime)
    if drawn:
        import torch

        torch.manual_seed(seed or 0)
    if maps and not predictor.describer.speaks:
        raise UserError(f"--map: {model} writes no captions, so that no word has a place", exit_code=2)
    if maps and not hasattr(predictor.describer, "map_words"):
        raise UserError(f"--map: {model} is exported and does not say where it looks; take the model that it was made "
                        "from", exit_code=2)  # fmt: skip
    if model == "photo":
        note("photo knows scenes like Flickr8k's (people, dogs, sports outdoors) and is often wrong elsewhere: "
             "caption-det info photo")  # fmt: skip

    def save(result: Prediction) -> None:
        assert folder is not None
        result.save(folder)
        if maps:
            save_jpeg(output_files(folder, result.name, maps)[1], predictor.draw_words(result))

    outputs: Outputs[Prediction] = Outputs(
        save=None if folder is None else save,
        files=written,
        sort_keys={"objects": lambda result: -len(result.labels)},
        row=lambda result: {"name": result.name, "caption": " | ".join(result.captions), "objects": len(result.labels)},
    )
    outcome = predict_images(predictor, files, options, outputs)
    if outcome.kept and folder is not None:
        endings = "_boxes.jpg, _words.jpg" if maps else "_boxes.jpg"
        note(f"made {folder}: {len(outcome.kept)} of {plural(len(files), 'image')} ({endings})")
    if outcome.failed or refused:
        raise typer.Exit(1)
