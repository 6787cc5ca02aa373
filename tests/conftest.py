"""A small data set on disk, for the tests of the whole product."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Numbers that are compared to the last bit come from processes with one thread each, this one included."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in a folder of their own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder pair of 14 images of a bright disc, 40 x 48 pixels."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :48]
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for i in range(14):
        disc = (y - rng.integers(10, 30)) ** 2 + (x - rng.integers(10, 38)) ** 2 < rng.integers(20, 90)
        image = rng.integers(60, 120, (40, 48, 3)) + 90 * disc[..., None]
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"p{i:02}.png")
        Image.fromarray((disc * 255).astype(np.uint8)).save(folder / "masks" / f"p{i:02}.png")
    return folder
