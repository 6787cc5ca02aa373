"""The command event-det: one file per command; torch, numba and h5py are imported inside, so that --help is instant."""

from polyscale.commands import application, run

app = application(
    "event-det",
    "Detect objects in recordings of event cameras: train, evaluate, predict, convert, view.",
    {
        "train": "event_det.cli.train",
        "eval": "event_det.cli.evaluate",
        "predict": "event_det.cli.predict",
        "view": "event_det.cli.view",
        "data": "event_det.cli.data",
        "info": "event_det.cli.info",
        "bench": "event_det.cli.bench",
        "export": "event_det.cli.export",
        "config": "event_det.cli.config",
    },
)


def main() -> None:
    """Run the console entry point."""
    run(app)
