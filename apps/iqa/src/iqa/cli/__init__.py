"""The command iqa. torch is imported inside the commands, so that --help is instant."""

from pathlib import Path
from typing import Annotated

import typer

from iqa.cli.data import data
from iqa.cli.evaluate import baseline, evaluate
from iqa.cli.predict import MODEL_HELP, compare, predict, refuse_target
from iqa.config import PRESETS, Config
from iqa.units import said_range
from polyscale.commands import application, config_command, note, print_json, run, table
from polyscale.data.naming import plural
from polyscale.errors import UserError
from polyscale.settings import SPLIT_FILE, begin_run, configured, to_yaml

app = application("iqa", "Blind image quality in one pass, learnt from people's opinions: train, evaluate, predict.")

Model = Annotated[str, typer.Argument(help=MODEL_HELP)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]


@app.command()
@configured(Config, PRESETS, "nano")
def train(
    config: Config,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run, else runs/DATE-TIME.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder, by its own settings.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a model, score it on the test split, and write weights, scores and report.html."""
    from iqa.build import build_set
    from iqa.evaluation.assess import assess, write_report, write_results
    from iqa.model.network import QualityNet
    from iqa.train import train as train_run

    config, out = begin_run(config, out, resume, presets=PRESETS, default_preset="nano")
    # before the training, so that what is missing or odd is said while it costs nothing
    recorded = resume / SPLIT_FILE if resume is not None and (resume / SPLIT_FILE).is_file() else None
    train_set, test_set = (
        build_set(config.data, split, config.model.image_size, recorded=recorded) for split in ("train", "test")
    )
    for line in dict.fromkeys((*train_set.notes, *test_set.notes)):
        note(line)
    finished = train_run(config, out, resume=resume is not None)
    out = finished.out
    best = QualityNet.from_pretrained(out).to(finished.accelerator.device)
    result = assess(best, test_set, train=train_set, accelerator=finished.accelerator)
    if not finished.is_main:
        return
    write_results(result, out)
    write_report(result, out, test_set, config=to_yaml(config), journal=out / "log.jsonl")
    if as_json:
        print_json({**result.to_dict(), "run": out, "best_epoch": finished.progress.best_epoch + 1})
        return
    epoch = f"epoch {finished.progress.best_epoch + 1} of {config.train.epochs}, chosen on val"
    table(result.rows(), title=f"{result.title}, {plural(len(test_set), 'image')}, {epoch}")
    note(result.verdict())
    note(f"made {out}: best/ (weights), metrics.json, scores.csv, report.html (open it in a browser)")
    note(f"next: iqa predict IMAGES --model {out}    or on your own data: iqa train --data.path FOLDER")


app.command(name="eval")(evaluate)
app.command()(predict)
app.command()(compare)
app.command()(baseline)


@app.command()
def export(
    model: Model,
    file: Annotated[Path, typer.Argument(help="ONNX file to write.")],
) -> None:
    """Write a model as ONNX: image [N, 3, H, W] in [0, 1] -> score [N], spread [N].

    Any N; H and W from 32, of at most the model's image_size squared: larger images are first shrunk to that, aspect
    kept, bicubic and anti-aliased, as iqa predict does it.
    """
    from iqa.export import export_onnx
    from iqa.model.network import QualityNet

    refuse_target(file)
    network = QualityNet.from_pretrained(model)
    note(f"writing {file}, and comparing it with the model: a few minutes")
    export_onnx(network, file)
    note(f"made {file}: scores {said_range(network.low, network.high)}")
    note(f"first shrink images of more than {network.input_size}^2 pixels to that, aspect kept (anti-aliased, bicubic)")


app.add_typer(data, name="data")


@app.command()
@configured(Config, PRESETS, "nano", sections=("model",))
def info(
    config: Config,
    size: Annotated[tuple[int, int] | None, typer.Option(metavar="H W", help="Image to count for.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a configuration costs: parameters and multiply-adds, single-scale against multi-scale."""
    from iqa.cost import cost_rows

    height, width = size or (config.model.image_size, config.model.image_size)
    if min(height, width) < 1:
        raise UserError(f"--size: {height} {width} given, at least 1 pixel is needed", exit_code=2)
    rows = cost_rows(config, height, width)
    if as_json:
        print_json(rows)
        return
    table([{"preset": name, "about": preset.about} for name, preset in PRESETS.items()])
    table(rows, title=f"{config.model.backbone}, one image of {height} x {width}", digits=3)


config_command(app, Config, PRESETS, "nano")


def main() -> None:
    """The console entry point."""
    run(app)


if __name__ == "__main__":  # accelerate launch -m iqa.cli train
    main()
