"""How tests call a command, in this process or one of its own, and what an error of it has to look like."""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata

import typer
from typer.testing import CliRunner


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """The lines on stderr that begin with "error:"."""
        return [line for line in self.stderr.splitlines() if line.startswith("error:")]


@cache
def package_of(name: str) -> str:
    """Return the package of the installed command `name`: camo_seg for camo-seg."""
    (script,) = metadata.entry_points(group="console_scripts", name=name)
    return script.module.partition(".")[0]


def application(name: str) -> typer.Typer:
    """Return the Typer application of the installed command `name`."""
    app: typer.Typer = import_module(f"{package_of(name)}.cli").app
    return app


def call(name: str, *arguments: object, stdin: str | bytes | None = None) -> Result:
    """Run the command `name` in this process: imports are shared, so a test takes a tenth of a second, not five.

    Raises:
        Exception: what the command does not turn into an exit code.
        AssertionError: it tried to open a connection.
    """
    from accelerate.state import AcceleratorState

    from polyscale.testing.network import no_connections

    AcceleratorState._reset_state(True)  # each command is a process of its own and settles its precision
    words = [str(argument) for argument in arguments]
    with no_connections():
        result = CliRunner().invoke(application(name), words, input=stdin, env={"COLUMNS": "100"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(result.exit_code, result.stdout, result.stderr)


def spawn(name: str, *arguments: object, timeout: float = 300) -> Result:
    """Run the command `name` in a process of its own, with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, "-m", package_of(name), *map(str, arguments)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def one_line(result: Result, code: int, *words: str) -> None:
    """Assert that the command failed with `code` and exactly one line on stderr, which holds `words`."""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert result.returncode == code, result.stderr
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0], result.stderr
