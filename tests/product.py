"""Small things that the product's tests share."""

import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
Command = Callable[..., subprocess.CompletedProcess[str]]
TINY = ["--model.backbone", "test_resnet", "--model.width", "8", "--model.image_size", "32", "--train.batch_size", "4"]


def one_line(result: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command failed with `code` and exactly one line on stderr that holds `words`."""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert result.returncode == code, result.stderr
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0], result.stderr
