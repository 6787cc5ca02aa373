"""`app-name train`."""

from app_name.config import PRESETS, Config
from polyscale.commands.types import AsJson, Resume, RunOut
from polyscale.settings import configured, to_yaml


@configured(Config, PRESETS, "nano")
def train(config: Config, out: RunOut = None, resume: Resume = None, as_json: AsJson = False) -> None:
    """Train a model, score it on the test split, and write weights and report.html."""
    from app_name.build import build_set
    from app_name.evaluation.assess import assess, write_report
    from app_name.model import Segmenter
    from app_name.train import train as train_run
    from polyscale.commands.bodies import finish_training

    test_set = build_set(config, "test")  # before the training, while a missing split costs nothing
    run = train_run(config, out, resume=resume is not None)
    best = Segmenter.from_pretrained(run.out).to(run.accelerator.device)
    result = assess(best, test_set, weights=run.out / "best", run=run.out, accelerator=run.accelerator)
    finish_training(
        "app-name",
        run,
        result,
        lambda: write_report(result, run.out, best, test_set, config=to_yaml(config)),
        as_json=as_json,
    )
