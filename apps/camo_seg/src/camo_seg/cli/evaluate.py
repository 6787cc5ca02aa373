"""`camo-seg eval`."""

from typing import Annotated

import typer

from camo_seg.cli.options import CamOnly, Layout, MaskRule, Masks, TestSet
from camo_seg.config import Config
from polyscale.commands.types import AsJson, BatchSize, DataOption, ModelArgument, Precision, ResultsOut, Split
from polyscale.settings import recorded_splits, resolve_for


def evaluate(
    model: ModelArgument = "nano",
    data: DataOption = None,
    split: Split = "test",
    layout: Layout = None,
    masks: Masks = None,
    test_set: TestSet = None,
    cam_only: CamOnly = None,
    mask_rule: MaskRule = None,
    batch_size: BatchSize = 8,
    precision: Precision = "auto",
    baselines: Annotated[bool, typer.Option(help="Score the trivial baselines too.")] = True,
    out: ResultsOut = None,
    as_json: AsJson = False,
) -> None:
    """Score a model by the field's protocol, with maps brought to the masks' own sizes.

    Uses the data set of the run MODEL by default, or the synthetic set if MODEL is not a run. Options that you do not
    give keep the run's values; with --data they are those of camo-seg train.
    """
    from accelerate import Accelerator

    from camo_seg.build import build_set
    from camo_seg.evaluation.assess import assess, write_report
    from camo_seg.model import CamoSegmenter
    from polyscale.commands import check_folder
    from polyscale.commands.bodies import show_assessment

    if out is not None:
        check_folder(out)
    accelerator = Accelerator()
    network = CamoSegmenter.from_pretrained(model).to(accelerator.device)
    given = {
        "path": data,
        "layout": layout,
        "masks": masks,
        "test_set": test_set,
        "cam_only": cam_only,
        "mask_rule": mask_rule,
    }
    recorded = recorded_splits(Config, model, given)
    dataset = build_set(resolve_for(Config, model, given).data, split, network.input_size, recorded=recorded)
    result = assess(
        network,
        dataset,
        weights=model,
        accelerator=accelerator,
        baselines=baselines,
        batch_size=batch_size,
        precision=precision,
    )
    if accelerator.is_main_process:
        show_assessment(result, out, lambda folder: write_report(result, folder, network, dataset), as_json=as_json)
