"""The command iqa: one file per command; torch is imported inside them, so that --help is instant."""

from iqa.cli.baseline import baseline
from iqa.cli.compare import compare
from iqa.cli.data import data
from iqa.cli.evaluate import evaluate
from iqa.cli.export import export
from iqa.cli.info import info
from iqa.cli.predict import predict
from iqa.cli.train import train
from iqa.config import PRESETS, Config
from polyscale.commands import application, config_command, run

app = application("iqa", "Score the quality of images without a reference: train, evaluate, predict.")
app.command()(train)
app.command(name="eval")(evaluate)
app.command()(predict)
app.command()(compare)
app.command()(baseline)
app.command()(export)
app.add_typer(data, name="data")
app.command()(info)
config_command(app, Config, PRESETS, "nano")


def main() -> None:
    """Run the console entry point."""
    run(app)
