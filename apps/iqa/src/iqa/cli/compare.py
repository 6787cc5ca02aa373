"""`iqa compare`."""

from typing import Annotated

import typer

from polyscale.commands import note, print_json, table
from polyscale.commands.types import AsJson, Device, ModelOption, Precision, Runtime
from polyscale.errors import UserError


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="An image (a path or file:// URL).")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another image.")],
    model: ModelOption = "nano",
    device: Device = "auto",
    precision: Precision = "fp32",
    runtime: Runtime = "auto",
    as_json: AsJson = False,
) -> None:
    """Score two images, and tell whether their difference means anything.

    Two images are told apart by the model's spread, two versions of one by what invisible edits do to their scores.
    """
    from iqa.predict import Predictor
    from iqa.predict_pair import compare_images
    from polyscale.commands.bodies import PredictOptions, list_inputs

    files = [file for path in (first, second) for file in list_inputs([path], PredictOptions())[0]]
    if len(files) != 2:
        raise UserError(f"compare takes two images; {first} and {second} are {len(files)}", exit_code=2)
    predictor = Predictor(model, device, precision, runtime)
    pair = compare_images(predictor, *files)
    if as_json:
        print_json(pair.to_dict())
        return
    note(f"{model}: {predictor.score_range.describe()}")
    table([pair.first.row(), pair.second.row()], digits=predictor.score_range.decimals)
    typer.echo(pair.verdict())
    if pair.moved is not None:
        note("They look like versions of one image, so the model's spread says nothing about their difference.")
