"""What the tests of the whole product share: running a command as a user does, and a small data set on disk."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from product import Command


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """command("camo-seg", "train", ...): the installed command, in an empty folder, two threads, no terminal."""
    folder = tmp_path_factory.mktemp("cwd")

    def call(
        name: str, *arguments: object, cwd: Path = folder, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "HF_HUB_OFFLINE": "1"}
        program = Path(sys.executable).with_name(name)
        return subprocess.run(
            [program, *map(str, arguments)],
            cwd=cwd,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return call


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder pair of 14 pictures of a bright disc, 40 x 48 pixels."""
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
