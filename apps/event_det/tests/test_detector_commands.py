"""event-det train, eval, info, bench and export as a user meets them."""

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from event_sets import write_tiny_set

from event_det import write_recording
from event_det.data.synthetic import CAMERA, SIZE
from event_det.simulation import film, make_scene
from polyscale.testing.apps import AppContract, Trained
from polyscale.testing.apps.base import break_weights
from polyscale.testing.command import call, one_line


class TestCommands(AppContract):
    app = "event-det"
    metric = "AP"
    inputs = "RECORDING"
    unit = "frame"
    lacking: ClassVar = {
        "predict --csv": "the boxes are --out FILE.csv",
        "predict --sort": "windows come in the order of time",
        "predict --recursive": "a recording is predicted at a time",
        "predict --workers": "a recording is decoded block after block",
    }
    words: ClassVar = {
        "predict --out": "File to write, may be repeated: boxes",
        "predict --batch-size": "Windows per forward pass",
        "eval --batch-size": "Recordings per forward pass",
        "eval --workers": "Threads that read ahead. HDF5",
        "eval --out": "Folder for metrics.json, frames.csv and report.html.",
    }
    start = "--model.weights"
    tiny = (
        *("--data.dataset", "gen1", "--data.length", "3", "--data.sampling", "mixed"),
        *("--model.width", "8", "--model.head", "8"),
        *("--train.batch_size", "4", "--train.epochs", "2", "--train.log_every", "1", "--train.lr", "0.01"),
        *("--train.eval_every", "1"),
    )

    def make_data(self, folder: Path) -> Path:
        """Recordings in which a bright square moves: 3 to train, 2 to validate, 2 to test."""
        write_tiny_set(folder)
        return folder

    def make_input(self, images: Path) -> Path:
        """A recording of 1 s."""
        filmed = film(make_scene(9_000_000, SIZE, 1_000_000), CAMERA, 9_000_000)
        write_recording(images / "a.raw", [filmed.events], SIZE[::-1])
        return images / "a.raw"

    # predict has recordings, and tests of its own

    @pytest.mark.skip("predict takes recordings")
    def test_predict_keeps_order_and_outlives_a_broken_file(self, trained: Trained, images: Path) -> None: ...

    @pytest.mark.skip("predict takes recordings")
    def test_predict_finds_sorts_and_limits(self, trained: Trained, images: Path) -> None: ...

    @pytest.mark.skip("predict takes recordings")
    def test_csv_and_json_agree(self, trained: Trained, images: Path, tmp_path: Path) -> None: ...

    @pytest.mark.skip("predict takes recordings: test_predict.py")
    def test_json_writes_files_where_they_are_asked_for(self, trained: Trained, images: Path) -> None: ...

    def test_inputs_and_outputs_are_refused_before_weights(
        self, trained: Trained, images: Path, tmp_path: Path
    ) -> None:
        recording = tmp_path / "a.npy"
        np.save(recording, np.array([[1, 2, 3, 0], [9, 2, 3, 1]]))
        words = (self.app, "predict", recording, "--sensor", "304x240", "--model", break_weights(trained, tmp_path))
        one_line(call(*words), 1, "model.safetensors")
        one_line(call(*words[:2], tmp_path / "none.npy", *words[3:]), 1, "none.npy")
        one_line(call(*words, "--out", tmp_path / "a.txt"), 2, "a.txt")
        one_line(call(*words, "--start", "1e12"), 2, "is not a time")

    @pytest.mark.skip("predict takes recordings: test_shipped.py")
    def test_shipped_models_load_and_predict(self, images: Path) -> None: ...

    def test_data_and_info_answer_in_json(self, data: Path | None) -> None:
        rows = json.loads(call(self.app, "info", "--preset", "base", "--json").stdout)
        assert [row["part"] for row in rows] == ["backbone", "pyramid", "head", "all"]
        assert rows[-1]["parameters_M"] == pytest.approx(18.536, abs=5e-4)
        assert rows[-1]["multiply_adds_G"] == pytest.approx(5.26, rel=0.02)
        assert rows[-1]["state_MiB"] == pytest.approx(4.69, abs=0.01)
        one_line(call(self.app, "info", "--size", "304"), 2, "--size", "304x240")

    def test_wrong_settings_are_one_line(self, tmp_path: Path) -> None:
        one_line(call(self.app, "train", "--train.lr", "-1"), 2, "train.lr", "greater than 0")
        one_line(call(self.app, "train", "--train.lrr", "1"), 2, "--train.lr")
        one_line(call(self.app, "train", "--model.levels", "5"), 2, "model.levels", "3", "4")
        one_line(call(self.app, "train", "--data.path", tmp_path / "nowhere", *self.tiny), 1, "nowhere")
        assert not Path("runs").exists()

    def test_settings_that_do_not_fit_are_one_line(self, data: Path, tmp_path: Path) -> None:
        options = ("--data.path", data, *self.tiny)
        one_line(
            call(self.app, "train", *options, "--out", tmp_path / "a", "--model.head", "5"), 2, "model.head: 5", "8"
        )
        one_line(
            call(self.app, "train", *options, "--out", tmp_path / "b", "--model.weights", "no"), 1, "no such model"
        )

    def test_wrong_models_are_one_line(self, trained: Trained, images: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        one_line(call(self.app, "eval", tmp_path / "empty"), 1, "empty", "config.json")
        one_line(call(self.app, "eval", tmp_path / "none"), 1, "none")
        one_line(call(self.app, "eval", tmp_path / "none.ckpt"), 1, "none.ckpt", "no such file")
        one_line(call(self.app, "eval", trained.out, "--split", "all_of_it"), 2, "all_of_it")
        (tmp_path / "file").touch()
        one_line(call(self.app, "eval", trained.out, "--out", tmp_path / "file"), 2, "file")
        broken = shutil.copytree(trained.out / "best", tmp_path / "broken")
        (broken / "model.safetensors").write_bytes(b"\0" * 100)
        one_line(call(self.app, "eval", broken), 1, "model.safetensors")

    def test_broken_images_of_a_data_set_are_named(self, data: Path | None, tmp_path: Path) -> None:
        assert data is not None
        copy = shutil.copytree(data, tmp_path / "copy")
        for file in copy.rglob("*.h5"):
            file.write_bytes(file.read_bytes()[:200])
        result = call(self.app, "train", "--data.path", copy, "--out", tmp_path / "run", *self.tiny)
        assert result.returncode == 1
        (error,) = result.errors
        assert "event_representations.h5" in error

    # what is its own

    def test_train_scores_the_baselines_and_draws_frames(self, trained: Trained) -> None:
        metrics = json.loads((trained.out / "metrics.json").read_text())
        assert set(metrics["baselines"]) == {"no box", "usual boxes", "blobs", "blobs held"}
        assert metrics["baselines"]["no box"]["AP"] == 0
        assert {row["subset"] for row in metrics["subsets"]} == {"0 to 1 s", "1 to 2 s"}
        assert "ms" in metrics["provenance"]["step"]
        assert len(list((trained.out / "frames").glob("*.png"))) == 6

    def test_eval_by_other_protocols(self, trained: Trained) -> None:
        def frames(*options: str) -> dict[str, Any]:
            result = call(self.app, "eval", trained.out, "--no-baselines", "--json", *options)
            shown = json.loads(result.stdout)
            rankings.append(shown["provenance"]["ranking"])
            return shown["model"]

        rankings: list[str] = []
        field, every = frames(), frames("--protocol", "coco", "--ranking", "product")
        assert rankings == ["class", "product"]  # class: a set with published tables
        assert every["frames"] > field["frames"]  # those of the first half second
        assert every["boxes"] > field["boxes"]
        one_line(call(self.app, "eval", trained.out, "--dataset", "gen4"), 1, "classes", "two-wheeler")

    def test_bench_times_each_part(self, trained: Trained) -> None:
        result = call(self.app, "bench", trained.out, "--repeats", "3", "--events", "500", "--json")
        rows = {row["part"]: row for row in json.loads(result.stdout)}
        assert list(rows) == ["histogram", "backbone", "pyramid", "head", "boxes", "step"]
        assert all(row["p95_ms"] >= row["p50_ms"] > 0 for row in rows.values())
        assert rows["step"]["p50_ms"] > rows["backbone"]["p50_ms"]

    def test_a_model_goes_on_from_another(self, trained: Trained, data: Path, tmp_path: Path) -> None:
        options = ("--data.path", data, *self.tiny, "--train.max_steps", "1", "--model.weights", trained.out)
        attention = ("--model.enable_small_object_attention", "--train.lr", "1e-9")
        result = call(self.app, "train", *options, *attention, "--out", tmp_path / "run", "--json")
        assert result.returncode == 0, result.stderr
        before = json.loads((trained.out / "metrics.json").read_text())["model"]["AP"]
        assert json.loads(result.stdout)["model"]["AP"] == pytest.approx(before, abs=0.02)


def test_the_settings_of_size_aware_losses_and_levels_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tiny_set(tmp_path / "set")
    options = (
        *("--data.path", tmp_path / "set", *TestCommands.tiny, "--data.sampling", "random", "--train.max_steps", "1"),
        *("--model.levels", "4", "--loss.size_aware", "normalised", "--loss.box", "giou"),
        "--no-model.recurrent",
    )
    result = call("event-det", "train", *options, "--json")
    assert result.returncode == 0, result.stderr
    assert np.isfinite(json.loads(result.stdout)["model"]["AP"])
