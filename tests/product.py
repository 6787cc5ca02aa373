"""Small things that the tests of the whole product share."""

from pathlib import Path

from polyscale.testing.command import application

__all__ = ["ROOT", "application"]

ROOT = Path(__file__).parents[1]
