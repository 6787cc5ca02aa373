"""Public names are typed: mypy sees wrong arguments through the lazy exports, and accepts right ones."""

import re
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="the group lint is not installed")
from mypy import api

# third-party code is skipped: reading torch takes a minute; what is checked are our own signatures
CONFIG = """
[mypy]
follow_imports = skip
[mypy-polyscale.*]
follow_imports = silent
"""
WRONG = {  # line -> number of errors
    'polyscale.UNet(in_channels="three").nothing': 2,  # the type of in_channels, and out_channels is missing
    'polyscale.blocks.FPN([64, 128], out_channels="many")': 1,
    'polyscale.MultiScaleInputGenerator(scales="large")': 1,
    "polyscale.MultiScaleModel(base_modle=None)": 1,
    'polyscale.losses.size_aware_weights(areas, variant="seed")': 1,
    "polyscale.blocks.NoSuchBlock": 1,
    'polyscale.training.Run("settings.yaml")': 1,
    'polyscale.training.Run(polyscale.training.TrainSettings(), out="runs/a")': 1,
    'polyscale.training.Run(polyscale.training.TrainSettings(), resume="yes", recrod="")': 2,
    'polyscale.report.panel([], height="tall")': 1,
}
RIGHT = (
    "polyscale.UNet(3, 1, features=(8, 16))",
    "polyscale.MultiScaleInputGenerator([0.5, 1.0]).sizes(32, 48)",
    "polyscale.training.Run(polyscale.training.TrainSettings(), Path('runs/a'), resume=True)",
)
IMPORTS = """from pathlib import Path
from typing import Any

import polyscale
import polyscale.blocks
import polyscale.losses
import polyscale.report
import polyscale.training

areas: Any = None
"""


def test_wrong_arguments_are_errors_and_right_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text(CONFIG)
    snippet = tmp_path / "snippet.py"
    snippet.write_text(IMPORTS + "\n".join([*WRONG, *RIGHT]) + "\n")
    options = ["--config-file", str(tmp_path / "mypy.ini"), "--cache-dir", str(tmp_path / "cache")]
    out, problems, _ = api.run([*options, str(snippet)])
    assert not problems
    first = IMPORTS.count("\n") + 1
    errors = [int(line) - first for line in re.findall(r"snippet\.py:(\d+): error:", out)]
    found = {line: errors.count(number) for number, line in enumerate([*WRONG, *RIGHT])}
    assert found == WRONG | dict.fromkeys(RIGHT, 0), out
