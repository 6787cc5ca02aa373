"""The command app-name. torch is imported inside the commands, so that --help is instant."""

from pathlib import Path
from typing import Annotated

import typer

from app_name.config import PRESETS, Config
from polyscale.commands import application, gather_inputs, note, print_json, progress, run, table
from polyscale.errors import UserError
from polyscale.settings import begin_run, configured, resolve_for, to_yaml

app = application("app-name", "APP_ABOUT: train, evaluate, predict.")

Model = Annotated[str, typer.Argument(help="Folder of a run or model, or hub id owner/name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]


@app.command()
@configured(Config, PRESETS, "nano")
def train(
    config: Config,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run, else runs/DATE-TIME.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder, by its own settings.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a model, score it on the test split, and write weights and report.html."""
    from app_name.assess import assess, rows, write_results
    from app_name.build import build_set
    from app_name.model import Segmenter
    from app_name.train import train as train_run

    config, out = begin_run(config, out, resume, presets=PRESETS, default_preset="nano")
    finished = train_run(config, out, resume=resume is not None)
    out = finished.out
    best = Segmenter.from_pretrained(out).to(finished.accelerator.device)
    test_set = build_set(config, "test")
    result = assess(best, test_set, finished.accelerator)
    if not finished.is_main:
        return
    write_results(result, out, best, test_set, to_yaml(config))
    if as_json:
        print_json({**result, "run": out, "best_epoch": finished.progress.best_epoch + 1})
        return
    epoch = f"epoch {finished.progress.best_epoch + 1} of {config.train.epochs}, chosen on val"
    table(rows(result), title=f"test split, {len(test_set)} images, {epoch}")
    note(f"made {out}: best/ (weights), metrics.json, report.html (open it in a browser)")
    note(f"next: app-name predict IMAGES --model {out}")


@app.command(name="eval")
def evaluate(
    model: Model,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for metrics and report.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a model beside trivial baselines, on the data that its run was trained on."""
    from accelerate import Accelerator

    from app_name.assess import assess, rows, write_results
    from app_name.build import build_set
    from app_name.data.synthetic import SPLITS
    from app_name.model import Segmenter

    if split not in SPLITS:
        raise UserError(f"--split: no such split {split} (choose from: {', '.join(SPLITS)})", exit_code=2)
    accelerator = Accelerator()
    network = Segmenter.from_pretrained(model).to(accelerator.device)
    config = resolve_for(Config, model, {})
    dataset = build_set(config, split)
    result = assess(network, dataset, accelerator)
    if not accelerator.is_main_process:
        return
    if out is not None:
        write_results(result, out, network, dataset)
    if as_json:
        print_json(result)
    else:
        table(rows(result), title=f"{split} split, {len(dataset)} images")


@app.command()
def predict(
    inputs: Annotated[list[str], typer.Argument(help="Images, folders or globs; - reads a list from stdin.")],
    model: Annotated[str, typer.Option("--model", "-m", help="As in app-name eval.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for masks and overlays.")] = Path("predictions"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line an image, write no files.")] = False,
) -> None:
    """Write each image's mask and overlay at its own size, or print JSON lines."""
    from app_name.predict import Predictor
    from polyscale.data.images import IMAGE_SUFFIXES
    from polyscale.data.naming import unique_names

    files = gather_inputs(inputs, IMAGE_SUFFIXES)
    predictor = Predictor(model)
    failed = 0
    with progress("predicting", total=len(files)) as bar:
        for file, name in zip(files, unique_names(files), strict=True):
            bar.advance()
            try:
                result = predictor(file, name)
            except UserError as error:
                failed += 1
                note(f"error: {error}")
                continue
            if as_json:
                print_json({**result.to_dict(), "file": file})
            else:
                result.save(out)
    if not as_json and failed < len(files):
        note(f"made {out}: {len(files) - failed} of {len(files)} images (_mask.png, _overlay.png)")
    if failed:
        raise typer.Exit(1)


@app.command()
@configured(Config, PRESETS, "nano")
def info(config: Config, as_json: AsJson = False) -> None:
    """Show what a configuration costs: parameters and multiply-adds."""
    from app_name.cost import cost

    if as_json:
        print_json(cost(config))
        return
    table([{"preset": name, "about": preset.about} for name, preset in PRESETS.items()])
    table([cost(config)], digits=3)


def main() -> None:
    """The console entry point."""
    run(app)


if __name__ == "__main__":  # accelerate launch -m app_name.cli train
    main()
