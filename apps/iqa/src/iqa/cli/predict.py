"""`iqa predict` and `iqa compare`: scores of any images. torch is imported inside, so that --help is instant."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from iqa.units import decimals, said_range
from polyscale.commands import gather_inputs, note, print_json, progress, table
from polyscale.commands.inputs import local_path
from polyscale.data.naming import plural
from polyscale.errors import UserError

if TYPE_CHECKING:
    from iqa.predict import Failure, Prediction, Predictor

LEAST_SIDE = 100  # pixels; models learn from larger images, so that what they say of smaller ones is a guess
MODEL_HELP = "Folder of a run or model, hub id owner/name, or a shipped name."
ModelOption = Annotated[str, typer.Option("--model", "-m", help=MODEL_HELP)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Precision = Annotated[str, typer.Option(help="fp32, bf16, fp16, or auto (bf16 where the processor computes in it).")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per forward pass.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]


def predict(
    inputs: Annotated[
        list[str], typer.Argument(help="Images, folders, globs, file:// URLs; - reads an image or a list of names.")
    ],
    model: ModelOption = "nano",
    csv: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write CSV with a header; - to stdout.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line an image.")] = False,
    sort: Annotated[Literal["none", "score", "name"], typer.Option(help="Order; score puts the worst first.")] = "none",
    below: Annotated[float | None, typer.Option(help="Only images with a lower score.")] = None,
    above: Annotated[float | None, typer.Option(help="Only images with a higher score.")] = None,
    maps: Annotated[bool, typer.Option("--map", help="Write NAME_quality.jpg: where the quality is lost.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the maps.")] = Path("predictions"),
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Search the folders' subfolders too.")] = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    batch_size: BatchSize = 8,
    workers: Annotated[int, typer.Option(min=0, help="Threads that decode images ahead.")] = 2,
) -> None:
    """Score images: a table, CSV or JSON lines; broken files are named and the others still scored."""
    if as_json and csv == "-":
        raise UserError("--json and --csv -: both want stdout; give --csv a file", exit_code=2)
    from iqa.predict import Predictor
    from iqa.predict_pair import ordered
    from polyscale.data.images import IMAGE_SUFFIXES

    refused: list[UserError] = []
    files = gather_inputs(inputs, IMAGE_SUFFIXES, recursive=recursive, refused=refused.append, noted=note)
    for error in refused:
        note(f"error: {error}")
        if as_json:
            print_json({"name": None, "file": None, "error": str(error)})
    if not files:
        raise typer.Exit(1)
    if csv not in (None, "-"):
        _refuse_inputs([Path(csv)], files)
        refuse_target(Path(csv))
    if maps:
        refuse_target(out / "map.jpg")
    predictor = Predictor(model, device, precision)
    _check_bounds(model, predictor.score_range, {"--below": below, "--above": above})
    note(f"{model}: {said_range(*predictor.score_range)}")
    stream = predictor.stream(files, batch_size=batch_size, workers=workers)
    kept, failures = _collected(stream, len(files), above, below, print_each=as_json and sort == "none")
    if sort != "none":
        kept = ordered(kept, sort)
        for entry in [one.to_dict() for one in kept] + [one.to_dict() for one in failures] if as_json else ():
            print_json(entry)
    _show(kept, csv, as_json, decimals(*predictor.score_range))
    scored = len(files) - len(failures)
    if len(kept) < scored:
        note(f"in the asked range: {len(kept)} of {plural(scored, 'image')} scored")
    small = sum(min(one.width, one.height) < LEAST_SIDE for one in kept)
    if small:
        note(f"{plural(small, 'image')} below {LEAST_SIDE} pixels a side: the spread is larger than it says")
    if maps:
        _write_maps(predictor, kept, out, files)
    if failures or refused:
        raise typer.Exit(1)


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="An image (a path or file:// URL).")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    model: ModelOption = "nano",
    device: Device = "auto",
    precision: Precision = "fp32",
    as_json: AsJson = False,
) -> None:
    """Score two images, and say whether their difference is larger than its spread."""
    from iqa.data.duplicates import are_alike
    from iqa.predict import Predictor
    from iqa.predict_pair import PairOfPictures

    paths = [local_path(first), local_path(second)]
    predictor = Predictor(model, device, precision)
    files = [Path(path) for path in paths]
    first_result, second_result = predictor(files)
    comparison = PairOfPictures(first_result, second_result, alike=are_alike(*files))
    if as_json:
        print_json(comparison.to_dict())
        return
    low, high = predictor.score_range
    note(f"{model}: {said_range(low, high)}")
    table([comparison.first.row(), comparison.second.row()], digits=decimals(low, high))
    typer.echo(comparison.verdict())
    if comparison.alike:
        note("they look like versions of one image: their errors are alike and their order surer than this spread says")


def _collected(
    results: "Iterable[Prediction | Failure]", total: int, above: float | None, below: float | None, print_each: bool
) -> "tuple[list[Prediction], list[Failure]]":
    """The predictions within the asked range, and the images that failed, each of which is named at once."""
    from iqa.predict import Failure

    kept, failures = [], []
    with progress("scoring", total=total) as bar:
        for result in results:
            bar.advance()
            if isinstance(result, Failure):
                failures.append(result)
                note(f"error: {result.error}")
            elif (above is None or result.score > above) and (below is None or result.score < below):
                kept.append(result)
            else:
                continue
            if print_each:
                print_json(result.to_dict())
    return kept, failures


def _show(kept: "Sequence[Prediction]", csv: str | None, as_json: bool, digits: int) -> None:
    from iqa.predict_pair import csv_text
    from polyscale.data.images import replace_file

    if csv is not None:
        content = csv_text(kept).encode("utf-8", "surrogateescape")  # a file's name may be no text at all
    if csv == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
    elif csv is not None:
        note(f"made {replace_file(csv, content)}: {plural(len(kept), 'image')}")
    elif kept and not as_json:
        table([result.row() for result in kept], digits=digits)


def _check_bounds(model: str, score_range: tuple[float, float], bounds: dict[str, float | None]) -> None:
    """Refuse a bound on another scale than the model's: it would keep everything, or nothing, without a word."""
    low, high = score_range
    below, above = bounds["--below"], bounds["--above"]
    if below is not None and above is not None and above >= below:
        wrong = f"--above {above:g} --below {below:g}: no score is both; --above is the lower end of what is kept"
        raise UserError(wrong, exit_code=2)
    for option, value in bounds.items():
        if value is not None and not low <= value <= high:
            raise UserError(f"{option} {value:g}: {model} scores from {low:g} to {high:g}", exit_code=2)


def _refuse_inputs(outputs: Iterable[Path], files: Iterable[Path | bytes]) -> None:
    taken = {file.resolve() for file in files if isinstance(file, Path)}
    for path in outputs:
        if path.resolve() in taken:
            raise UserError(f"{path}: is one of the inputs and would be overwritten; choose another place")


def refuse_target(path: Path) -> None:
    """Say before the work what could not be written after it."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file", exit_code=2)
    holder = next(folder for folder in path.absolute().parents if folder.exists())
    if not holder.is_dir():
        raise UserError(f"{path}: cannot be written: {holder} is a file, not a folder", exit_code=2)


def _write_maps(predictor: "Predictor", kept: Sequence["Prediction"], out: Path, files: Iterable[Path | bytes]) -> None:
    from iqa.predict_map import save_jpeg

    paths = [out / f"{result.name}_quality.jpg" for result in kept]
    _refuse_inputs(paths, files)
    with progress("drawing maps", total=len(kept)) as bar:
        for path, result in zip(paths, kept, strict=True):
            save_jpeg(path, predictor.draw_map(result.source))
            bar.advance()
    if kept:
        note(f"made {out}: {plural(len(kept), 'map')} (_quality.jpg)")
