"""The command camo-seg: one file per command; torch is imported inside them, so that --help is instant."""

from polyscale.commands import application, run

app = application(
    "camo-seg",
    "Find camouflaged objects in images: train, evaluate, predict.",
    {
        "train": "camo_seg.cli.train",
        "eval": "camo_seg.cli.evaluate",
        "compare": "camo_seg.cli.compare",
        "predict": "camo_seg.cli.predict",
        "export": "camo_seg.cli.export",
        "data": "camo_seg.cli.data",
        "info": "camo_seg.cli.info",
        "config": "camo_seg.cli.config",
    },
)


def main() -> None:
    """Run the console entry point."""
    run(app)
