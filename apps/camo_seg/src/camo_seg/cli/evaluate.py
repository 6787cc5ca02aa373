"""`camo-seg eval`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from camo_seg.cli.options import CamOnly, Layout, MaskRule, Masks, TestSet, TtaFlip, TtaScales
from camo_seg.config import Config
from polyscale.commands import note
from polyscale.commands.types import (
    AsJson,
    BatchSize,
    DataOption,
    Device,
    ModelArgument,
    Precision,
    ResultsOut,
    Split,
    Workers,
)
from polyscale.data.naming import plural
from polyscale.errors import UserError
from polyscale.settings import recorded_splits, resolve_for

if TYPE_CHECKING:
    from camo_seg.data import CamoSet

NO_NETWORK = 32  # side of the network's images until one is loaded, or where none sees them


def evaluate(
    model: ModelArgument = "nano",
    data: DataOption = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Score this folder of maps, made by any model, instead of MODEL.")
    ] = None,
    split: Split = "test",
    layout: Layout = None,
    masks: Masks = None,
    test_set: TestSet = None,
    cam_only: CamOnly = None,
    mask_rule: MaskRule = None,
    tta_flip: TtaFlip = False,
    tta_scales: TtaScales = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
    baselines: Annotated[bool, typer.Option(help="Score the trivial baselines too.")] = True,
    out: ResultsOut = None,
    as_json: AsJson = False,
) -> None:
    """Score a model, or a folder of maps, by the field's protocol, with maps brought to the masks' own sizes.

    Uses the data set of the run MODEL by default, or the synthetic set if MODEL is not a run. Options that you do not
    give keep the run's values; with --data they are those of camo-seg train. A data set of several test sets (the
    standard bundle, or a YAML file that names sets) gets a row for each.
    """
    from camo_seg.build import build_set
    from camo_seg.evaluation.assess import assess, maps_of, write_report
    from camo_seg.model import CamoSegmenter
    from camo_seg.tta import read_tta
    from polyscale.commands import check_folder
    from polyscale.commands.bodies import show_assessment
    from polyscale.evaluation import create_accelerator
    from polyscale.inference import resolve_precision

    tta = read_tta(tta_flip, tta_scales)
    if out is not None:
        check_folder(out)
    given = {
        "path": data,
        "layout": layout,
        "masks": masks,
        "test_set": test_set,
        "cam_only": cam_only,
        "mask_rule": mask_rule,
    }
    if predictions is not None:
        if data is None or model != "nano":
            raise UserError("--predictions: give --data and no MODEL with it", exit_code=2)
        if tta is not None:
            raise UserError(
                "--predictions: its maps are scored as they are; leave --tta-flip and --tta-scales out", exit_code=2
            )
        if (device, precision, batch_size, workers) != ("auto", "fp32", 8, 2):
            raise UserError(
                "--predictions: no network runs; leave --device, --precision, --batch-size and --workers out",
                exit_code=2,
            )
        dataset = build_set(resolve_for(Config, None, given).data, split, NO_NETWORK)
        _score_folder(predictions, dataset, baselines, out, as_json)
        return
    accelerator = create_accelerator(device)
    resolve_precision(precision, accelerator.device)
    recorded = recorded_splits(Config, model, given)
    dataset = build_set(resolve_for(Config, model, given).data, split, NO_NETWORK, recorded=recorded)
    network = CamoSegmenter.from_pretrained(model).to(accelerator.device)  # after what is cheap to refuse
    dataset.size = network.input_size
    result = assess(
        network,
        dataset,
        weights=model,
        accelerator=accelerator,
        baselines=baselines,
        batch_size=batch_size,
        precision=precision,
        workers=workers,
        tta=tta,
    )
    if accelerator.is_main_process:
        maps = maps_of(network, dataset, tta)
        show_assessment(result, out, lambda folder: write_report(result, folder, maps, dataset), as_json=as_json)


def _score_folder(predictions: Path, dataset: "CamoSet", baselines: bool, out: Path | None, as_json: bool) -> None:
    from camo_seg.evaluation.assess import assess_maps, write_report
    from camo_seg.evaluation.maps import match_maps, read_map, read_maps
    from polyscale.commands.bodies import show_assessment

    paths, extra = match_maps(predictions, dataset.names)
    note_extra(predictions, extra)
    result = assess_maps(read_maps(paths), dataset, predictions, baselines=baselines)
    show_assessment(
        result,
        out,
        lambda folder: write_report(result, folder, lambda index: read_map(paths[index]), dataset),
        as_json=as_json,
    )


def note_extra(folder: str | Path, extra: Sequence[str]) -> None:
    """Name the maps that belong to no image."""
    from camo_seg.evaluation.maps import listed

    if extra:
        note(f"{folder}: {plural(len(extra), 'file')} without an image in the data set left out: {listed(extra)}")
