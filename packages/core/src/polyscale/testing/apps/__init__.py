"""The contract that every application keeps, as one test class to inherit (needs pytest).

    class TestZebraCount(AppContract):
        app = "zebra-count"
        metric = "IoU"
        tiny = ("--data.train_images", "16", "--model.image_size", "32", "--train.epochs", "2")

One training of a few seconds is shared by the tests of a class. Commands run in this process, in a folder of their own,
with one thread, and none of them may open a connection.
"""

from polyscale.testing.apps.base import Trained
from polyscale.testing.apps.commands import CommandContract
from polyscale.testing.apps.options import OptionContract
from polyscale.testing.apps.prediction import PredictionContract
from polyscale.testing.apps.training import TrainingContract

__all__ = ["AppContract", "Trained"]


class AppContract(TrainingContract, PredictionContract, CommandContract, OptionContract):
    """Inherit as `class TestX(AppContract)`; `AppTests` says which attributes to set."""
