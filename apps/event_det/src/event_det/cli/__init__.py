"""The command event-det; numba and h5py are imported inside the commands, so that --help is instant."""

from event_det.cli.data import app as data
from event_det.cli.predict import predict
from event_det.cli.view import view
from polyscale.commands import application, run

app = application("event-det", "Read, convert and view recordings of event cameras.")
app.command()(predict)
app.command()(view)
app.add_typer(data, name="data")


def main() -> None:
    """Run the console entry point."""
    run(app)
