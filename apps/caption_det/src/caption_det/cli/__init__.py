"""The command caption-det: one file per command, which imports torch inside, so that --help is instant."""

from caption_det.cli.data import data
from caption_det.cli.evaluate import evaluate
from caption_det.cli.export import export
from caption_det.cli.info import info
from caption_det.cli.predict import predict
from caption_det.cli.train import train
from caption_det.config import PRESETS, Config
from polyscale.commands import application, config_command, run

app = application("caption-det", "Captions and scored boxes from one encoder pass: train, evaluate, predict, export.")
app.command()(train)
app.command(name="eval")(evaluate)
app.command()(predict)
app.command()(export)
app.add_typer(data, name="data")
app.command()(info)
config_command(app, Config, PRESETS, "nano")


def main() -> None:
    """Run the console entry point."""
    run(app)
