"""Names of strangers on a terminal, in a spreadsheet and in a pipe; an image or a list on standard input."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field
from typer.testing import CliRunner

from polyscale.commands import application, gather_inputs, note, print_json, progress, table
from polyscale.commands.config import config_command
from polyscale.commands.inputs import is_image, local_path
from polyscale.commands.output import check_targets, csv_writer
from polyscale.errors import UserError, printable
from polyscale.settings import Preset, Settings, configured, read_yaml, resolve
from polyscale.terminal import Terminal

EVIL = "a\x1b[31m\x9b2J\x07\r\nb\x00\u202egpj.\u2028\udcff.jpg"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF"


def raw(text: str) -> list[str]:
    """The characters of `text` that a terminal would obey, but for the ends of lines."""
    return [c for c in text if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u2028\udcff"]


def test_names_reach_the_terminal_in_printable_form(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    note(f"error: {EVIL}")
    table([{EVIL: EVIL, "score": 1.0}], title=EVIL)
    stream = io.StringIO()
    console = Terminal(file=stream, force_terminal=True, color_system=None)
    monkeypatch.setattr("polyscale.terminal.err_console", console)
    with progress(EVIL, 2) as bar:
        bar.advance(text=EVIL)
        bar.restart(EVIL, 3)
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert not raw(captured.out + captured.err)
    assert "\x1b[31m" not in stream.getvalue()
    assert "\x9b" not in stream.getvalue()
    print_json({"name": EVIL})
    line = capsys.readouterr().out
    assert not raw(line)
    assert json.loads(line) == {"name": EVIL}


def test_an_error_is_printable_and_one_line() -> None:
    app = application("some", "help", distribution="polyscale")

    @app.command()
    def fail() -> None:
        raise UserError(f"{EVIL}: no such file")

    @app.command()
    def other() -> None:
        raise OSError(13, "Permission denied", EVIL)

    for name in ("fail", "other", EVIL.replace("\0", "")):
        result = CliRunner().invoke(app, [name])
        assert result.exit_code in (1, 2)
        assert result.stderr.count("\n") == 1
        assert not raw(result.stderr)


def test_only_what_a_terminal_obeys_is_spelt_out() -> None:
    for text in ("plain", "日本 é ü", "👩‍👩‍👧", "a b"):
        assert printable(text) == text
    assert printable("a\nb\tc") == "a b c"
    assert printable("\x1b]0;t\x07") == "\\x1b]0;t\\x07"


def test_cells_that_a_spreadsheet_would_run_are_text(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.csv"
    with csv_writer(str(file)) as write:
        for name in ("=cmd|'/C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "a=b", "", EVIL):
            write({"name": name, "score": -0.5})
            assert file.read_bytes().endswith(b"\n")  # at once, whatever happens next
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as opened:
        rows = list(csv.reader(opened))
    assert [row[0][:2] for row in rows[1:6]] == ["'=", "'+", "'-", "'@", "'\t"]
    assert [row[0] for row in rows[6:]] == ["a=b", "", EVIL]
    assert {row[1] for row in rows[1:]} == {"-0.5"}


def test_lists_in_a_cell_are_json(tmp_path: Path) -> None:
    objects = [{"label": "é", "box": [1.5, 2]}]
    with csv_writer(str(tmp_path / "a.csv")) as write:
        write({"captions": ["it's"], "objects": objects})
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as opened:
        (row,) = csv.DictReader(opened)
    assert (json.loads(row["captions"]), json.loads(row["objects"])) == (["it's"], objects)
    assert "é" in row["objects"]


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    for target, message in (
        (tmp_path, "is a folder; name a file"),
        (tmp_path / "file" / "a.csv", "cannot be written: .*file is a file, not a folder"),
        (tmp_path / "link", "is one of the inputs and would be overwritten"),
        (tmp_path / "none" / ".." / "file", "is one of the inputs and would be overwritten"),
    ):
        with pytest.raises(UserError, match=message):
            check_targets([target], inputs=[tmp_path / "file", b"bytes"])
    with pytest.raises(UserError, match=r"a\.csv: would be written twice"):
        check_targets([tmp_path / "a.csv", tmp_path / "none" / ".." / "a.csv"])
    check_targets([tmp_path / "new" / "deep" / "a.csv"])
    assert not (tmp_path / "new").exists()


SCRIPT = """
import sys
from polyscale.commands import application, run, table, print_json, csv_writer
app = application("some", "help", distribution="polyscale")
@app.command()
def rows(kind: str):
    if kind == "table":
        many = len(sys.argv) > 3  # more than a pipe holds
        table([{"name": f"日本-é-{i}\\udcff" + "x" * 900 * many} for i in range(3000 if many else 3)])
    elif kind == "json":
        for i in range(200_000):
            print_json({"name": i})
    else:
        with csv_writer("-") as write:
            for i in range(200_000 if len(sys.argv) > 3 else 3):
                write({"name": f"日本-{i}\\udcff"})
@app.command()
def other(): pass
sys.argv = sys.argv[:3]
run(app)
"""


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
@pytest.mark.parametrize("kind", ["table", "csv"])
def test_any_encoding_takes_any_name(kind: str, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", SCRIPT, "rows", kind]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert ("日本" if encoding == "utf-8" else "\\u65e5").encode() in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
@pytest.mark.parametrize("kind", ["json", "csv"])
def test_a_reader_that_has_gone_ends_it_quietly(kind: str) -> None:
    command = [sys.executable, "-c", SCRIPT.replace("len(sys.argv) > 3", "True"), "rows", kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
def test_streams_that_are_closed_are_no_bug() -> None:
    command = f'{sys.executable} -c "$0" rows table >&- 2>&-'
    assert subprocess.run(["sh", "-c", command, SCRIPT], check=False).returncode == 0


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


@pytest.mark.parametrize(
    "content",
    [
        b"img1.jpg\nb.jpg\n",
        b"\xef\xbb\xbfimg1.jpg\nb.jpg",
        b"img1.jpg\r\nb.jpg\r\n\r\n",
        "img1.jpg\r\nb.jpg\r\n".encode("utf-16"),
        b"\nfile:///FOLDER/img1.jpg\nb.jpg\n",
    ],
)
def test_a_list_on_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("img1.jpg", "b.jpg"):
        (tmp_path / name).touch()
    stdin(monkeypatch, content.replace(b"/FOLDER", tmp_path.as_posix().encode()))
    assert [Path(str(file)).name for file in gather_inputs(["-"], [".jpg"])] == ["img1.jpg", "b.jpg"]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names there are Unicode")
def test_names_that_are_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / os.fsdecode(b"caf\xe9 \x0b\x1c.jpg")).touch()
    stdin(monkeypatch, b"caf\xe9 \x0b\x1c.jpg\n")
    assert [os.fsencode(str(file)) for file in gather_inputs(["-"], [".jpg"])] == [b"caf\xe9 \x0b\x1c.jpg"]


def test_an_image_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, JPEG)
    assert gather_inputs(["-"], [".jpg"]) == [JPEG]
    images = [b"\x89PNG\r\n\x1a\n\x00", b"GIF89a", b"BM6\x00", b"II*\x00", b"MM\x00*", b"RIFF\x00\x00\x00\x00WEBP"]
    assert all(map(is_image, [*images, b"P5\n2 2\n255\nabcd", b"\x00\x00\x00 ftypavif"]))
    assert not any(map(is_image, [b"BMW.jpg\n", b"P5.jpg", b"RIFF.jpg", b"", b"\xe9.jpg", b"II.tif", b"P5 x.jpg"]))
    for content in (b"", b"\n \n", b"\xef\xbb\xbf"):
        stdin(monkeypatch, content)
        with pytest.raises(UserError, match="standard input names no file"):
            gather_inputs(["-"], [".jpg"])


def test_urls_of_local_files() -> None:
    assert local_path("file:///a%20b.jpg") == "/a b.jpg"
    assert local_path("file://localhost/a.jpg") == "/a.jpg"
    assert local_path("file:x.jpg") == "file:x.jpg"
    for url in ("https://x/a.jpg", "file://server/a.jpg", "s3://a/b", "http://[::1"):
        with pytest.raises(UserError, match=r"only local files|is no URL"):
            local_path(url)


def test_folders_as_people_have_them(tmp_path: Path) -> None:
    for name in ("a.jpg", "sub/b.jpg", "@eaDir/c.jpg", ".ipynb_checkpoints/d.jpg", "._a.jpg", "e.cr2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub/loop").symlink_to(tmp_path, target_is_directory=True)
    notes: list[str] = []
    for what in (tmp_path, tmp_path / "**" / "*.jpg"):
        files = gather_inputs([what], [".jpg"], recursive=True, noted=notes.append)
        assert [Path(str(file)).name for file in files] == ["a.jpg", "b.jpg"]
    assert len(notes) == 1
    assert "e.cr2" in notes[0]


class Model(Settings):
    """The network."""

    width: int = Field(8, ge=1)
    """Channels."""


class Optim(Settings):
    lr: float = 0.1
    """Learning rate."""


class Tree(Settings):
    seed: int = 0
    """Of everything random."""
    model: Model = Model()
    optim: Optim = Optim()


def test_config_prints_what_train_would_use(tmp_path: Path) -> None:
    app = application("some", "help", distribution="polyscale")
    presets = {"small": Preset({"model": {"width": 4}}, "small")}
    app.command()(config_command(Tree, presets, "small"))

    @app.command()
    @configured(Tree, presets, "small", sections=("model",))
    def info(config: Tree) -> None:
        print_json(config.model.width)

    done = CliRunner().invoke(app, ["config", "--optim.lr", "0.5"])
    assert done.exit_code == 0
    assert "# Channels. (>= 1)\n  width: 4\n" in done.stdout
    (tmp_path / "c.yaml").write_text(done.stdout, encoding="utf-8")
    assert resolve(Tree, file=tmp_path / "c.yaml") == Tree(model=Model(width=4), optim=Optim(lr=0.5))
    assert "polyscale" in read_yaml(tmp_path / "c.yaml")
    document = json.loads(CliRunner().invoke(app, ["config", "--schema"]).stdout)
    assert document["$defs"]["Model"]["properties"]["width"]["description"] == "Channels."
    usage = CliRunner().invoke(app, ["info", "--help"], env={"COLUMNS": "200"}).stdout
    assert "--model.width" in usage
    assert "--optim" not in usage
    assert CliRunner().invoke(app, ["info", "--model.width", "7"]).stdout == "7\n"
    assert CliRunner().invoke(app, ["info", "--optim.lr", "7"]).exit_code == 2
