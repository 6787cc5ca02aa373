"""Bodies that the commands of all applications share: what train and eval print, and how predict runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import typer

from polyscale.commands.inputs import gather_inputs
from polyscale.commands.output import check_targets, csv_writer, note, print_json, progress, table
from polyscale.data.naming import natural_key, plural, unique_names
from polyscale.errors import UserError
from polyscale.inference.predictor import Failure

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
) -> None:
    """End of `train` in the main process: write the numbers, print them, then draw the report.

    Args:
        application: the command's name.
        run: the finished run.
        result: of its best model on the test split.
        draw: writes the report and returns its path; called last, so that nothing is lost where it fails.
        as_json: print JSON instead of the table.
        digits: decimals of the table.
    """
    if not run.is_main:
        return
    result.write(run.out)
    best = run.progress.best_epoch + 1
    if as_json:
        print_json({**result.to_dict(), "run": run.out, "best_epoch": best})
    else:
        count = plural(len(result.scores.names), "image")
        chosen = f"epoch {best} of {run.config.epochs}, chosen on val"
        _print_tables(result, f"{result.title}, {count}, {chosen}", digits)
    draw()
    note(f"made {run.out}: best/ (weights), metrics.json, images.csv, report.html (open it in a browser)")
    note(f"next: {application} predict IMAGES --model {run.out}")
    note(f"      {application} train --data.path FOLDER    on your own data")


def show_assessment(
    result: Assessment[Any], out: Path | None, draw: Callable[[Path], Path], *, as_json: bool, digits: int = 4
) -> None:
    """End of `eval` in the main process: print the numbers and, where `out` is given, write them and the report."""
    if as_json:
        print_json(result.to_dict())
    else:
        _print_tables(result, f"{result.title}, {plural(len(result.scores.names), 'image')}", digits)
    if out is not None:
        result.write(out)
        note(f"made {draw(out)}, metrics.json, images.csv")


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


@dataclass
class Outcome(Generic[R]):
    """What came of a `predict`: kept results in order, and how many images were tried and failed."""

    kept: list[R] = field(default_factory=list)
    tried: int = 0
    failed: int = 0


def list_inputs(inputs: Sequence[str], options: PredictOptions) -> tuple[list[Any], bool]:
    """Return the images that `inputs` mean, and whether some were refused (named on stderr, as JSON lines too).

    Raises:
        UserError: options that exclude each other.
    """
    if options.as_json and options.csv == "-":
        raise UserError("--json and --csv -: both write to stdout; give --csv a file", exit_code=2)
    from polyscale.data.images import IMAGE_SUFFIXES

    refused: list[UserError] = []
    files = gather_inputs(inputs, IMAGE_SUFFIXES, recursive=options.recursive, refused=refused.append, noted=note)
    for error in refused:
        note(f"error: {error}")
        if options.as_json:
            print_json({"name": None, "file": None, "error": str(error)})
    if not files:
        raise typer.Exit(1)
    return files, bool(refused)


def predict_images(
    predictor: Predictor[Any, R], files: Sequence[Any], options: PredictOptions, outputs: Outputs[R]
) -> Outcome[R]:
    """Predict `files`: results come out as soon as they are there, and one bad image or full disk does not end it.

    What could not be written is refused before the first image is read. After an interrupt the table shows what was
    done until then.

    Raises:
        UserError: an output that would overwrite an input, or cannot be written.
    """
    names = unique_names([file if isinstance(file, Path) else None for file in files])
    targets = [path for name in names for path in outputs.files(name)] if outputs.save else []
    check_targets([*targets, *([Path(options.csv)] if options.csv not in (None, "-") else [])], files)
    outcome: Outcome[R] = Outcome()
    try:
        with _writer(options) as emit, progress("predicting", total=len(files)) as bar:
            for result in predictor.stream(files, batch_size=options.batch_size, workers=options.workers):
                bar.advance()
                outcome.tried += 1
                if not _accept(result, outcome, outputs, options):
                    continue
                if options.sort == "none":
                    emit(result)
                    if len(outcome.kept) == options.limit:
                        break
            if options.sort != "none":
                key = outputs.sort_keys.get(options.sort, lambda result: natural_key(result.name))
                outcome.kept = sorted(outcome.kept, key=key)[: options.limit]
                for result in outcome.kept:
                    emit(result)
    finally:
        if outputs.row is not None and outcome.kept and not options.as_json and options.csv is None:
            table([outputs.row(result) for result in outcome.kept], digits=outputs.digits)
    return outcome


def _accept(result: R | Failure, outcome: Outcome[R], outputs: Outputs[R], options: PredictOptions) -> bool:
    """Keep a result that counts and write its files; name a failure."""
    failure = result if isinstance(result, Failure) else None
    if not isinstance(result, Failure):
        if not outputs.keep(result):
            return False
        try:
            if outputs.save is not None:
                outputs.save(result)
        except UserError as error:
            failure = Failure(result.name, str(error))
        else:
            outcome.kept.append(result)
            return True
    assert failure is not None
    outcome.failed += 1
    note(f"error: {failure.error}")
    if options.as_json:
        print_json(failure.to_dict())
    return False


@contextlib.contextmanager
def _writer(options: PredictOptions) -> Iterator[Callable[[Result], None]]:
    """Give what writes one result as a JSON line or CSV row, at once, so that an interrupt loses nothing."""
    with contextlib.ExitStack() as stack:
        write = None if options.csv is None else stack.enter_context(csv_writer(options.csv))

        def emit(result: Result) -> None:
            if options.as_json:
                print_json(result.to_dict())
            if write is not None:
                write(result.to_dict())

        yield emit
