"""Small things that the product's tests share: calling a command, and what an error has to look like."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import typer
from accelerate.state import AcceleratorState
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
TINY = ["--model.backbone", "test_resnet", "--model.width", "8", "--model.image_size", "32", "--train.batch_size", "4"]


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Result]


def application(name: str) -> typer.Typer:
    """The Typer application behind the installed command `name`."""
    (script,) = metadata.entry_points(group="console_scripts", name=name)
    app: typer.Typer = sys.modules[script.load().__module__].app
    return app


def call(name: str, *arguments: object, stdin: str | None = None) -> Result:
    """The command `name` in this process: imports are shared, so a test takes a tenth of a second, not five."""
    AcceleratorState._reset_state(True)  # each command is a process of its own and settles its precision
    result = CliRunner().invoke(application(name), [str(a) for a in arguments], input=stdin, env={"COLUMNS": "100"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(result.exit_code, result.stdout, result.stderr)


def spawn(name: str, *arguments: object) -> Result:
    """The installed command in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "HF_HUB_OFFLINE": "1"}
    words = [str(Path(sys.executable).with_name(name)), *map(str, arguments)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def one_line(result: Result, code: int, *words: str) -> None:
    """The command failed with `code` and exactly one line on stderr that holds `words`."""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert result.returncode == code, result.stderr
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0], result.stderr
