"""The command iqa: one file per command; torch is imported inside them, so that --help is instant."""

from polyscale.commands import application, run

app = application(
    "iqa",
    "Score the quality of images without a reference: train, evaluate, predict.",
    {
        "train": "iqa.cli.train",
        "eval": "iqa.cli.evaluate",
        "predict": "iqa.cli.predict",
        "compare": "iqa.cli.compare",
        "baseline": "iqa.cli.baseline",
        "export": "iqa.cli.export",
        "data": "iqa.cli.data",
        "info": "iqa.cli.info",
        "config": "iqa.cli.config",
    },
)


def main() -> None:
    """Run the console entry point."""
    run(app)
