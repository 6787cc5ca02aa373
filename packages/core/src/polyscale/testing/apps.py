"""The contract that every application keeps, as one test class to inherit (needs pytest).

    class TestZebraCount(AppContract):
        app = "zebra-count"
        metric = "IoU"
        tiny = ("--data.train_images", "16", "--model.image_size", "32", "--train.epochs", "2")

One training of a few seconds is shared by the tests of a class. Commands run in this process, in a folder of their own,
with one thread, and none of them may open a connection.
"""

import csv
import io
import json
import math
import multiprocessing
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from polyscale.testing.command import Result, call, one_line, package_of
from polyscale.testing.ranks import run_ranks
from polyscale.training import Run, read_journal

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

# the command as it is where only what prediction needs is installed
WITHOUT_TORCH = """
import runpy, sys
from polyscale.commands.application import TRAINING

for name in (*TRAINING, "onnx", "onnxscript", "sklearn"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, the options it was trained with, how `train` ended, and its steps of backward."""

    out: Path
    options: tuple[object, ...]
    result: Result
    steps: int


class AppContract:
    """Inherit as `class TestX(AppContract)`.

    Attributes a subclass sets:
        app: the command.
        metric: the metric that chooses the epoch and the best baseline.
        tiny: options of a `train` that takes seconds, two epochs of at least two steps.
        inputs: what `predict` takes, as `train` calls it.
        unit: what a sample of an evaluation is.
    """

    app: ClassVar[str]
    metric: ClassVar[str]
    tiny: ClassVar[Sequence[str]]
    inputs: ClassVar[str] = "IMAGES"
    unit: ClassVar[str] = "image"

    # what a subclass may give

    def make_data(self, folder: Path) -> Path | None:
        """Write a miniature data set into `folder` and return its path; None trains on the synthetic set."""
        return None

    def make_image(self, path: Path, seed: int = 0) -> None:
        """Write an image that the application can predict."""
        noise = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((50 + seed, 40), Image.Resampling.BICUBIC).save(path)

    # fixtures

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _one_thread(cls) -> Iterator[None]:
        """Numbers that are compared to the last bit are computed with one thread everywhere."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)

    @pytest.fixture(autouse=True)
    def _own_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tmp_path_factory: pytest.TempPathFactory) -> Path | None:
        """The folder that `make_data` filled."""
        return cls().make_data(tmp_path_factory.mktemp("data"))

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, data: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
        """The training that the tests share."""
        out = tmp_path_factory.mktemp("runs") / "a"
        options = (*(() if data is None else ("--data.path", data)), *cls.tiny)
        with pytest.MonkeyPatch.context() as patch:
            steps = _count_steps(patch)
            result = call(cls.app, "train", "--out", out, *options)
        assert result.returncode == 0, result.stderr
        return Trained(out, options, result, len(steps))

    @pytest.fixture
    def images(self, tmp_path: Path) -> Path:
        """A folder with b.png, c.jpg (broken), a.png, img10.png, img2.png and deep/d.png."""
        folder = tmp_path / "images"
        (folder / "deep").mkdir(parents=True)
        for seed, name in enumerate(("b", "a", "img10", "img2", "deep/d")):
            self.make_image(folder / f"{name}.png", seed)
        (folder / "c.jpg").write_bytes(b"not an image")
        return folder

    def predict(self, trained: Trained, *arguments: object) -> Result:
        """Call `predict` with the shared model."""
        return call(self.app, "predict", *arguments, "--model", trained.out)

    # the contract: train and eval

    def test_train_writes_what_it_names(self, trained: Trained) -> None:
        assert f"next: {self.app} predict {self.inputs} --model {trained.out}" in trained.result.stderr
        assert self.metric in trained.result.stdout
        table = f"{self.unit}s.csv"
        for name in ("config.yaml", "log.jsonl", "metrics.json", table, "report.html", "last/config.json"):
            assert (trained.out / name).stat().st_size > 0, name
        metrics = _metrics(trained.out)
        assert math.isfinite(metrics["model"][self.metric])
        gain = metrics["difference"]
        best = metrics["baselines"][gain["baseline"]][self.metric]
        assert gain["value"] == pytest.approx(metrics["model"][self.metric] - best)
        assert gain["low"] <= gain["value"] <= gain["high"]
        with (trained.out / table).open(newline="", encoding="utf-8") as file:
            names = [row["name"] for row in csv.DictReader(file)]
        assert names
        assert len(set(names)) == len(names)
        validations = [r for r in read_journal(trained.out / "log.jsonl") if r["kind"] == "validation"]
        assert [r["epoch"] for r in validations] == list(range(len(validations)))
        assert all(math.isfinite(r[self.metric]) for r in validations)

    def test_eval_repeats_the_numbers_of_train(self, trained: Trained) -> None:
        want = _metrics(trained.out)
        got = _json(call(self.app, "eval", trained.out, "--json"))
        assert got.pop("provenance")["weights"] == str(trained.out)
        assert got == want
        best = _json(call(self.app, "eval", trained.out / "best", "--json"))
        assert best["model"] == want["model"]

    def test_eval_of_last_uses_the_data_of_its_run(self, trained: Trained) -> None:
        last = _json(call(self.app, "eval", trained.out / "last", "--json"))
        assert last["baselines"] == _metrics(trained.out)["baselines"]

    @pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
    def test_two_processes_evaluate_as_one(self, trained: Trained, tmp_path: Path) -> None:
        run_ranks(_evaluate_as_rank, 2, self.app, trained.out, tmp_path / "two")()
        assert _metrics(tmp_path / "two") == _metrics(trained.out)

    @pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
    def test_two_processes_train_and_evaluate_as_one(self, trained: Trained, tmp_path: Path) -> None:
        out = tmp_path / "two"
        run_ranks(_call_as_rank, 2, tmp_path, (self.app, "train", "--out", out, *trained.options))()
        texts = [(tmp_path / f"{rank}.json").read_text(encoding="utf-8") for rank in range(2)]
        assert [json.loads(text)["errors"] for text in texts] == [[], []]
        assert json.loads(texts[1])["stdout"] == ""  # the main process alone speaks
        for folder in (out / "checkpoints").iterdir():
            assert json.loads((folder / "state.json").read_text(encoding="utf-8"))["processes"] == 2
            assert {file.name for file in folder.glob("rank-*")} == {"rank-0.safetensors", "rank-1.safetensors"}
        one = _json(call(self.app, "eval", out, "--json"))
        assert one["model"] == _metrics(out)["model"]

    @pytest.mark.parametrize("by_signal", [True, False], ids=["SIGTERM", "killed"])
    def test_stopped_in_an_epoch_and_resumed_ends_bit_equal(
        self, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_signal: bool
    ) -> None:
        out = tmp_path / "run"
        with monkeypatch.context() as patch:
            _count_steps(patch, stop_at=trained.steps // 2 + 1, by_signal=by_signal)
            try:
                result = call(self.app, "train", "--out", out, *trained.options)
            except _Killed:
                assert not by_signal
            else:
                assert result.returncode == 143, result.stderr
                assert f"--resume {out}" in result.stderr
        assert not (out / "metrics.json").exists()
        resumed = call(self.app, "train", "--resume", out)
        assert resumed.returncode == 0, resumed.stderr
        for name in ("best", "last"):
            weights = [(run / name / "model.safetensors").read_bytes() for run in (out, trained.out)]
            assert weights[0] == weights[1], name
        assert _log(out) == _log(trained.out)
        assert _metrics(out) == _metrics(trained.out)

    def test_a_finished_run_is_only_evaluated_again(self, trained: Trained) -> None:
        before = _metrics(trained.out)
        result = call(self.app, "train", "--resume", trained.out, "--json")
        assert result.returncode == 0, result.stderr
        assert "trained to its end already" in result.stderr
        assert _metrics(trained.out) == before
        assert {"run": str(trained.out), "model": before["model"]}.items() <= _json(result).items()
        one_line(call(self.app, "train", "--resume", trained.out, "--train.lr", "0.1"), 2, "leave the other options")

    def test_a_finished_run_may_train_longer(self, trained: Trained, tmp_path: Path) -> None:
        run = shutil.copytree(trained.out, tmp_path / "longer")
        result = call(self.app, "train", "--resume", run, "--train.epochs", 3)
        assert result.returncode == 0, result.stderr
        assert "training for 3 epochs, not 2" in result.stderr
        validations = [record["epoch"] for record in read_journal(run / "log.jsonl") if record["kind"] == "validation"]
        assert validations == [0, 1, 2]
        assert "trained to its end already" in call(self.app, "train", "--resume", run).stderr

    def test_the_report_opens_and_says_what_made_it(self, trained: Trained) -> None:
        page = _Page((trained.out / "report.html").read_text(encoding="utf-8"))
        made = json.loads((trained.out / "metrics.json").read_text(encoding="utf-8"))["provenance"]
        for word in (made["date"][:10], made["weights"], made["version"], self.metric):
            assert word in page.text, word
        assert all(source.startswith("data:image/") for source in page.sources)

    # predict

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
            for got in (self._without_torch(*words), call(self.app, *words, "--runtime", "onnx")):
                assert got.returncode == 0, got.stderr
                for one, other in zip(got.stdout.splitlines(), wanted.stdout.splitlines(), strict=True):
                    values, expected = json.loads(one), json.loads(other)
                    assert values.keys() == expected.keys()
                    for key, value in expected.items():
                        close = pytest.approx(value, rel=1e-3, abs=1e-3) if isinstance(value, float) else value
                        assert isinstance(value, list) or values[key] == close, key
        needed = self._without_torch("train", "--out", "run")
        one_line(needed, 1, "which is not installed", f'pip install "polyscale-{self.app}[train]"')

    def _shipped(self, file: str) -> list[str]:
        """Names of the models that come with the application and have `file`; skips where there are none."""
        spec = find_spec(package_of(self.app))
        assert spec is not None
        assert spec.origin is not None
        found = sorted(path.parent.name for path in Path(spec.origin).parent.glob(f"weights/*/{file}"))
        if not found:
            pytest.skip(f"no {file} ships")
        return found

    def _without_torch(self, *arguments: object) -> Result:
        """Run the command in a process that finds neither torch nor anything else beyond the extra "predict"."""
        words = [sys.executable, "-c", WITHOUT_TORCH, package_of(self.app), *map(str, arguments)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    # everything else

    def test_data_and_info_answer_in_json(self, data: Path | None) -> None:
        splits = _json(call(self.app, "data", data or "synthetic", "--json"))["splits"]
        assert [row["split"] for row in splits] == ["train", "val", "test"]
        assert all(row["images"] > 0 for row in splits)
        assert _json(call(self.app, "info", "--json"))

    def test_config_prints_settings_that_can_be_used(self, tmp_path: Path) -> None:
        printed = call(self.app, "config", "--preset", "nano", "--train.epochs", "7")
        assert printed.returncode == 0, printed.stderr
        (tmp_path / "c.yaml").write_text(printed.stdout, encoding="utf-8")
        again = call(self.app, "config", "-c", tmp_path / "c.yaml")
        assert again.stdout == printed.stdout
        assert "epochs: 7" in printed.stdout
        assert _json(call(self.app, "config", "--schema"))["properties"].keys() >= {"data", "model", "train"}

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

    def test_broken_images_of_a_data_set_are_named(self, data: Path | None, tmp_path: Path) -> None:
        if data is None:
            pytest.skip("the synthetic set has no files")
        copy = shutil.copytree(data, tmp_path / "copy")
        files = [file for file in copy.rglob("*") if file.suffix in (".png", ".jpg")]
        for file in files:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        result = call(self.app, "train", "--data.path", copy, "--out", tmp_path / "run", *self.tiny)
        assert result.returncode == 1
        (error,) = result.errors
        assert any(file.name in error for file in files), error

    def test_help_needs_no_torch(self) -> None:
        command = [sys.executable, "-c", HELP_WITHOUT_TORCH, package_of(self.app)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{self.app} ")


class _Killed(BaseException):
    """Stands for a kill: nothing of the application catches it."""


def _count_steps(patch: pytest.MonkeyPatch, stop_at: int = 0, by_signal: bool = True) -> list[int]:
    """Count the calls of Run.backward; before the call `stop_at`, send SIGTERM to this process or raise _Killed."""
    steps: list[int] = []
    backward = Run.backward

    def counted(run: Run, *arguments: Any, **named: Any) -> None:
        steps.append(len(steps) + 1)
        if steps[-1] == stop_at:
            if not by_signal:
                raise _Killed
            signal.raise_signal(signal.SIGTERM)
        backward(run, *arguments, **named)

    patch.setattr(Run, "backward", counted)
    return steps


def _evaluate_as_rank(app: str, run: Path, out: Path, rank: int) -> None:
    from accelerate import PartialState

    result = call(app, "eval", run, "--out", out)
    assert result.returncode == 0, result.stderr
    assert (PartialState().process_index, PartialState().num_processes) == (rank, 2)


def _call_as_rank(folder: Path, words: tuple[object, ...], rank: int) -> None:
    result = call(*words)  # type: ignore[arg-type]
    ended = {"stdout": result.stdout, "errors": result.errors}
    (folder / f"{rank}.json").write_text(json.dumps(ended), encoding="utf-8")
    assert result.returncode == 0, result.stderr


def _json(result: Result) -> Any:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def _names(result: Result) -> list[str]:
    assert result.returncode == 0, result.stderr
    return [json.loads(line)["name"] for line in result.stdout.splitlines()]


def _metrics(folder: Path) -> dict[str, Any]:
    """metrics.json without what differs between two evaluations of one model: date, seconds, place."""
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    del metrics["provenance"]
    return metrics


def _log(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in read_journal(folder / "log.jsonl")]


class _Page(HTMLParser):
    """The text and the image sources of a page whose tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.sources = "", list[str]()
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)
        self.sources += [value or "" for key, value in attrs if key == "src"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Self-closed: nothing stays open."""

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
