"""app-name as a user meets it: train, eval, predict, info; and what bad input gets."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from app_name.cli import app

TINY = ["--data.train_images", "96", "--data.eval_images", "8", "--model.image_size", "32", "--train.batch_size", "8"]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    result = call("train", "--out", out, *TINY, "--train.epochs", 3)
    assert result.exit_code == 0, result.output
    return out


def test_training_beats_the_baselines_and_eval_says_the_same(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["model"]["IoU"] > max(metrics[name]["IoU"] for name in metrics if name != "model")
    assert (trained / "report.html").stat().st_size > 1000
    assert json.loads(call("eval", trained, "--json").stdout)["model"] == pytest.approx(metrics["model"])


def test_resume_takes_no_other_settings(trained: Path) -> None:
    assert call("train", "--resume", trained).exit_code == 0
    refused = call("train", "--resume", trained, "--train.lr", "0.1")
    assert refused.exit_code == 2
    assert "leave the other options out" in refused.stderr


def test_predict_goes_on_after_a_broken_file(trained: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (90, 90, 90)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"not an image")
    result = call("predict", tmp_path, "--model", trained, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "b.png" in result.stderr
    assert Image.open(tmp_path / "out/a_mask.png").size == (40, 30)
    line = json.loads(call("predict", tmp_path / "a.png", "--model", trained, "--json").stdout)
    assert (line["width"], line["height"]) == (40, 30)


def test_wrong_settings_and_models_are_one_line(tmp_path: Path) -> None:
    for code, word, result in (
        (2, "train.lr", call("train", "--train.lr", "-1")),
        (2, "--split", call("eval", tmp_path, "--split", "all")),
        (1, "config.json", call("eval", tmp_path)),
    ):
        assert result.exit_code == code
        assert len(result.stderr.strip().splitlines()) == 1
        assert word in result.stderr


def test_info_counts() -> None:
    counted = json.loads(call("info", "--preset", "small", "--json").stdout)
    assert counted["parameters_M"] == pytest.approx(11.3, abs=0.3)
    assert counted["multiply_adds_G"] > 2
