"""The command camo-seg: one file per command; torch is imported inside them, so that --help is instant."""

from camo_seg.cli.compare import compare
from camo_seg.cli.data import data
from camo_seg.cli.evaluate import evaluate
from camo_seg.cli.export import export
from camo_seg.cli.info import info
from camo_seg.cli.predict import predict
from camo_seg.cli.train import train
from camo_seg.config import PRESETS, Config
from polyscale.commands import application, config_command, run

app = application("camo-seg", "Find camouflaged objects in images: train, evaluate, predict.")
app.command()(train)
app.command(name="eval")(evaluate)
app.command()(compare)
app.command()(predict)
app.command()(export)
app.command()(data)
app.command()(info)
config_command(app, Config, PRESETS, "nano")


def main() -> None:
    """Run the console entry point."""
    run(app)
