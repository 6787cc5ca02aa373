"""The contract of `train` and `eval`."""

import csv
import json
import math
import multiprocessing
import shutil
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from polyscale.testing.apps.base import AppTests, Killed, Trained, count_steps, read_json, read_metrics
from polyscale.testing.command import call, one_line
from polyscale.testing.ranks import run_ranks
from polyscale.training import read_journal


class TrainingContract(AppTests):
    """A run says what it wrote, is evaluated alike by everyone, and stops, resumes and ends bit-equal."""

    def test_train_writes_what_it_names(self, trained: Trained) -> None:
        assert f"next: {self.app} predict {self.inputs} --model {trained.out}" in trained.result.stderr
        assert self.metric in trained.result.stdout
        table = f"{self.unit}s.csv"
        for name in ("config.yaml", "log.jsonl", "metrics.json", table, "report.html", "last/config.json"):
            assert (trained.out / name).stat().st_size > 0, name
        metrics = read_metrics(trained.out)
        assert math.isfinite(metrics["model"][self.metric])
        assert isinstance(metrics["model"].get(f"{self.unit}s", 0), int)  # a count is no 5.0
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
        want = read_metrics(trained.out)
        got = read_json(call(self.app, "eval", trained.out, "--json"))
        assert got.pop("provenance")["weights"] == str(trained.out)
        assert got == want
        best = read_json(call(self.app, "eval", trained.out / "best", "--json"))
        assert best["model"] == want["model"]

    def test_eval_of_last_uses_the_data_of_its_run(self, trained: Trained) -> None:
        last = read_json(call(self.app, "eval", trained.out / "last", "--json"))
        assert last["baselines"] == read_metrics(trained.out)["baselines"]

    def test_eval_by_one_reader_on_the_cpu_gives_the_same_numbers(
        self, trained: Trained, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        readers: list[int] = []

        class Counted(ThreadPoolExecutor):
            def __init__(self, max_workers: int, **named: Any) -> None:
                readers.append(max_workers)
                super().__init__(max_workers, **named)

        monkeypatch.setattr("polyscale.data.prefetch.ThreadPoolExecutor", Counted)
        got = read_json(call(self.app, "eval", trained.out, "--json", "--device", "cpu", "--workers", "1"))
        assert 1 in readers
        del got["provenance"]
        assert got == read_metrics(trained.out)
        one_line(call(self.app, "eval", trained.out, "--device", "nowhere"), 2, "device: 'nowhere' is none of auto")

    @pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
    def test_two_processes_evaluate_as_one(self, trained: Trained, tmp_path: Path) -> None:
        run_ranks(_evaluate_as_rank, 2, self.app, trained.out, tmp_path / "two")()
        assert read_metrics(tmp_path / "two") == read_metrics(trained.out)

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
        one = read_json(call(self.app, "eval", out, "--json"))
        assert one["model"] == read_metrics(out)["model"]

    @pytest.mark.parametrize("by_signal", [True, False], ids=["SIGTERM", "killed"])
    def test_stopped_in_an_epoch_and_resumed_ends_bit_equal(
        self, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_signal: bool
    ) -> None:
        out = tmp_path / "run"
        with monkeypatch.context() as patch:
            count_steps(patch, stop_at=trained.steps // 2 + 1, by_signal=by_signal)
            try:
                result = call(self.app, "train", "--out", out, *trained.options)
            except Killed:
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
        assert read_metrics(out) == read_metrics(trained.out)

    def test_a_finished_run_is_only_evaluated_again(self, trained: Trained) -> None:
        before = read_metrics(trained.out)
        result = call(self.app, "train", "--resume", trained.out, "--json")
        assert result.returncode == 0, result.stderr
        assert "trained to its end already" in result.stderr
        assert read_metrics(trained.out) == before
        assert {"run": str(trained.out), "model": before["model"]}.items() <= read_json(result).items()
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
        page = Page((trained.out / "report.html").read_text(encoding="utf-8"))
        made = json.loads((trained.out / "metrics.json").read_text(encoding="utf-8"))["provenance"]
        for word in (made["date"][:10], made["weights"], made["version"], self.metric):
            assert word in page.text, word
        assert all(source.startswith("data:image/") for source in page.sources)


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


def _log(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in read_journal(folder / "log.jsonl")]


class Page(HTMLParser):
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
