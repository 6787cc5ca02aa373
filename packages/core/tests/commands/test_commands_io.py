"""What commands read and write: input lists, tables, JSON, notes, progress, and the kept heap."""

import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyscale.commands import gather_inputs, heap, keep_heap, note, print_json, progress, table
from polyscale.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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


def names(*paths: object, **named: Any) -> list[str]:
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
def test_inputs(folder: Path, paths: list[Any], expected: list[Any]) -> None:
    assert names(*paths) == expected


def test_inputs_of_subfolders_and_absolute_paths(folder: Path) -> None:
    assert names(".", recursive=True) == ["b/c/img3.jpg", "b/img1.png", "img2.PNG", "img10.png"]
    assert names(f"{folder}/b") == [f"{folder}/b/img1.png"]
    assert names(f"{folder}/*.PNG") == [f"{folder}/img2.PNG"]
    assert names(Path("img10.png")) == ["img10.png"]


def test_a_file_named_like_a_glob_is_a_file(folder: Path) -> None:
    (folder / "a[1].png").touch()
    assert names("a[1].png") == ["a[1].png"]


def test_a_link_is_a_file_of_its_own(folder: Path) -> None:
    (folder / "link.png").symlink_to(folder / "img10.png")
    assert names("link.png", "img10.png") == ["link.png", "img10.png"]


def test_inputs_from_standard_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("img10.png\n\nb\r\n"))
    assert names("img2.PNG", "-") == ["img2.PNG", "img10.png", "b/img1.png"]
    with pytest.raises(UserError, match="standard input names no file"):
        names("-")


def test_arguments_that_give_no_file_may_be_told_apart_from_the_others(folder: Path) -> None:
    refused = []
    assert names("no.png", "img10.png", "empty", "*.gif", refused=refused.append) == ["img10.png"]
    assert [str(error).partition(":")[0] for error in refused] == ["no.png", "empty", "*.gif"]
    assert names("no.png", refused=refused.append) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no.png", "no.png: no such file or folder"),
        ("no/", "no/: no such file or folder"),
        ("*.gif", "*.gif: matches no .jpg, .png file"),
        ("b/c/d", "b/c/d: no such file or folder"),
        ("empty", "empty: the folder holds no .jpg, .png file (subfolders were not searched)"),
        ("", "an empty path was given"),
        ("x" * 300, "x" * 300 + ": no such file or folder"),
        ("a\0b", "a\\x00b: no such file or folder"),
    ],
)
def test_missing_inputs_are_named(folder: Path, path: str, message: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        names("img10.png", path)
    assert str(caught.value) == message
    assert caught.value.exit_code == 1


def test_table_aligns_numbers_and_cuts_nothing_off(capsys: pytest.CaptureFixture[str]) -> None:
    table(
        [{"model": "a" * 90, "wF": 0.51234, "n": 3}, {"model": "[b]", "wF": None, "n": math.nan, "extra": "x"}],
        "Results",
        digits=3,
    )
    out, err = capsys.readouterr()
    lines = [line.rstrip() for line in out.splitlines() if line.strip()]
    assert lines[0] == "Results"
    assert lines[1].split() == ["model", "wF", "n", "extra"]
    assert lines[3].split() == ["a" * 90, "0.512", "3", "-"]
    assert lines[4].split() == ["[b]", "-", "-", "x"]
    assert lines[3].index("0.512") + 4 == lines[4].index("-", 10), "numbers align at the right"
    assert err == ""


def test_the_title_of_a_narrow_table_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    table([{"a": 1}], title="pairs/test, 14 images, epoch 2 of 2, chosen on val")
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == "pairs/test, 14 images, epoch 2 of 2, chosen on val"
    assert [line.strip() for line in lines[1:]] == ["a", "─", "1"]


def test_json_is_one_valid_line(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_notes_go_to_stderr_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    note("[bold]see[/bold] " + "x" * 200)
    assert capsys.readouterr() == ("", "[bold]see[/bold] " + "x" * 200 + "\n")


def test_only_the_main_process_speaks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    note("x")
    print_json({})
    table([{"a": 1}])
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("RANK", "0")
    note("x")
    assert capsys.readouterr().err == "x\n"


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("train", total=3) as bar:
        bar.advance(text="loss 1")
        print("data")
        note("a note")
    assert capsys.readouterr() == ("data\n", "a note\n")


def test_progress_draws_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    drawn = io.StringIO()
    terminal = Console(file=drawn, force_terminal=True, width=100)
    monkeypatch.setattr("polyscale.terminal.err_console", terminal)
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
def test_kept_heap_is_not_faulted_in_again() -> None:
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


def unknown_name(name: str) -> str:
    raise ValueError("unrecognized configuration name")


def test_heap_is_left_alone_where_asked_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCALE_KEEP_HEAP", "1")
    for name, value in (("POLYSCALE_KEEP_HEAP", "0"), ("MALLOC_TOP_PAD_", "0"), ("GLIBC_TUNABLES", "glibc.malloc.x=1")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert keep_heap() is False
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_heap() is False
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "confstr", unknown_name)
    assert keep_heap() is False, "musl"
