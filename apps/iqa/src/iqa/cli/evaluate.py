"""`iqa eval`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iqa.cli.options import Exclude, Images, Layout, LowerBetter, Scale, SplitColumn
from iqa.config import Config, DataSettings
from polyscale.commands import note, print_json, table
from polyscale.commands.types import AsJson, BatchSize, Device, ModelArgument, Precision, ResultsOut, Workers
from polyscale.errors import UserError
from polyscale.settings import recorded_splits, resolve_for

if TYPE_CHECKING:
    from iqa.data import QualitySet

NO_NETWORK = 32  # side of the network's images until one is loaded

Data = Annotated[
    list[str] | None, typer.Option("--data", "-d", help="Folder or CSV of a data set, or synthetic; may be repeated.")
]


def evaluate(
    model: ModelArgument = "nano",
    data: Data = None,
    split: Annotated[str, typer.Option(help="train, val, test, or all (of data that the model never saw).")] = "test",
    layout: Layout = None,
    images: Images = None,
    scale: Scale = None,
    lower_better: LowerBetter = None,
    split_column: SplitColumn = None,
    exclude: Exclude = None,
    crops: Annotated[str, typer.Option(help="whole (one pass), or random, grid or centre crops.")] = "whole",
    crop_count: Annotated[int | None, typer.Option(min=1, help="Random or grid crops per image [default: 20].")] = None,
    crop_side: Annotated[int | None, typer.Option(min=1, help="Side of a crop in pixels [default: 224].")] = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
    out: ResultsOut = None,
    as_json: AsJson = False,
) -> None:
    """Score a model: SRCC, PLCC, KRCC and RMSE with 95 % intervals, per subset, next to trivial baselines.

    Uses the data set of the run MODEL by default, or the synthetic set if MODEL is not a run. Options that you do not
    give keep the run's values. Several --data give the table across data sets.
    """
    if len(data or []) > 1 and not (exclude is None and out is None):
        raise UserError("--exclude and --out: for one --data at a time", exit_code=2)
    from iqa.build import build_set
    from iqa.evaluation.assess import assess, write_report
    from iqa.evaluation.crops import Crops
    from iqa.evaluation.evaluate import cross_data
    from iqa.evaluation.exclude import read_exclusions
    from iqa.model import QualityNet
    from polyscale.commands.bodies import show_assessment
    from polyscale.commands.output import check_folder
    from polyscale.evaluation import create_accelerator
    from polyscale.inference import resolve_precision

    if crop_count is not None and crops not in ("random", "grid"):
        raise UserError("--crop-count: goes with --crops random or grid", exit_code=2)
    if crop_side is not None and crops == "whole":
        raise UserError("--crop-side: goes with --crops random, grid or centre", exit_code=2)
    parts = Crops(crops, crop_count or Crops.count, crop_side or Crops.side)  # type: ignore[arg-type]
    if out is not None:
        check_folder(out)
    accelerator = create_accelerator(device)
    resolve_precision(precision, accelerator.device)
    given = {"layout": layout, "images": images, "scale": scale, "lower_better": lower_better}
    given["split_column"] = split_column
    paths: list[str | None] = [*data] if data else [None]
    settings = [resolve_for(Config, model, {"path": path, **given}).data for path in paths]
    records = [recorded_splits(Config, model, {"path": path, **given}) for path in paths]
    sets = [build_set(one, split, NO_NETWORK, recorded=record) for one, record in zip(settings, records, strict=True)]
    if exclude is not None:
        read_exclusions(exclude, sets[0].names)
    train = None if len(sets) > 1 else _train_split(settings[0], records[0])
    network = QualityNet.from_pretrained(model).to(accelerator.device)  # after what is cheap to refuse
    for dataset in sets:
        dataset.size = network.input_size
    options: dict[str, Any] = {"accelerator": accelerator, "batch_size": batch_size, "precision": precision}
    options["workers"] = workers
    if len(sets) > 1:
        rows = cross_data(network, {dataset.title: dataset for dataset in sets}, crops=parts, **options)
        _show_across(sets, rows, as_json)
        return
    result = assess(network, sets[0], weights=model, train=train, exclude=exclude, crops=parts, **options)
    if accelerator.is_main_process:
        show_assessment(result, out, lambda folder: write_report(result, folder, sets[0]), as_json=as_json, digits=3)


def _train_split(settings: DataSettings, recorded: Path | None) -> "QualitySet | None":
    """What the trivial baselines learn from, its scores alone; a data set for testing alone has none."""
    from iqa.build import build_set

    try:
        return build_set(settings, "train", NO_NETWORK, recorded=recorded)
    except UserError as error:
        note(f"no trivial baselines: {error}")
        return None


def _show_across(sets: "list[QualitySet]", rows: list[dict[str, Any]], as_json: bool) -> None:
    for dataset in sets:
        for line in dataset.notes:
            note(f"{dataset.title}: {line}")
    if as_json:
        print_json(rows)
    else:
        table(rows, title="across data sets", digits=3)
