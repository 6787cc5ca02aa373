"""The command caption-det: one file per command, which imports torch inside, so that --help is instant."""

from polyscale.commands import application, run

app = application(
    "caption-det",
    "Captions and scored boxes from one encoder pass: train, evaluate, predict, export.",
    {
        "train": "caption_det.cli.train",
        "eval": "caption_det.cli.evaluate",
        "predict": "caption_det.cli.predict",
        "export": "caption_det.cli.export",
        "data": "caption_det.cli.data",
        "info": "caption_det.cli.info",
        "config": "caption_det.cli.config",
    },
)


def main() -> None:
    """Run the console entry point."""
    run(app)
