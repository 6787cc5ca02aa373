"""Command lines: one-line errors and exit codes, input lists, tables, JSON, progress, the kept heap."""

import errno
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from polyscale import commands
from polyscale.commands import application, gather_inputs, heap, keep_heap, note, output, print_json, progress, table
from polyscale.errors import UserError

app = application("demo", "A demo.", distribution="polyscale")


def raised(error: BaseException):
    raise error


class OutOfMemoryError(RuntimeError):
    """Stands for torch.OutOfMemoryError, which is a RuntimeError too."""


class Broken:
    """A data set whose only picture cannot be read."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int):
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


def call(*args: str):
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
        ("cpu", 1, "error: out of memory: try a smaller batch"),
        ("exit", 3, ""),
        ("abort", 1, "error: aborted\n"),
        ("bad", 2, "error: Invalid value: no See demo go --help\n"),
        ("result", 0, ""),
        ("quiet", 0, ""),
    ],
)
def test_endings(kind, code, message):
    result = call("go", kind)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == bool(message)


@pytest.mark.parametrize(
    ("kind", "error"), [("bug", RuntimeError), ("value", ValueError), ("missing", FileNotFoundError)]
)
def test_a_bug_is_not_hidden(kind, error):
    assert type(call("go", kind).exception) is error


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["stpo"], "error: No such command 'stpo'. Did you mean 'stop'? See demo --help\n"),
        (["go"], "error: Missing argument 'kind'. See demo go --help\n"),
        (["go", "quiet", "--numbre", "1"], "error: No such option: --numbre (Possible options: --number) See"),
        (["go", "quiet", "--number", "x"], "error: Invalid value for '--number': "),
    ],
)
def test_wrong_usage_is_one_line_with_a_suggestion(args, message):
    result = call(*args)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_no_arguments_show_the_help_and_exit_2():
    result = call()
    assert result.exit_code == 2
    assert "Ends in the given way." in result.stdout
    assert result.stderr == ""
    assert call("--help").exit_code == call("-h").exit_code == call("stop", "-h").exit_code == 0


def test_version_is_the_distributions():
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
    os.kill(os.getpid(), signal.SIGINT)
def main(): run(app)
"""


def start(code: str, **named) -> subprocess.Popen:
    code = f"{SCRIPT}\nsys.argv[0] = 'demo'\n{code}"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_end_as_promised():
    pipe = start("sys.argv[1:] = ['many']; main()")
    bug = start("sys.argv[1:] = ['bug']; main()")
    interrupted = start("sys.argv[1:] = ['interrupted']; main()")
    for _ in range(3):
        pipe.stdout.readline()
    pipe.stdout.close()  # as `demo many | head -3`
    assert pipe.stderr.read() == ""
    assert pipe.wait() == 1
    _, stderr = bug.communicate()
    assert bug.returncode == 1
    assert stderr.startswith("Traceback")
    assert stderr.endswith("KeyError: 'the bug'\n")
    assert interrupted.communicate() == ("", "")
    assert interrupted.returncode == 130


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in [
        "img10.png",
        "img2.PNG",
        "b/img1.png",
        "b/c/img3.jpg",
        "note.txt",
        ".hidden.png",
        "._x.png",
        ".git/y.png",
    ]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*paths, **named) -> list[str]:
    return [str(path) for path in gather_inputs(paths, [".png", ".jpg"], **named)]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["."], ["img2.PNG", "img10.png"]),
        (["img10.png", "."], ["img10.png", "img2.PNG"]),
        (["img10.png", "./img10.png", "b/../img10.png"], ["img10.png"]),
        (["*.png"], ["img10.png"]),
        (["img*"], ["img2.PNG", "img10.png"]),
        (["b/**/*"], ["b/c/img3.jpg", "b/img1.png"]),
        (["note.txt"], ["note.txt"]),
        (["b", "img2.PNG", "*.PNG"], ["b/img1.png", "img2.PNG"]),
        ([], []),
    ],
)
def test_inputs(folder, paths, expected):
    assert names(*paths) == expected


def test_inputs_of_subfolders_and_absolute_paths(folder):
    assert names(".", recursive=True) == ["b/c/img3.jpg", "b/img1.png", "img2.PNG", "img10.png"]
    assert names(f"{folder}/b") == [f"{folder}/b/img1.png"]
    assert names(f"{folder}/*.PNG") == [f"{folder}/img2.PNG"]
    assert names(Path("img10.png")) == ["img10.png"]


def test_a_file_named_like_a_glob_is_a_file(folder):
    (folder / "a[1].png").touch()
    assert names("a[1].png") == ["a[1].png"]


def test_a_link_is_a_file_of_its_own(folder):
    (folder / "link.png").symlink_to(folder / "img10.png")
    assert names("link.png", "img10.png") == ["link.png", "img10.png"]


def test_inputs_from_standard_input(folder, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("img10.png\n\nb\r\n"))
    assert names("img2.PNG", "-") == ["img2.PNG", "img10.png", "b/img1.png"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no.png", "no.png: no such file or folder"),
        ("no/", "no/: no such file or folder"),
        ("*.gif", "*.gif: matches no .png, .jpg file"),
        ("b/c/d", "b/c/d: no such file or folder"),
        ("empty", "empty: the folder holds no .png, .jpg file (subfolders were not searched)"),
        ("", "an empty path was given"),
        ("x" * 300, "x" * 300 + ": no such file or folder"),
        ("a\0b", "a\0b: no such file or folder"),
    ],
)
def test_missing_inputs_are_named(folder, path, message):
    (folder / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        names("img10.png", path)
    assert str(caught.value) == message
    assert caught.value.exit_code == 1


def test_table_aligns_numbers_and_cuts_nothing_off(capsys):
    table([{"model": "a" * 90, "wF": 0.51234, "n": 3}, {"model": "[b]", "wF": None, "extra": "x"}], "Results", digits=3)
    out, err = capsys.readouterr()
    lines = [line.rstrip() for line in out.splitlines() if line.strip()]
    assert lines[0] == "Results"
    assert lines[1].split() == ["model", "wF", "n", "extra"]
    assert lines[3].split() == ["a" * 90, "0.512", "3", "-"]
    assert lines[4].split() == ["[b]", "-", "-", "x"]
    assert lines[3].index("0.512") + 4 == lines[4].index("-", 10), "numbers align at the right"
    assert err == ""


def test_json_is_one_valid_line(capsys):
    document = {
        "wF": np.float32(0.5),
        "nan": math.nan,
        "path": Path("ü\udcff"),
        1: (np.arange(2), {math.inf}),
        "none": None,
    }
    print_json(document)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert " " not in out
    assert json.loads(out) == {"wF": 0.5, "nan": None, "path": "ü\udcff", "1": [[0, 1], [None]], "none": None}


def test_notes_go_to_stderr_as_they_are(capsys):
    note("[bold]see[/bold] " + "x" * 200)
    assert capsys.readouterr() == ("", "[bold]see[/bold] " + "x" * 200 + "\n")


def test_only_the_main_process_speaks(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    note("x")
    print_json({})
    table([{"a": 1}])
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("RANK", "0")
    note("x")
    assert capsys.readouterr().err == "x\n"


def test_progress_is_silent_without_a_terminal(capsys):
    with progress("train", total=3) as bar:
        bar.advance(text="loss 1")
        print("data")
        note("a note")
    assert capsys.readouterr() == ("data\n", "a note\n")


def test_progress_draws_on_a_terminal(monkeypatch, capsys):
    from rich.console import Console

    drawn = io.StringIO()
    terminal = Console(file=drawn, force_terminal=True, width=100)
    monkeypatch.setattr(output, "err_console", terminal)
    with progress("train [1]", total=3) as bar:
        bar.advance(2, text="loss 0.31")
        print("data")
        bar.restart("epoch 2", total=5)
        bar.advance()
    assert "train [1]" in drawn.getvalue()
    assert "epoch 2" in drawn.getvalue()
    assert "1/5" in drawn.getvalue()
    assert capsys.readouterr().out == "data\n"


HEAP = """
import resource, runpy, sys, ctypes
print(runpy.run_path(sys.argv[1])["keep_heap"]())
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, (ctypes.c_size_t,), (ctypes.c_void_p,)
def once():
    block = libc.malloc(48 << 20); ctypes.memset(block, 1, 48 << 20); libc.free(block)
once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4): once()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def glibc() -> bool:
    return (
        sys.platform == "linux"
        and "CS_GNU_LIBC_VERSION" in os.confstr_names
        and bool(os.confstr("CS_GNU_LIBC_VERSION"))
    )


@pytest.mark.skipif(not glibc(), reason="only glibc hands the heap back")
def test_kept_heap_is_not_faulted_in_again():
    def faults(**env: str) -> list[str]:
        clean = {
            key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_", "POLYSCALE"))
        }
        command = [sys.executable, "-c", HEAP, heap.__file__]
        return subprocess.run(command, env=clean | env, capture_output=True, text=True, check=True).stdout.split()

    active, kept = faults()
    inactive, default = faults(POLYSCALE_KEEP_HEAP="0")
    assert (active, inactive) == ("True", "False")
    assert int(kept) < 100
    assert int(default) > 4 * 1000, "with transparent huge pages 48 MiB are at least a few thousand faults"


def test_heap_is_left_alone_where_asked_or_unknown(monkeypatch):
    monkeypatch.setenv("POLYSCALE_KEEP_HEAP", "1")
    for name, value in (("POLYSCALE_KEEP_HEAP", "0"), ("MALLOC_TOP_PAD_", "0"), ("GLIBC_TUNABLES", "glibc.malloc.x=1")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert keep_heap() is False
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_heap() is False
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "confstr", lambda name: raised(ValueError("unrecognized configuration name")))
    assert keep_heap() is False, "musl"


def test_public_names():
    assert {"application", "run", "gather_inputs", "keep_heap", "note", "progress", "table"} <= set(commands.__all__)
    assert all(hasattr(commands, name) for name in commands.__all__)
