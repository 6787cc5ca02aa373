"""`info MODEL`: the card of saved models and of ONNX files, by torch or without it, and one line for what is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from polyscale.commands.card import show_card
from polyscale.errors import UserError
from polyscale.models import find


def field(number: int, content: bytes) -> bytes:
    """A field of bytes in protobuf."""
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def onnx_file(path: Path, **metadata: str) -> Path:
    """A file with metadata alone, which is field 14 of a model."""
    path.write_bytes(b"".join(field(14, field(1, k.encode()) + field(2, v.encode())) for k, v in metadata.items()))
    return path


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    folder = tmp_path / "weights" / "nano"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"about": {"data": "drawn"}}))
    (folder / "README.md").write_text("# nano\n\nIs \x1b[31mred.\n")
    return folder.parent


def test_a_saved_model_has_a_card_and_what_was_recorded(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model in ("nano", str(shipped / "nano")):
        show_card(model, shipped, as_json=False)
        assert capsys.readouterr().out == "# nano\n\nIs \\x1b[31mred.\n"  # a terminal obeys nothing in it
        show_card(model, shipped, as_json=True)
        assert json.loads(capsys.readouterr().out) == {"data": "drawn"}


def test_an_onnx_file_brings_its_card_along(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(onnx_file(tmp_path / "mine.onnx", card="# mine\n", input_size="64"))
    show_card(file, tmp_path, as_json=False)
    assert capsys.readouterr().out == "# mine\n"
    show_card(file, tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"input_size": 64}


def test_what_has_no_card_or_cannot_be_read_is_one_line(shipped: Path, tmp_path: Path) -> None:
    bare = onnx_file(tmp_path / "bare.onnx", input_size="64")
    (shipped / "nano" / "README.md").unlink()
    for model in ("nano", str(bare)):
        with pytest.raises(UserError, match="this model has no card"):
            show_card(model, shipped, as_json=False)
    (tmp_path / "broken.onnx").write_bytes(b"\xff" * 20)
    (shipped / "nano" / "config.json").write_text("{")
    for model, message in (
        (str(tmp_path / "none.onnx"), "no such file"),
        (str(tmp_path / "broken.onnx"), "cannot be read as an ONNX file"),
        ("nano", "cannot be read as the configuration of a saved model"),
        ("small", "no such model"),
    ):
        with pytest.raises(UserError, match=message):
            show_card(model, shipped, as_json=True)


def test_where_a_folder_is_needed_an_onnx_file_is_called_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.onnx: is an ONNX file, which predict runs"):
        find(onnx_file(tmp_path / "mine.onnx", input_size="64"))


@pytest.mark.parametrize("package", ["camo_seg", "iqa"])
def test_it_needs_no_torch(package: str) -> None:
    pytest.importorskip(package)
    code = (
        "import runpy, sys; sys.argv = ['x', 'info', 'nano']\n"
        f"try: runpy.run_module({package!r}, run_name='__main__')\n"
        "finally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "False"
