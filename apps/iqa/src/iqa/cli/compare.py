"""`iqa compare`."""

from typing import Annotated

import typer

from polyscale.commands import note, print_json, table
from polyscale.commands.types import AsJson, Device, ModelOption, Precision
from polyscale.errors import UserError


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="An image (a path or file:// URL).")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another image.")],
    model: ModelOption = "nano",
    device: Device = "auto",
    precision: Precision = "fp32",
    as_json: AsJson = False,
) -> None:
    """Score two images, and tell whether their difference is larger than its spread."""
    from iqa.data.duplicates import are_alike
    from iqa.predict import Predictor
    from iqa.predict_pair import ImagePair
    from polyscale.commands.bodies import PredictOptions, list_inputs

    files = [file for path in (first, second) for file in list_inputs([path], PredictOptions())[0]]
    if len(files) != 2:
        raise UserError(f"compare takes two images; {first} and {second} are {len(files)}", exit_code=2)
    predictor = Predictor(model, device, precision)
    first_result, second_result = predictor(files)
    pair = ImagePair(first_result, second_result, are_alike(*files))
    if as_json:
        print_json(pair.to_dict())
        return
    note(f"{model}: {predictor.score_range.describe()}")
    table([pair.first.row(), pair.second.row()], digits=predictor.score_range.decimals)
    typer.echo(pair.verdict())
    if pair.alike:
        note("They look like versions of one image; the comparison is more reliable than the spread suggests.")
