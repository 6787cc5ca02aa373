"""The command app-name: one file per command, which imports torch inside, so that --help is instant."""

from polyscale.commands import application, run

app = application(
    "app-name",
    "APP_ABOUT: train, evaluate, predict.",
    {
        "train": "app_name.cli.train",
        "eval": "app_name.cli.evaluate",
        "predict": "app_name.cli.predict",
        "data": "app_name.cli.data",
        "info": "app_name.cli.info",
        "config": "app_name.cli.config",
    },
)


def main() -> None:
    """Run the console entry point."""
    run(app)
