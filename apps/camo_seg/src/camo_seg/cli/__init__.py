"""The command camo-seg. torch is imported inside the commands, so that --help is instant."""

from pathlib import Path
from typing import Annotated

import typer

from camo_seg.config import PRESETS, Config
from polyscale.commands import application, gather_inputs, note, print_json, progress, run, table
from polyscale.data.naming import plural
from polyscale.errors import UserError
from polyscale.settings import begin_run, configured, resolve_for, to_yaml

app = application("camo-seg", "Find camouflaged objects in images: train, evaluate, predict.")

Model = Annotated[str, typer.Argument(help="Folder of a run or model, hub id owner/name, or a shipped name.")]
DataPath = Annotated[str | None, typer.Option("--data", "-d", help="Data set folder, or synthetic.")]
Layout = Annotated[str | None, typer.Option(help="Layout of the folder, as in camo-seg train --data.layout.")]
Masks = Annotated[str | None, typer.Option(help="Folder of the masks of a plain folder of images.")]
TestSet = Annotated[str | None, typer.Option(help="Test set of a bundle (CAMO, COD10K, ...); all takes all.")]
CamOnly = Annotated[bool | None, typer.Option(help="COD10K: only the images with a camouflaged object.")]
Precision = Annotated[str, typer.Option(help="auto (bf16 where the processor computes in it), fp32, bf16 or fp16.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per forward pass.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]


@app.command()
@configured(Config, PRESETS, "nano")
def train(
    config: Config,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run, else runs/DATE-TIME.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder, by its own settings.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a model, score it on the test split, and write weights, overlays and report.html."""
    from camo_seg.build import build_set
    from camo_seg.evaluation.assess import assess, write_report, write_results
    from camo_seg.model.network import CamoSegmenter
    from camo_seg.train import train as train_run

    config, out = begin_run(config, out, resume, presets=PRESETS, default_preset="nano")
    finished = train_run(config, out, resume=resume is not None)
    out = finished.out
    best = CamoSegmenter.from_pretrained(out).to(finished.accelerator.device)
    test_set = build_set(config.data, "test", best.input_size)
    result = assess(best, test_set, accelerator=finished.accelerator, precision=config.train.precision)
    if not finished.is_main:
        return
    write_results(result, out)
    write_report(result, out, best, test_set, config=to_yaml(config), journal=out / "log.jsonl")
    if as_json:
        print_json({**result.to_dict(), "run": out, "best_epoch": finished.progress.best_epoch + 1})
        return
    epoch = f"epoch {finished.progress.best_epoch + 1} of {config.train.epochs}, chosen on val"
    table(result.rows(), title=f"{result.title}, {plural(len(test_set), 'image')}, {epoch}")
    note(result.verdict())
    note(f"made {out}: best/ (weights), metrics.json, images.csv, overlays/, report.html (open it in a browser)")
    note(f"next: camo-seg predict IMAGES --model {out}    or on your own data: camo-seg train --data.path FOLDER")


@app.command(name="eval")
def evaluate(
    model: Model = "nano",
    data: DataPath = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    layout: Layout = None,
    masks: Masks = None,
    test_set: TestSet = None,
    cam_only: CamOnly = None,
    batch_size: BatchSize = 8,
    precision: Precision = "auto",
    baselines: Annotated[bool, typer.Option(help="Score the trivial baselines beside the model.")] = True,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for metrics, scores and report.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a model by the field's protocol: pysodmetrics, maps brought to the masks' own sizes.

    Without --data it is scored on the data set that the run was trained on, else on the synthetic one. What is left
    out is as in that run, with --data as in camo-seg train.
    """
    from accelerate import Accelerator

    from camo_seg.build import build_set
    from camo_seg.evaluation.assess import assess, write_report, write_results
    from camo_seg.model.network import CamoSegmenter

    accelerator = Accelerator()
    network = CamoSegmenter.from_pretrained(model).to(accelerator.device)
    given = {"path": data, "layout": layout, "masks": masks, "test_set": test_set, "cam_only": cam_only}
    settings = resolve_for(Config, model, given).data
    dataset = build_set(settings, split, network.input_size)
    for line in dataset.notes:
        note(line)
    result = assess(
        network, dataset, accelerator=accelerator, baselines=baselines, batch_size=batch_size, precision=precision
    )
    if not accelerator.is_main_process:
        return
    if out is not None:
        write_results(result, out)
        note(f"made {write_report(result, out, network, dataset)}")
    if as_json:
        print_json(result.to_dict())
    else:
        table(result.rows(), title=f"{result.title}, {plural(len(dataset), 'image')}")
        note(result.verdict())


@app.command()
def predict(
    inputs: Annotated[list[str], typer.Argument(help="Images, folders or globs; - reads a list from stdin.")],
    model: Annotated[str, typer.Option("--model", "-m", help="As in camo-seg eval.")] = "nano",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for maps, masks and overlays.")] = Path(
        "predictions"
    ),
    threshold: Annotated[float, typer.Option(help="Probability from which a pixel belongs to the mask.")] = 0.5,
    precision: Precision = "auto",
    batch_size: BatchSize = 4,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Search the folders' subfolders too.")] = False,
    overlay: Annotated[bool, typer.Option(help="Write the overlay beside map and mask.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line an image, write no files.")] = False,
) -> None:
    """Write each image's probability map, mask and overlay at its own size, or print JSON lines."""
    from camo_seg.predict import Failure, Predictor
    from polyscale.data.images import IMAGE_SUFFIXES

    refused: list[UserError] = []
    files = gather_inputs(inputs, IMAGE_SUFFIXES, recursive=recursive, refused=refused.append)
    for error in refused:
        note(f"error: {error}")
    if not files:
        raise typer.Exit(1)
    predictor = Predictor(model, precision=precision, threshold=threshold)
    failed = 0
    with progress("predicting", total=len(files)) as bar:
        for result in predictor.stream(files, batch_size=batch_size):
            bar.advance()
            if isinstance(result, Failure):
                failed += 1
                note(f"error: {result.error}")
            elif not as_json:
                result.save(out, overlay=overlay)
            if as_json:
                print_json(result.to_dict())
    if not as_json and failed < len(files):
        note(f"made {out}: {len(files) - failed} of {len(files)} images (_probability.png, _mask.png, _overlay.jpg)")
    if failed or refused:
        raise typer.Exit(1)


@app.command()
@configured(Config, PRESETS, "nano")
def info(config: Config, as_json: AsJson = False) -> None:
    """Show what a configuration costs: parameters and multiply-adds, single-scale against several scales."""
    from camo_seg.cost import cost_rows

    rows = cost_rows(config)
    if as_json:
        print_json(rows)
        return
    table([{"preset": name, "about": preset.about} for name, preset in PRESETS.items()])
    table(rows, title=f"{config.model.backbone} at {config.model.image_size} px, batch 1", digits=3)


@app.command()
def data(
    path: Annotated[str, typer.Argument(help="Data set folder, or synthetic.")] = "synthetic",
    layout: Layout = None,
    masks: Masks = None,
    cam_only: CamOnly = None,
    as_json: AsJson = False,
) -> None:
    """Check a data set: its layout, splits, image sizes and how large the objects are."""
    from camo_seg.data import describe

    given = {"path": path, "layout": layout, "masks": masks, "cam_only": cam_only}
    settings = resolve_for(Config, None, given).data
    rows = describe(path, layout=settings.layout, masks=settings.masks, cam_only=settings.cam_only)
    notes = list(dict.fromkeys(line for row in rows for line in row.pop("notes")))
    if as_json:
        print_json({"splits": rows, "notes": notes})
        return
    table(rows, title=path, digits=3)
    for line in notes:
        note(line)


def main() -> None:
    """The console entry point."""
    run(app)
