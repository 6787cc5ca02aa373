"""The contract of the other commands, and of what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from polyscale.testing.apps.base import AppTests, Trained, break_weights, read_json
from polyscale.testing.command import call, one_line, package_of

HELP_WITHOUT_TORCH = """
import runpy, sys
from importlib import import_module
from typer.main import get_command
from typer.testing import CliRunner

package = sys.argv[1]
app = import_module(f"{package}.cli").app

def commands(group, words=()):
    yield words
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*words, name))

for words in commands(get_command(app)):
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0 and "Usage" in result.stdout, (words, result.output)
assert {"train", "eval", "predict", "info", "data", "config"} <= set(get_command(app).commands)
slow = {"torch", "torchvision", "timm", "transformers", "accelerate", "scipy", "sklearn", "onnxruntime", "PIL"}
heavy = slow & set(sys.modules)
assert not heavy, heavy
sys.argv = [package, "--version"]
runpy.run_module(package, run_name="__main__")
"""


class CommandContract(AppTests):
    """Help needs no torch, settings can be printed and used, and what is wrong is one line."""

    def test_data_and_info_answer_in_json(self, data: Path | None) -> None:
        splits = read_json(call(self.app, "data", data or "synthetic", "--json"))["splits"]
        assert [row["split"] for row in splits] == ["train", "val", "test"]
        assert all(row["images"] > 0 for row in splits)
        assert read_json(call(self.app, "info", "--json"))

    def test_config_prints_settings_that_can_be_used(self, tmp_path: Path) -> None:
        printed = call(self.app, "config", "--preset", "nano", "--train.epochs", "7")
        assert printed.returncode == 0, printed.stderr
        (tmp_path / "c.yaml").write_text(printed.stdout, encoding="utf-8")
        again = call(self.app, "config", "-c", tmp_path / "c.yaml")
        assert again.stdout == printed.stdout
        assert "epochs: 7" in printed.stdout
        assert read_json(call(self.app, "config", "--schema"))["properties"].keys() >= {"data", "model", "train"}

    def test_wrong_settings_are_one_line(self, tmp_path: Path) -> None:
        one_line(call(self.app, "train", "--train.lr", "-1"), 2, "train.lr", "greater than 0")
        one_line(call(self.app, "train", "--train.lrr", "1"), 2, "--train.lr")
        one_line(call(self.app, "train", "--model.backbone", "resnet18_"), 1, "resnet18_", "did you mean")
        (tmp_path / "c.yaml").write_text("modle:\n  width: 8\n", encoding="utf-8")
        one_line(call(self.app, "train", "-c", tmp_path / "c.yaml"), 2, "c.yaml", "modle", "model")
        one_line(call(self.app, "train", "--data.path", tmp_path / "nowhere", *self.tiny), 1, "nowhere")
        assert not Path("runs").exists()  # what cannot start leaves nothing behind

    def test_wrong_models_are_one_line(self, trained: Trained, images: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        one_line(call(self.app, "eval", tmp_path / "empty"), 1, "empty", "config.json")
        one_line(call(self.app, "eval", tmp_path / "none"), 1, "none")
        one_line(call(self.app, "predict", images / "a.png", "--model", tmp_path / "none"), 1, "none")
        one_line(self.predict(trained, images / "none.png"), 1, "none.png")
        one_line(call(self.app, "eval", trained.out, "--split", "all_of_it"), 2, "all_of_it")
        (tmp_path / "file").touch()
        one_line(call(self.app, "eval", trained.out, "--out", tmp_path / "file"), 2, "file")
        broken = shutil.copytree(trained.out / "best", tmp_path / "broken")
        (broken / "model.safetensors").write_bytes(b"\0" * 100)
        one_line(call(self.app, "eval", broken), 1, "model.safetensors")

    def test_data_are_refused_before_weights(self, trained: Trained, tmp_path: Path) -> None:
        broken = break_weights(trained, tmp_path)
        one_line(call(self.app, "eval", broken), 1, "model.safetensors")
        one_line(call(self.app, "eval", broken, "--data", tmp_path / "nowhere"), 1, "nowhere")
        one_line(call(self.app, "eval", broken, "--split", "all_of_it"), 2, "all_of_it")
        if not torch.cuda.is_available():
            one_line(call(self.app, "eval", broken, "--precision", "fp16"), 2, "fp16")
        if self.start:
            words = (self.start, broken, "--data.path", tmp_path / "nowhere")
            one_line(call(self.app, "train", *words), 1, "nowhere")

    def test_broken_images_of_a_data_set_are_named(self, data: Path | None, tmp_path: Path) -> None:
        if data is None:
            pytest.skip("the synthetic set has no files")
        copy = shutil.copytree(data, tmp_path / "copy")
        checked = call(self.app, "data", "check", copy)
        assert checked.returncode == 0, checked.stdout
        files = [file for file in copy.rglob("*") if file.suffix in (".png", ".jpg")]
        for file in files:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        checked = call(self.app, "data", "check", copy, "--json")
        assert checked.returncode == 1, checked.stderr
        errors = [finding for finding in json.loads(checked.stdout) if finding["level"] == "error"]
        assert any(file.name in str(errors) for file in files)
        one_line(call(self.app, "data", "check", "synthetic"), 2, "there is nothing to check")
        result = call(self.app, "train", "--data.path", copy, "--out", tmp_path / "run", *self.tiny)
        assert result.returncode == 1
        (error,) = result.errors
        assert any(file.name in error for file in files), error

    def test_help_needs_no_torch(self) -> None:
        command = [sys.executable, "-c", HELP_WITHOUT_TORCH, package_of(self.app)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{self.app} ")
