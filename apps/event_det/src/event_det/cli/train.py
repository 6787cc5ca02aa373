"""`event-det train`."""

from event_det.config import PRESETS, Config
from polyscale.commands.types import AsJson, Resume, RunOut
from polyscale.settings import configured, to_yaml


@configured(Config, PRESETS, "nano")
def train(config: Config, out: RunOut = None, resume: Resume = None, as_json: AsJson = False) -> None:
    """Train a detector, score it on the test split, and write weights, frames and report.html."""
    from event_det.build import load_model
    from event_det.data import open_split
    from event_det.evaluation.assess import assess, write_report
    from event_det.evaluation.baselines import fit_prior
    from event_det.train import train as train_run
    from polyscale.commands.bodies import finish_training

    test_set = open_split(config, "test")  # before the training, while a missing split costs nothing
    run = train_run(config, out, resume=resume is not None)
    best = load_model(run.out).to(run.accelerator.device)
    result = assess(
        best,
        test_set,
        prior=fit_prior(open_split(config, "val")),
        weights=run.out / "best",
        run=run.out,
        accelerator=run.accelerator,
    )
    finish_training(
        "event-det",
        run,
        result,
        lambda: write_report(result, run.out, best, test_set, config=to_yaml(config), journal=run.out / "log.jsonl"),
        as_json=as_json,
        inputs="RECORDING",
    )
