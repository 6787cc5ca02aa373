"""Command lines: every ending is one line and an exit code, and a bug keeps its traceback."""

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from polyscale import commands
from polyscale.commands import application
from polyscale.commands.application import _not_installed
from polyscale.errors import UserError

app = application("demo", "A demo.", distribution="polyscale")


def raised(error: BaseException) -> None:
    raise error


class OutOfMemoryError(RuntimeError):
    """Stands for torch.OutOfMemoryError, which is a RuntimeError too."""


class Broken:
    """A data set whose only image cannot be read."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise UserError("a.png: cannot be read")


FAULTS = {
    "user": lambda: raised(UserError("a.png: broken\nin two lines")),
    "usage": lambda: raised(UserError("lr: should be > 0", exit_code=2)),
    "markup": lambda: raised(UserError("[red]x[/red].png: " + "long " * 60 + "end")),
    "interrupt": lambda: raised(KeyboardInterrupt()),
    "memory": lambda: raised(MemoryError()),
    "cuda": lambda: raised(OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")),
    "cpu": lambda: raised(RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")),
    "worker": lambda: next(iter(DataLoader(Broken(), num_workers=1))),
    "denied": lambda: raised(PermissionError(errno.EACCES, "Permission denied", "/out/x.png")),
    "full": lambda: raised(OSError(errno.ENOSPC, "No space left on device")),
    "folder": lambda: raised(IsADirectoryError(errno.EISDIR, "Is a directory", "x/..")),
    "there": lambda: raised(FileExistsError(errno.EEXIST, "File exists", "x")),
    "loop": lambda: raised(OSError(errno.ELOOP, "Too many levels of symbolic links", "x")),
    "missing": lambda: raised(FileNotFoundError(errno.ENOENT, "No such file", "weights.py")),
    "exit": lambda: raised(typer.Exit(3)),
    "abort": lambda: raised(typer.Abort()),
    "bad": lambda: raised(typer.BadParameter("no")),
    "bug": lambda: raised(RuntimeError("a bug")),
    "value": lambda: raised(ValueError("a bug too")),
    "result": lambda: 7,
    "quiet": lambda: None,
}


@app.command()
def go(kind: str, number: int = 1) -> object:
    """Ends in the given way."""
    return FAULTS[kind]()


@app.command()
def stop() -> None:
    """Nothing."""


def call(*args: str) -> Any:
    return CliRunner().invoke(app, list(args))


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("user", 1, "error: a.png: broken in two lines\n"),
        ("usage", 2, "error: lr: should be > 0\n"),
        ("markup", 1, "error: [red]x[/red].png: " + "long " * 60 + "end\n"),
        ("interrupt", 130, ""),
        ("memory", 1, "error: out of memory: try a smaller batch"),
        ("cuda", 1, "error: out of memory (2 GiB asked for): try a smaller batch"),
        ("worker", 1, "error: a.png: cannot be read\n"),
        ("denied", 1, "error: /out/x.png: Permission denied\n"),
        ("full", 1, "error: No space left on device\n"),
        ("folder", 1, "error: x/..: Is a directory\n"),
        ("there", 1, "error: x: File exists\n"),
        ("loop", 1, "error: x: Too many levels of symbolic links\n"),
        ("cpu", 1, "error: out of memory: try a smaller batch"),
        ("exit", 3, ""),
        ("abort", 1, "error: aborted\n"),
        ("bad", 2, "error: Invalid value: no. See demo go --help\n"),
        ("result", 0, ""),
        ("quiet", 0, ""),
    ],
)
def test_endings(kind: str, code: int, message: str) -> None:
    result = call("go", kind)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == bool(message)


@pytest.mark.parametrize(
    ("kind", "error"), [("bug", RuntimeError), ("value", ValueError), ("missing", FileNotFoundError)]
)
def test_a_bug_is_not_hidden(kind: str, error: Any) -> None:
    assert type(call("go", kind).exception) is error


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["stpo"], "error: No such command 'stpo'. Did you mean 'stop'? See demo --help\n"),
        (["go"], "error: Missing argument 'kind'. See demo go --help\n"),
        (["go", "quiet", "--numbre", "1"], "error: No such option: --numbre (Possible options: --number). See"),
        (["go", "quiet", "--number", "x"], "error: Invalid value for '--number': "),
    ],
)
def test_wrong_usage_is_one_line_with_a_suggestion(args: list[str], message: str) -> None:
    result = call(*args)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_no_arguments_show_the_help_and_exit_2() -> None:
    result = call()
    assert result.exit_code == 2
    assert "Ends in the given way." in result.stdout
    assert result.stderr == ""
    assert call("--help").exit_code == call("-h").exit_code == call("stop", "-h").exit_code == 0


def test_version_is_the_distributions() -> None:
    from importlib import metadata

    result = call("--version")
    assert (result.exit_code, result.stdout) == (0, f"demo {metadata.version('polyscale')}\n")


SCRIPT = """
import sys, os, signal
from polyscale.commands import application, run
app = application("demo", "A demo.", distribution="polyscale")
@app.command()
def many():
    for i in range(200000): print(i)
@app.command()
def bug():
    secret = "s3cret"; raise KeyError("the bug")
@app.command()
def interrupted():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    os.kill(os.getpid(), signal.SIGINT)
def main(): run(app)
"""


def start(code: str, **named: Any) -> subprocess.Popen:
    code = f"{SCRIPT}\nsys.argv[0] = 'demo'\n{code}"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_end_as_promised() -> None:
    pipe = start("sys.argv[1:] = ['many']; main()")
    bug = start("sys.argv[1:] = ['bug']; main()")
    interrupted = start("sys.argv[1:] = ['interrupted']; main()")
    for _ in range(3):
        pipe.stdout.readline()
    pipe.stdout.close()  # as `demo many | head -3`
    assert pipe.stderr.read() == ""
    assert pipe.wait() == 141
    _, stderr = bug.communicate()
    assert bug.returncode == 1
    assert stderr.startswith("Traceback")
    assert stderr.endswith("KeyError: 'the bug'\n")
    assert interrupted.communicate() == ("", "")
    assert interrupted.returncode == 130


def test_public_names() -> None:
    assert {"application", "run", "gather_inputs", "keep_heap", "note", "progress", "table"} <= set(commands.__all__)
    assert all(hasattr(commands, name) for name in commands.__all__)


@pytest.mark.parametrize(
    ("module", "line", "advice"),
    [
        ("h5py", 'h5py>=3.11; python_version < "3.9"', "no wheels of it for Python 3."),
        ("h5py", "h5py>=3.11", 'pip install "polyscale-demo"'),
        ("faster_coco_eval.core", "faster-coco-eval; extra == 'boxes'", 'pip install "polyscale-demo[boxes]"'),
        ("torch", "polyscale[predict]>=0.1", 'pip install "polyscale-demo[train]"'),
        ("misspelt", "numpy>=1.26", ""),
    ],
)
def test_a_missing_package_is_told_with_what_brings_it(
    monkeypatch: pytest.MonkeyPatch, module: str, line: str, advice: str
) -> None:
    monkeypatch.setattr("importlib.metadata.requires", lambda _: [line])
    told = _not_installed(ModuleNotFoundError(name=module), "polyscale-demo")
    assert (
        told.startswith(f"this command needs {module.partition('.')[0]}, which is not installed")
        if advice
        else not told
    )
    assert advice in told


def test_a_command_is_imported_when_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "asked_for.py").write_text('def asked_for() -> None:\n    """Say yes."""\n    print("yes")\n')
    (tmp_path / "left_alone.py").write_text(
        'import typer\n\nleft_alone = typer.Typer(help="Say no.")\n\n\n'
        '@left_alone.command()\ndef one() -> None:\n    print("one")\n\n\n'
        '@left_alone.command()\ndef two() -> None:\n    print("two")\n'
    )
    lazy = application("lazy", "help", {"first": "asked_for", "second": "left_alone"}, distribution="polyscale")
    assert CliRunner().invoke(lazy, ["first"]).stdout == "yes\n"
    assert "left_alone" not in sys.modules
    assert CliRunner().invoke(lazy, ["second", "two"]).stdout == "two\n"
    shown = CliRunner().invoke(lazy, ["--help"]).stdout
    assert shown.index("Say yes.") < shown.index("Say no.")
    wrong = CliRunner().invoke(lazy, ["frist"])
    assert wrong.exit_code == 2
    assert "No such command 'frist'" in wrong.stderr
    for name in ("asked_for", "left_alone"):
        monkeypatch.delitem(sys.modules, name)


WRITTEN = '''
from typing import Annotated
import typer

def {name}(out: Annotated[str | None, typer.Option(help="Where to [default: out; with --json none].")] = None) -> None:
    """Say [yes].

    A paragraph of two lines, the first of which is
    short, is filled as one.
    """

group = typer.Typer()
group.command()({name})
group.command("other")({name})
'''


def test_help_is_shown_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In commands that are made at once, when asked for, and in groups: no bracket is taken for markup."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lazily.py").write_text(WRITTEN.format(name="lazily"))
    (tmp_path / "grouped.py").write_text(f"{WRITTEN.format(name='one')}\ngrouped = group\n")
    made: dict[str, Any] = {}
    exec(WRITTEN.format(name="at_once"), made)
    places = {"lazily": "lazily", "grouped": "grouped"}
    written = application("written", "Say [anything].", places, distribution="polyscale")
    written.command()(made["at_once"])
    for words in (["at-once"], ["lazily"], ["grouped", "one"]):
        shown = CliRunner().invoke(written, [*words, "--help"], env={"COLUMNS": "100"}).stdout
        assert "Say [yes]." in shown, words
        assert "Where to [default: out; with --json none]." in shown, words
        assert "A paragraph of two lines, the first of which is short, is filled as one." in shown, words
    shown = CliRunner().invoke(written, ["--help"], env={"COLUMNS": "100"}).stdout
    assert "Say [anything]." in shown
    assert shown.count("Say [yes].") == 2  # a group of commands without help of its own has none here
    for name in ("lazily", "grouped"):
        monkeypatch.delitem(sys.modules, name)
