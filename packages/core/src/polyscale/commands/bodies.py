"""Bodies that the commands of all applications share: what train and eval print, and how predict runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import typer

from polyscale.commands.inputs import gather_inputs
from polyscale.commands.output import check_targets, csv_writer, print_json, table
from polyscale.data.naming import natural_key, plural, unique_names
from polyscale.errors import UserError
from polyscale.inference.predictor import Failure
from polyscale.terminal import note, progress

if TYPE_CHECKING:
    from polyscale.evaluation.assessment import Assessment
    from polyscale.inference.predictor import Predictor
    from polyscale.training import Run


class Result(Protocol):
    """What a predictor gives for one image."""

    @property
    def name(self) -> str:
        """Unique within its stream."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Flat, for JSON and CSV."""
        ...


R = TypeVar("R", bound=Result)


def finish_training(
    application: str,
    run: Run,
    result: Assessment[Any],
    draw: Callable[[], Path],
    *,
    as_json: bool,
    digits: int = 4,
    inputs: str = "IMAGES",
) -> None:
    """End of `train` in the main process: write the numbers, print them, then draw the report.

    Args:
        application: the command's name.
        run: the finished run.
        result: of its best model on the test split.
        draw: writes the report and returns its path; called last, so that nothing is lost where it fails.
        as_json: print JSON instead of the table.
        digits: decimals of the table.
        inputs: what `predict` takes.
    """
    if not run.is_main:
        return
    result.write(run.out)
    best = run.progress.best_epoch + 1
    if as_json:
        print_json({**result.to_dict(), "run": run.out, "best_epoch": best})
    else:
        chosen = f"epoch {best} of {run.config.epochs}, chosen on val"
        _print_tables(result, f"{result.heading}, {chosen}", digits)
    draw()
    note(f"made {run.out}: best/ (weights), metrics.json, {result.unit}s.csv, report.html (open it in a browser)")
    note(f"next: {application} predict {inputs} --model {run.out}")
    note(f"      {application} train --data.path FOLDER    on your own data")


def show_assessment(
    result: Assessment[Any], out: Path | None, draw: Callable[[Path], Path], *, as_json: bool, digits: int = 4
) -> None:
    """End of `eval` in the main process: print the numbers and, where `out` is given, write them and the report."""
    if as_json:
        print_json(result.to_dict())
    else:
        _print_tables(result, result.heading, digits)
    if out is not None:
        result.write(out)
        note(f"made {draw(out)}, metrics.json, {result.unit}s.csv")


def _print_tables(result: Assessment[Any], title: str, digits: int) -> None:
    table(result.rows(), title=title, digits=digits)
    if result.subset_rows():
        table(result.subset_rows(), title="by subset", digits=digits)
    for line in result.notes:
        note(line)
    note(result.verdict())


@dataclass(frozen=True)
class PredictOptions:
    """Options of `predict` that all applications share (see commands.types)."""

    csv: str | None = None
    as_json: bool = False
    sort: str = "none"
    limit: int | None = None
    batch_size: int = 8
    workers: int = 2
    recursive: bool = False


@dataclass(frozen=True)
class Outputs(Generic[R]):
    """What an application makes of results.

    Attributes:
        save: writes the files of one result, or None.
        files: the paths that `save` writes for a result of this name.
        keep: whether a result counts; the others are left out everywhere.
        sort_keys: for --sort, beside "name".
        row: the columns of the table; None prints no table.
        digits: decimals of the table.
    """

    save: Callable[[R], object] | None = None
    files: Callable[[str], Iterable[Path]] = field(default=lambda _: ())
    keep: Callable[[R], bool] = field(default=lambda _: True)
    sort_keys: Mapping[str, Callable[[R], Any]] = field(default_factory=dict)
    row: Callable[[R], dict[str, Any]] | None = None
    digits: int = 4


class Kept(NamedTuple):
    """What is left of a result once its files are written: a result may hold a whole image."""

    fields: dict[str, Any]  # its to_dict
    row: dict[str, Any] | None
    key: Any  # for --sort


@dataclass
class Outcome:
    """What came of a `predict`: what was kept, in order, and how many images failed, do not count, or could."""

    kept: list[Kept] = field(default_factory=list)
    failed: int = 0
    left_out: int = 0  # by Outputs.keep
    counted: int = 0  # what it kept; --limit may keep fewer


def output_folder(out: Path | None, *, as_json: bool, asked: bool = False) -> Path | None:
    """Return where `predict` writes: `out` or predictions; None with --json where no option `asked` for files."""
    return out or (None if as_json and not asked else Path("predictions"))


def list_inputs(inputs: Sequence[str], options: PredictOptions, other: Sequence[str] = ()) -> tuple[list[Any], bool]:
    """Return the images that `inputs` mean, and whether some were refused (named on stderr, as JSON lines too).

    Args:
        inputs: what the user typed.
        options: those of `predict`.
        other: suffixes of files that folders and globs give next to images.

    Raises:
        UserError: options that exclude each other.
    """
    if options.as_json and options.csv == "-":
        raise UserError("--json and --csv -: both write to stdout; give --csv a file", exit_code=2)
    from polyscale.data.images import IMAGE_SUFFIXES

    refused: list[UserError] = []
    suffixes = (*IMAGE_SUFFIXES, *other)
    files = gather_inputs(inputs, suffixes, recursive=options.recursive, refused=refused.append, noted=note)
    for error in refused:
        note(f"error: {error}")
        if options.as_json:
            print_json({"name": None, "file": None, "error": str(error)})
    if not files:
        raise typer.Exit(1)
    return files, bool(refused)


def check_outputs(
    files: Sequence[Any], options: PredictOptions, written: Callable[[str], Iterable[Path]] | None = None
) -> None:
    """Refuse what could not be written, before a model is loaded.

    Args:
        files: the inputs.
        options: those of `predict`.
        written: the files that are written for an image of this name; None where there are none.

    Raises:
        UserError: an output that would overwrite an input, or cannot be written.
    """
    names = unique_names([file if isinstance(file, Path) else None for file in files])
    targets = [path for name in names for path in written(name)] if written else []
    check_targets([*targets, *([Path(options.csv)] if options.csv not in (None, "-") else [])], files)


def predict_images(
    predictor: Predictor[Any, R], files: Sequence[Any], options: PredictOptions, outputs: Outputs[R]
) -> Outcome:
    """Predict `files`: results come out as soon as they are there, and one bad image or full disk does not end it.

    What could not be written is refused before the first image is read. Files are written of the results that count
    only: with --sort and --limit at the end, as it is known only then which those are. After an interrupt the table
    shows what was done until then.

    Raises:
        UserError: an output that would overwrite an input, or cannot be written.
    """
    check_outputs(files, options, outputs.files if outputs.save else None)
    outcome = Outcome()
    sort_key = outputs.sort_keys.get(options.sort, lambda result: natural_key(result.name))
    first: list[R] = []  # with --sort and --limit: the results that would be kept if no other came
    try:
        with _writer(options) as emit, progress("predicting", total=len(files)) as bar:
            for result in predictor.stream(files, batch_size=options.batch_size, workers=options.workers):
                bar.advance()
                if isinstance(result, Failure):
                    _name_failure(result, outcome, options)
                    continue
                if not outputs.keep(result):
                    outcome.left_out += 1
                    continue
                outcome.counted += 1
                if options.sort != "none" and options.limit is not None:
                    first = sorted([*first, result], key=sort_key)[: options.limit]
                elif _accept(result, outcome, outputs, options, sort_key) and options.sort == "none":
                    emit(outcome.kept[-1].fields)
                    if len(outcome.kept) == options.limit:
                        break
            for result in first:
                _accept(result, outcome, outputs, options, sort_key)
            if options.sort != "none":
                outcome.kept.sort(key=lambda kept: kept.key)
                for kept in outcome.kept:
                    emit(kept.fields)
    finally:
        rows = [kept.row for kept in outcome.kept if kept.row is not None]
        if rows and not options.as_json and options.csv is None:
            table(rows, digits=outputs.digits)
    note_csv(options, len(outcome.kept), "image")
    return outcome


def note_csv(options: PredictOptions, rows: int, unit: str) -> None:
    """Say that --csv FILE was written, and how many rows of which kind it has."""
    if options.csv not in (None, "-"):
        note(f"made {options.csv}: {plural(rows, unit)}")


def _accept(
    result: R, outcome: Outcome, outputs: Outputs[R], options: PredictOptions, sort_key: Callable[[R], Any]
) -> bool:
    """Write the files of a result that counts and note what it says; a failure to write is named."""
    try:
        if outputs.save is not None:
            outputs.save(result)
    except UserError as error:
        _name_failure(Failure(result.name, str(error)), outcome, options)
        return False
    row = None if outputs.row is None else outputs.row(result)
    outcome.kept.append(Kept(result.to_dict(), row, sort_key(result)))
    return True


def _name_failure(failure: Failure, outcome: Outcome, options: PredictOptions) -> None:
    outcome.failed += 1
    note(f"error: {failure.error}")
    if options.as_json:
        print_json(failure.to_dict())


@contextlib.contextmanager
def _writer(options: PredictOptions) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give what writes one result as a JSON line or CSV row, at once, so that an interrupt loses nothing."""
    with contextlib.ExitStack() as stack:
        write = None if options.csv is None else stack.enter_context(csv_writer(options.csv))

        def emit(fields: dict[str, Any]) -> None:
            if options.as_json:
                print_json(fields)
            if write is not None:
                write(fields)

        yield emit
