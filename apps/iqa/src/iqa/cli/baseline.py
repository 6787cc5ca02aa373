"""`iqa baseline`."""

from typing import Annotated

import typer

from iqa.cli.options import Exclude, Images, Layout, LowerBetter, Scale, SplitColumn
from iqa.config import Config
from polyscale.commands import note, progress
from polyscale.commands.types import MODEL_HELP, AsJson, ResultsOut, Workers
from polyscale.settings import resolve_for


def baseline(
    data: Annotated[str, typer.Option("--data", "-d", help="Folder or CSV of a data set, or synthetic.")] = "synthetic",
    layout: Layout = None,
    images: Images = None,
    scale: Scale = None,
    lower_better: LowerBetter = None,
    split_column: SplitColumn = None,
    exclude: Exclude = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help=f"Compare a model with it. {MODEL_HELP}")] = None,
    size: Annotated[int, typer.Option(min=32, help="Larger images are first shrunk to this side squared.")] = 512,
    workers: Workers = 2,
    out: ResultsOut = None,
    as_json: AsJson = False,
) -> None:
    """Fit the hand-crafted baseline (scene statistics, boosted trees and SVR) on train, and score it on test."""
    from iqa.build import build_set
    from iqa.evaluation.assess import assess, assess_baseline, write_report
    from iqa.evaluation.baselines import fit_baseline, require_sklearn
    from iqa.model import QualityNet
    from polyscale.commands.bodies import show_assessment
    from polyscale.commands.output import check_folder

    if out is not None:
        check_folder(out)
    require_sklearn()
    given = {"layout": layout, "images": images, "scale": scale, "lower_better": lower_better}
    settings = resolve_for(Config, None, {"path": data, **given, "split_column": split_column}).data
    train, val, test = (build_set(settings, split, size) for split in ("train", "val", "test"))
    for line in dict.fromkeys((*train.notes, *val.notes)):
        note(line)
    network = None if model is None else QualityNet.from_pretrained(model)
    with progress("baseline") as bar:
        fitted = fit_baseline(
            train, val, workers=workers, progress=lambda what, done, total: bar.advance(0, f"{what} {done}/{total}")
        )
    note(f"chosen on val: {', '.join(f'{key} {value:.4g}' for key, value in fitted.chosen.items())}")
    if network is None:
        note("model: the hand-crafted baseline")
        result = assess_baseline(fitted, test, exclude)
    else:
        result = assess(network, test, weights=str(model), train=train, baseline=fitted, exclude=exclude)
    show_assessment(result, out, lambda folder: write_report(result, folder, test), as_json=as_json, digits=3)
