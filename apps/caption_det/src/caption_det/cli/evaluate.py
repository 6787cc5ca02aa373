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

NO_NETWORK = 64  # side of the network's images until one is loaded


def evaluate(
    model: ModelArgument = "nano",
    data: DataOption = None,
    split: Split = "test",
    images: Images = None,
    beams: Beams = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
    baselines: Annotated[bool, typer.Option(help="Score the trivial baselines too.")] = True,
    out: ResultsOut = None,
    as_json: AsJson = False,
) -> None:
    """Score a model: CIDEr, BLEU, ROUGE-L and average precision, by default on the data set of the run MODEL."""
    from caption_det.build import build_set, check_categories, resized
    from caption_det.describer import Decoding
    from caption_det.evaluation.assess import assess, write_report
    from caption_det.model import load
    from polyscale.commands import check_folder
    from polyscale.commands.bodies import show_assessment
    from polyscale.evaluation import create_accelerator
    from polyscale.inference import resolve_precision

    if out is not None:
        check_folder(out)
    accelerator = create_accelerator(device)
    resolve_precision(precision, accelerator.device)
    given = {"path": data, "images": images}
    recorded = recorded_splits(Config, model, given)
    config = resolve_for(Config, model, given)
    sets = [build_set(config, name, NO_NETWORK, recorded) for name in (split, *(["train"] if baselines else []))]
    network = load(model).to(accelerator.device)  # after what is cheap to refuse
    dataset, *train = (resized(config, one, network.config.image_size) for one in sets)
    check_categories(network, dataset)
    result = assess(
        network,
        dataset,
        train[0] if train else None,
        weights=model,
        accelerator=accelerator,
        batch_size=batch_size,
        precision=precision,
        workers=workers,
        decoding=Decoding(beams=beams),
    )
    if accelerator.is_main_process:
        show_assessment(result, out, lambda folder: write_report(result, folder, dataset), as_json=as_json, digits=3)
