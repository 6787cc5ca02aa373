"""The contract of `predict`, with and without torch."""

import csv
import io
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from polyscale.inference import precision
from polyscale.testing.apps.base import AppTests, Trained, break_weights
from polyscale.testing.command import Result, call, one_line, package_of

# the command as it is where only what prediction needs is installed
WITHOUT_TORCH = """
import runpy, sys
from polyscale.commands.application import TRAINING

for name in (*TRAINING, "onnx", "onnxscript", "sklearn", "faster_coco_eval", "peft"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""


class PredictionContract(AppTests):
    """Results come in order, in every form alike, from the shipped models too; a broken file ends nothing."""

    def test_predict_keeps_order_and_outlives_a_broken_file(self, trained: Trained, images: Path) -> None:
        files = [images / name for name in ("b.png", "c.jpg", "a.png")]
        result = self.predict(trained, *files, "--json")
        assert result.returncode == 1
        (error,) = result.errors
        assert "c.jpg" in error
        entries = [json.loads(line) for line in result.stdout.splitlines()]
        assert [Path(entry["file"]).name for entry in entries] == [file.name for file in files]
        assert ["error" in entry for entry in entries] == [False, True, False]
        assert self.predict(trained, files[0]).returncode == 0

    def test_predict_finds_sorts_and_limits(self, trained: Trained, images: Path) -> None:
        (images / "c.jpg").unlink()
        assert _names(self.predict(trained, images, "--json")) == ["a", "b", "img2", "img10"]
        assert _names(self.predict(trained, images, "--json", "--recursive")) == ["a", "b", "d", "img2", "img10"]
        files = [images / f"{name}.png" for name in ("img10", "b", "img2")]
        assert _names(self.predict(trained, *files, "--json", "--limit", 2)) == ["img10", "b"]
        by_name = self.predict(trained, *files, "--json", "--sort", "name", "--limit", 2, "--workers", 0)
        assert _names(by_name) == ["b", "img2"]

    def test_csv_and_json_agree(self, trained: Trained, images: Path, tmp_path: Path) -> None:
        entries = [json.loads(line) for line in self.predict(trained, images, "--json").stdout.splitlines()]
        to_stdout = self.predict(trained, images, "--csv", "-")
        rows = list(csv.DictReader(io.StringIO(to_stdout.stdout)))
        good = [entry for entry in entries if "error" not in entry]
        assert [row["name"] for row in rows] == [entry["name"] for entry in good]
        assert list(rows[0]) == list(good[0])
        self.predict(trained, images, "--csv", tmp_path / "made" / "rows.csv")
        assert (tmp_path / "made" / "rows.csv").read_text(encoding="utf-8") == to_stdout.stdout
        one_line(self.predict(trained, images / "a.png", "--csv", "-", "--json"), 2, "--csv")

    def test_json_writes_files_where_they_are_asked_for(self, trained: Trained, images: Path) -> None:
        before = set(Path().iterdir())
        lines = self.predict(trained, images / "a.png", "--json").stdout
        assert set(Path().iterdir()) == before
        assert self.predict(trained, images / "a.png", "--json", "--out", "asked", *self.files).stdout == lines
        assert all(file.name.startswith("a_") for file in Path("asked").iterdir())

    def test_inputs_and_outputs_are_refused_before_weights(
        self, trained: Trained, images: Path, tmp_path: Path
    ) -> None:
        words = (self.app, "predict", images / "a.png", "--model", break_weights(trained, tmp_path))
        one_line(call(*words), 1, "model.safetensors")
        one_line(call(*words[:2], images / "none.png", *words[3:]), 1, "none.png")
        (tmp_path / "file").touch()
        one_line(call(*words, "--csv", tmp_path / "file" / "a.csv"), 2, "is a file")

    def test_shipped_models_load_and_predict(self, images: Path) -> None:
        for name in self._shipped("config.json"):
            assert _names(call(self.app, "predict", images / "a.png", "--model", name, "--json")) == ["a"]

    def test_shipped_models_predict_without_torch_as_with_it(self, images: Path) -> None:
        names = self._shipped("model.onnx")
        if find_spec("onnxruntime") is None:
            pytest.skip("onnxruntime is not installed")
        for name in names:
            words = ("predict", images / "a.png", images / "b.png", "--model", name, "--json")
            wanted = call(self.app, *words, "--runtime", "torch", "--device", "cpu", "--precision", "fp32")
            for got in (call_without_torch(self.app, *words), call(self.app, *words, "--runtime", "onnx")):
                _agree(got, wanted)
        needed = call_without_torch(self.app, "train", "--out", "run")
        one_line(needed, 1, "which is not installed", f'pip install "polyscale-{self.app}[train]"')

    @pytest.mark.parametrize("bf16", [False, True])
    def test_results_depend_neither_on_threads_nor_on_the_processor(
        self, images: Path, monkeypatch: pytest.MonkeyPatch, bf16: bool
    ) -> None:
        before = torch.get_num_threads()
        words = ("predict", self.make_input(images), "--json", "--device", "cpu")
        for name in self._shipped("config.json"):
            found = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                with monkeypatch.context() as patch:
                    patch.setattr(precision, "cpu_gains_from_bf16", lambda: bf16)
                    found.append(call(self.app, *words, "--model", name))
            torch.set_num_threads(before)
            wanted = call(self.app, *words, "--model", name, "--precision", "fp32")
            for got in found:
                _agree(got, wanted)

    def _shipped(self, file: str) -> list[str]:
        """Names of the models that come with the application and have `file`; skips where there are none."""
        spec = find_spec(package_of(self.app))
        assert spec is not None
        assert spec.origin is not None
        found = sorted(path.parent.name for path in Path(spec.origin).parent.glob(f"weights/*/{file}"))
        if not found:
            pytest.skip(f"no {file} ships")
        return found


def call_without_torch(app: str, *arguments: object) -> Result:
    """Run a command in a process that finds neither torch nor anything else that the extra "train" brings."""
    words = [sys.executable, "-c", WITHOUT_TORCH, package_of(app), *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def _agree(got: Result, wanted: Result) -> None:
    """Assert that two runs of `predict --json` give the same: numbers to a thousandth, lists apart."""
    assert got.returncode == 0, got.stderr
    for one, other in zip(got.stdout.splitlines(), wanted.stdout.splitlines(), strict=True):
        values, expected = json.loads(one), json.loads(other)
        assert values.keys() == expected.keys()
        for key, value in expected.items():
            close = pytest.approx(value, rel=1e-3, abs=1e-3) if isinstance(value, float) else value
            assert isinstance(value, list) or values[key] == close, key


def _names(result: Result) -> list[str]:
    assert result.returncode == 0, result.stderr
    return [json.loads(line)["name"] for line in result.stdout.splitlines()]
