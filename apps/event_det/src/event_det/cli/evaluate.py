"""`event-det eval`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from event_det.config import Config
from polyscale.commands.types import AsJson, DataOption, Device, Precision, Split
from polyscale.errors import UserError
from polyscale.settings import resolve_for

MODEL_HELP = "Folder of a run or model, hub id owner/name, name of a shipped model, or a checkpoint of RVT (.ckpt)."


def evaluate(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)] = "nano",
    data: DataOption = None,
    split: Split = "test",
    dataset: Annotated[
        str | None, typer.Option(help="What the class ids and filters are, as in event-det train --data.dataset.")
    ] = None,
    protocol: Annotated[
        Literal["rvt", "coco"],
        typer.Option(
            help="rvt, which published tables use: boxes of the first 0.5 s and small ones (by data set) do not count, "
            "true or found; frames without a true box that counts are left out, so false alarms there are free. "
            "coco: every labelled frame and every box counts."
        ),
    ] = "rvt",
    ranking: Annotated[
        Literal["class", "product"] | None,
        typer.Option(
            help="Rank boxes by the class probability alone, as RVT does, or times the objectness. By default class on "
            "gen1, gen4 and etram, as in their published tables, product elsewhere."
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    batch_size: Annotated[int, typer.Option(min=1, help="Recordings per forward pass.")] = 8,
    workers: Annotated[
        int, typer.Option(min=0, help="Threads that read ahead. HDF5 lets one of them read at a time.")
    ] = 2,
    baselines: Annotated[
        bool, typer.Option(help="Score the trivial baselines too; they look at the split val.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for metrics.json, frames.csv and report.html.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a detector: AP over overlaps .5 to .95, by size, class, place in the recording and motion.

    Uses the data set of the run MODEL by default, or the synthetic set if MODEL is not a run. A found box belongs to
    the label whose window of 50 ms it is from. On several processes boxes are gathered and scored once.
    """
    from event_det.build import load_model
    from event_det.data import open_split
    from event_det.evaluation.assess import assess, write_report
    from event_det.evaluation.baselines import fit_prior
    from polyscale.commands import check_folder
    from polyscale.commands.bodies import show_assessment
    from polyscale.evaluation import create_accelerator
    from polyscale.inference import resolve_precision

    if out is not None:
        check_folder(out)
    accelerator = create_accelerator(device)
    resolve_precision(precision, accelerator.device)
    config = resolve_for(Config, model, {"path": data, "dataset": dataset})
    chosen = open_split(config, split)
    prior = None
    if baselines:
        try:
            prior = fit_prior(open_split(config, "val"))
        except UserError as error:
            raise UserError(f"{error}; the baselines look at val: --no-baselines leaves them out") from error
    network = load_model(model).to(accelerator.device)  # after what is cheap to refuse
    result = assess(
        network,
        chosen,
        prior=prior,
        weights=model,
        accelerator=accelerator,
        batch_size=batch_size,
        precision=precision,
        workers=workers,
        protocol=protocol,
        ranking=ranking,
    )
    if accelerator.is_main_process:
        show_assessment(result, out, lambda folder: write_report(result, folder, network, chosen), as_json=as_json)
