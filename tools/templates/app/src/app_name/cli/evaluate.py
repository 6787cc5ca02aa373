"""`app-name eval`."""

from app_name.config import Config
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
from polyscale.settings import resolve_for


def evaluate(
    model: ModelArgument,
    data: DataOption = None,
    split: Split = "test",
    device: Device = "auto",
    precision: Precision = "fp32",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
    out: ResultsOut = None,
    as_json: AsJson = False,
) -> None:
    """Score a model next to trivial baselines, by default on the data set of the run MODEL."""
    from app_name.build import build_set
    from app_name.evaluation.assess import assess, write_report
    from app_name.model import Segmenter
    from polyscale.commands.bodies import show_assessment
    from polyscale.commands.output import check_folder
    from polyscale.evaluation import create_accelerator
    from polyscale.inference import resolve_precision

    if out is not None:
        check_folder(out)
    accelerator = create_accelerator(device)
    resolve_precision(precision, accelerator.device)
    dataset = build_set(resolve_for(Config, model, {"path": data}), split)
    network = Segmenter.from_pretrained(model).to(accelerator.device)  # after what is cheap to refuse
    dataset.size = network.input_size
    result = assess(
        network,
        dataset,
        weights=model,
        accelerator=accelerator,
        batch_size=batch_size,
        precision=precision,
        workers=workers,
    )
    if accelerator.is_main_process:
        show_assessment(result, out, lambda folder: write_report(result, folder, network, dataset), as_json=as_json)
