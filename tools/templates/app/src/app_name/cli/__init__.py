"""The command app-name: one file per command, which imports torch inside, so that --help is instant."""

from app_name.cli.data import data
from app_name.cli.evaluate import evaluate
from app_name.cli.info import info
from app_name.cli.predict import predict
from app_name.cli.train import train
from app_name.config import PRESETS, Config
from polyscale.commands import application, config_command, run

app = application("app-name", "APP_ABOUT: train, evaluate, predict.")
app.command()(train)
app.command(name="eval")(evaluate)
app.command()(predict)
app.command()(data)
app.command()(info)
config_command(app, Config, PRESETS, "nano")


def main() -> None:
    """Run the console entry point."""
    run(app)
