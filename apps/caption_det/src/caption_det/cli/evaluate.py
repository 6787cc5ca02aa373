"""`caption-det eval`."""

from typing import Annotated

import typer

from caption_det.cli.options import Beams, Images
from caption_det.config import Config
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
from polyscale.settings import recorded_splits, resolve_for


def evaluate(
    model: ModelArgument = "nano",
    data: DataOption = None,
    split: Split = "test",
    images: Images = None,
    beams: Beams = None,
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
    baselines: Annotated[bool, typer.Option(help="Score the trivial baselines too.")] = True,
    out: ResultsOut = None,
    as_json: AsJson = False,
) -> None:
    """Score a model: CIDEr, BLEU, ROUGE-L and average precision, by default on the data set of the run MODEL."""
    from caption_det.build import build_set, check_categories
    from caption_det.describer import Decoding
    from caption_det.evaluation.assess import assess, write_report
    from caption_det.model import load
    from polyscale.commands import check_folder
    from polyscale.commands.bodies import show_assessment
    from polyscale.evaluation import create_accelerator

    if out is not None:
        check_folder(out)
    accelerator = create_accelerator(device)
    network = load(model).to(accelerator.device)
    given = {"path": data, "images": images}
    recorded = recorded_splits(Config, model, given)
    config, size = resolve_for(Config, model, given), network.config.image_size
    dataset = build_set(config, split, size, recorded)
    check_categories(network, dataset)
    result = assess(
        network,
        dataset,
        build_set(config, "train", size, recorded) if baselines else None,
        weights=model,
        accelerator=accelerator,
        batch_size=batch_size,
        precision=precision,
        workers=workers,
        decoding=Decoding(beams=beams),
    )
    if accelerator.is_main_process:
        show_assessment(result, out, lambda folder: write_report(result, folder, dataset), as_json=as_json, digits=3)
