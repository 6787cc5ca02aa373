"""`camo-seg compare`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camo_seg.cli.evaluate import NO_NETWORK, note_extra
from camo_seg.cli.options import CamOnly, Layout, MaskRule, Masks, TestSet
from camo_seg.config import Config
from polyscale.commands import note, print_json, table
from polyscale.commands.types import AsJson, BatchSize, DataOption, Device, Precision, Split, Workers
from polyscale.errors import UserError
from polyscale.settings import resolve_for

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from camo_seg.config import DataSettings
    from camo_seg.evaluation.compare import Contest
    from camo_seg.evaluation.evaluate import ProbabilityMap, Scores


def compare(
    models: Annotated[
        list[str], typer.Argument(help="Two or more: runs, models, shipped names, or folders of maps by any model.")
    ],
    data: DataOption = None,
    split: Split = "test",
    layout: Layout = None,
    masks: Masks = None,
    test_set: TestSet = None,
    cam_only: CamOnly = None,
    mask_rule: MaskRule = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for comparison.html and the tables.")] = Path(
        "comparison"
    ),
    as_json: AsJson = False,
) -> None:
    """Compare models, or folders of maps, on one data set: a page with the images on which they differ most."""
    from polyscale.commands import check_folder
    from polyscale.inference import resolve_precision
    from polyscale.inference.precision import resolve_device

    if len(models) < 2 or len({Path(model).name for model in models}) < len(models):
        raise UserError("compare: needs two or more models or folders of different names", exit_code=2)
    check_folder(out)
    place = resolve_device(device)
    resolve_precision(precision, place)
    given = {"path": data, "layout": layout, "masks": masks, "cam_only": cam_only, "mask_rule": mask_rule}
    settings = resolve_for(Config, None, {**given, "test_set": test_set}).data
    how = {"batch_size": batch_size, "precision": precision, "workers": workers}
    contest = _score_all(models, settings, split, place, how)
    page = contest.write(out)
    if as_json:
        print_json(contest.to_dict())
    else:
        table(contest.rows(), title=f"{contest.dataset.title}, {len(contest.dataset)} images")
        if contest.differences():
            table(contest.differences(), title="differences")
    note(f"made {page}, table.csv, table.tex")


def _score_all(
    models: list[str], data: "DataSettings", split: str, device: "torch.device", how: dict[str, Any]
) -> "Contest":
    from camo_seg.build import build_set
    from camo_seg.evaluation.assess import maps_of
    from camo_seg.evaluation.compare import Contest
    from camo_seg.evaluation.evaluate import evaluate, score_maps
    from camo_seg.evaluation.maps import match_maps, read_maps
    from camo_seg.model import CamoSegmenter
    from polyscale.commands import progress

    scores: dict[str, Scores] = {}
    maps: dict[str, Callable[[int], ProbabilityMap]] = {}
    dataset = build_set(data, split, NO_NETWORK)
    found: dict[str, list[Path] | CamoSegmenter] = {}
    for model in models:  # all are opened before the first is scored, which may take long
        if _holds_maps(Path(model)):
            found[Path(model).name], extra = match_maps(model, dataset.names)
            note_extra(model, extra)
        else:
            found[Path(model).name] = CamoSegmenter.from_pretrained(model).to(device)
    for name, network in found.items():
        with progress(name, total=len(dataset), transient=True) as bar:
            if isinstance(network, list):
                scores[name] = score_maps(read_maps(network), dataset)
                maps[name] = partial(_map_of, network)
            else:
                seen = build_set(data, split, network.input_size)
                scores[name] = evaluate(network, seen, progress=bar.reach, **how)
                maps[name] = maps_of(network, seen)
    return Contest(dataset, scores, maps)


def _map_of(paths: list[Path], index: int) -> "ProbabilityMap":
    from camo_seg.evaluation.maps import read_map

    return read_map(paths[index])


def _holds_maps(folder: Path) -> bool:
    """Whether this is a folder, but not that of a model or a run."""
    return folder.is_dir() and not any((folder / name).exists() for name in ("config.json", "config.yaml", "best"))
