"""The command event-det: one file per command; torch, numba and h5py are imported inside, so that --help is instant."""

from event_det.cli.bench import bench
from event_det.cli.data import app as data
from event_det.cli.evaluate import evaluate
from event_det.cli.export import export
from event_det.cli.info import info
from event_det.cli.predict import predict
from event_det.cli.train import train
from event_det.cli.view import view
from event_det.config import PRESETS, Config
from polyscale.commands import application, config_command, run

app = application(
    "event-det", "Detect objects in recordings of event cameras: train, evaluate, predict, convert, view."
)
app.command()(train)
app.command(name="eval")(evaluate)
app.command()(predict)
app.command()(view)
app.add_typer(data, name="data")
app.command()(info)
app.command()(bench)
app.command()(export)
config_command(app, Config, PRESETS, "nano")


def main() -> None:
    """Run the console entry point."""
    run(app)
