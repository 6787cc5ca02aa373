"""`iqa eval` and `iqa baseline`: how well scores follow people's. torch is imported inside, for an instant --help."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iqa.cli.data import Images, Layout, LowerBetter, Scale, SplitColumn, data_settings
from iqa.cli.predict import MODEL_HELP, AsJson, BatchSize, Precision
from iqa.config import Config, DataSettings
from polyscale.commands import note, print_json, progress, table
from polyscale.data.naming import plural
from polyscale.errors import UserError
from polyscale.settings import recorded_splits

if TYPE_CHECKING:
    from iqa.data import QualitySet
    from iqa.evaluation.assess import Assessment
    from iqa.evaluation.baselines import Baseline

Model = Annotated[str, typer.Argument(help=MODEL_HELP)]
Data = Annotated[list[str] | None, typer.Option("--data", "-d", help="Folder or CSV, or synthetic; may be repeated.")]
Split = Annotated[str, typer.Option(help="train, val, test, or all (of a data set that the model never saw).")]
Exclude = Annotated[
    Path | None, typer.Option(help="CSV (image_name, near_dup): metrics also without those near-duplicates of train.")
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder for metrics.json, scores.csv, report.html.")]


def evaluate(
    model: Model = "nano",
    data: Data = None,
    split: Split = "test",
    layout: Layout = None,
    images: Images = None,
    scale: Scale = None,
    lower_better: LowerBetter = None,
    split_column: SplitColumn = None,
    exclude: Exclude = None,
    crops: Annotated[str, typer.Option(help="whole (one pass), or random, grid or centre crops.")] = "whole",
    crop_count: Annotated[int, typer.Option(min=1, help="Random or grid crops per image.")] = 20,
    crop_side: Annotated[int, typer.Option(min=1, help="Their side in pixels.")] = 224,
    batch_size: BatchSize = 16,
    precision: Precision = "fp32",
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Score a model: SRCC, PLCC, KRCC and RMSE with 95 % intervals, per subset, beside what needs no network.

    Without --data it is scored on the data set that the run was trained on, else on the synthetic one. Several --data
    give the table across data sets.
    """
    if len(data or []) > 1 and not (exclude is None and out is None):
        raise UserError("--exclude and --out: for one --data at a time", exit_code=2)
    from accelerate import Accelerator

    from iqa.evaluation.assess import assess
    from iqa.evaluation.crops import Crops
    from iqa.model.network import QualityNet

    parts = Crops(crops, crop_count, crop_side)  # type: ignore[arg-type]
    accelerator = Accelerator()
    network = QualityNet.from_pretrained(model).to(accelerator.device)
    given = {"layout": layout, "images": images, "scale": scale, "lower_better": lower_better}
    given["split_column"] = split_column
    settings = [data_settings(model, path, given) for path in (data or [None])]  # type: ignore[list-item]
    paths: list[str | None] = [*data] if data else [None]
    records = [recorded_splits(Config, model, {**given, "path": path}) for path in paths]
    sets = [_opened(one, split, network.input_size, record) for one, record in zip(settings, records, strict=True)]
    options: dict[str, Any] = {"accelerator": accelerator, "batch_size": batch_size, "precision": precision}
    options["crops"] = parts
    if len(sets) > 1:
        _across(network, sets, options, as_json)
        return
    train = _train_split(settings[0], network.input_size, records[0])
    result = assess(network, sets[0], train=train, leave_out=exclude, **options)
    if accelerator.is_main_process:
        _show(result, sets[0], out, as_json)


def baseline(
    data: Annotated[str, typer.Option("--data", "-d", help="Folder or CSV file, or synthetic.")] = "synthetic",
    layout: Layout = None,
    images: Images = None,
    scale: Scale = None,
    lower_better: LowerBetter = None,
    split_column: SplitColumn = None,
    exclude: Exclude = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A model to show beside it.")] = None,
    size: Annotated[int, typer.Option(min=32, help="Larger images are first shrunk to this side squared.")] = 512,
    workers: Annotated[int, typer.Option(min=0, help="Threads that measure images.")] = 2,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Fit the hand-crafted floor (scene statistics, boosted trees and SVR) on train, and score it on test."""
    from iqa.evaluation.assess import assess
    from iqa.evaluation.baselines import fit_baseline, require_sklearn
    from iqa.model.network import QualityNet

    require_sklearn()
    if out is not None and model is None:
        raise UserError("--out: goes with --model, in whose report the baseline stands", exit_code=2)
    network = None if model is None else QualityNet.from_pretrained(model)
    given = {"layout": layout, "images": images, "scale": scale, "lower_better": lower_better}
    settings = data_settings(None, data, given | {"split_column": split_column})
    train, val, test = (_opened(settings, split, size) for split in ("train", "val", "test"))
    with progress("baseline") as bar:
        fitted = fit_baseline(
            train, val, workers=workers, progress=lambda what, done, total: bar.advance(0, f"{what} {done}/{total}")
        )
    note(f"chosen on val: {', '.join(f'{key} {value:.4g}' for key, value in fitted.chosen.items())}")
    if network is not None:
        _show(assess(network, test, train=train, baseline=fitted, leave_out=exclude), test, out, as_json)
        return
    _show_alone(fitted, test, exclude, as_json)


def _opened(settings: DataSettings, split: str, size: int, recorded: Path | None = None) -> "QualitySet":
    from iqa.build import build_set

    dataset = build_set(settings, split, size, recorded=recorded)
    for line in dataset.notes:
        note(f"{dataset.title}: {line}")
    return dataset


def _train_split(settings: DataSettings, size: int, recorded: Path | None = None) -> "QualitySet | None":
    """What the trivial baselines learn from; a set that is for testing alone has none, and the table none of them."""
    from iqa.build import build_set

    try:
        return build_set(settings, "train", size, recorded=recorded)
    except UserError as error:
        note(f"no trivial baselines: {error}")
        return None


def _show(result: "Assessment", dataset: "QualitySet", out: Path | None, as_json: bool) -> None:
    from iqa.evaluation.assess import write_report, write_results

    if out is not None:
        write_results(result, out)
        note(f"made {write_report(result, out, dataset)}, metrics.json, scores.csv")
    if as_json:
        print_json(result.to_dict())
        return
    table(result.rows(), title=f"{result.title}, {plural(len(dataset), 'image')}", digits=3)
    if result.subset_rows():
        table(result.subset_rows(), title="by subset", digits=3)
    for line in result.notes:
        if line not in dataset.notes:  # those are said when it is opened
            note(line)
    note(result.verdict())


def _across(network: Any, sets: "list[QualitySet]", options: dict[str, Any], as_json: bool) -> None:
    from iqa.evaluation.evaluate import cross_data

    rows = cross_data(network, {dataset.title: dataset for dataset in sets}, **options)
    if as_json:
        print_json(rows)
    else:
        table(rows, title="across data sets", digits=3)


def _show_alone(fitted: "Baseline", test: "QualitySet", exclude: Path | None, as_json: bool) -> None:
    """The baseline's table where no model stands beside it."""
    from iqa.evaluation.assess import CRAFTED, clean_pictures
    from iqa.evaluation.comparison import compare
    from iqa.evaluation.scores import scored

    with progress("scoring", total=len(test)) as bar:
        predicted = fitted.predict(test, progress=lambda *_: bar.advance())
    scores = {CRAFTED: scored(predicted, test.scores, test.names, test.subsets)}
    parts = [compare(f"all {len(test)}", scores)]
    if exclude is not None:
        keep, notes = clean_pictures(exclude, test.names)
        parts.append(compare(f"clean {keep.sum()}", {name: s.only(keep) for name, s in scores.items()}))
        for line in notes:
            note(line)
    if as_json:
        print_json({"data": test.title, "chosen": fitted.chosen, **{part.title: part.to_dict() for part in parts}})
        return
    for part in parts:
        table(part.rows(), title=f"{test.title}, {part.title}", digits=3)
        if part.subsets:
            table(part.subset_rows(), title="by subset", digits=3)
