"""`caption-det train`."""

from caption_det.config import PRESETS, Config
from polyscale.commands.types import AsJson, Resume, RunOut
from polyscale.settings import SPLIT_FILE, configured, to_yaml


@configured(Config, PRESETS, "nano")
def train(config: Config, out: RunOut = None, resume: Resume = None, as_json: AsJson = False) -> None:
    """Train a model, score it on the test split, and write weights and report.html."""
    from caption_det.build import build_set
    from caption_det.evaluation.assess import assess, write_report
    from caption_det.model import load
    from caption_det.train import train as train_run
    from polyscale.commands.bodies import finish_training

    run = train_run(config, out, resume=resume is not None)
    best = load(run.out).to(run.accelerator.device)
    recorded = run.out / SPLIT_FILE if (run.out / SPLIT_FILE).is_file() else None
    train_set, test_set = (build_set(config, s, best.config.image_size, recorded) for s in ("train", "test"))
    result = assess(
        best,
        test_set,
        train_set,
        weights=run.out / "best",
        run=run.out,
        accelerator=run.accelerator,
        precision=config.train.precision,
    )
    finish_training(
        "caption-det",
        run,
        result,
        lambda: write_report(result, run.out, test_set, config=to_yaml(config)),
        as_json=as_json,
        digits=3,
    )
