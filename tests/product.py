"""Small things that the tests of the whole product share."""

from pathlib import Path

from polyscale.testing.command import application, call

__all__ = ["ROOT", "TINY", "application", "call"]

ROOT = Path(__file__).parents[1]
TINY = ["--model.backbone", "test_resnet", "--model.width", "8", "--model.image_size", "32", "--train.batch_size", "4"]
