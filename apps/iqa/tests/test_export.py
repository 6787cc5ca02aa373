"""`iqa export`: the same scores and spreads as the model at any size, and predict finds the command's files."""

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from iqa.model.network import QualityNet
from iqa.predict import Predictor
from polyscale.inference import export
from polyscale.testing.command import call, one_line

needs_export = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < export.MIN_TORCH
    or not all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra export is not installed",
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with a model.onnx that the command wrote."""
    folder = tmp_path_factory.mktemp("saved")
    torch.manual_seed(0)
    network = QualityNet("test_resnet", drop_path=0.0, image_size=160)
    with torch.no_grad():  # fresh weights judge far outside the range
        network.hyper.last_weight.weight.mul_(0.05)
        network.hyper.last_bias.bias.fill_(0.5)
    network.save_pretrained(folder)
    result = call("iqa", "export", folder)
    assert result.returncode == 0, result.stderr
    assert f"made {folder / 'model.onnx'}" in result.stderr
    return folder


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@needs_export
def test_both_runtimes_score_alike(saved: Path) -> None:
    sources = [noise(40, 70), noise(33, 200), noise(400, 300), noise(128, 128), noise(1, 1), noise(40, 70)]
    wanted = Predictor(saved, "cpu", runtime="torch")
    assert np.ptp([result.score for result in wanted(sources)]) > 1
    for model in (saved, saved / "model.onnx"):
        predictor = Predictor(model, runtime="onnx")
        assert predictor.score_range == wanted.score_range
        for one, other in zip(predictor(sources), wanted(sources), strict=True):
            assert one.score == pytest.approx(other.score, abs=0.01)
            assert one.spread == pytest.approx(other.spread, abs=0.01)
        np.testing.assert_allclose(predictor.map(sources[2]), wanted.map(sources[2]), atol=0.01)


@needs_export
def test_predict_and_compare_take_the_file(saved: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.fromarray(noise(40, 50 + ord(name))).save(tmp_path / f"{name}.png")
    file = saved / "model.onnx"
    entry = json.loads(call("iqa", "predict", tmp_path / "a.png", "--model", file, "--json").stdout)
    assert (entry["name"], entry["low"], entry["high"]) == ("a", 0, 100)
    both = call("iqa", "compare", tmp_path / "a.png", tmp_path / "b.png", "--model", file, "--json")
    assert both.returncode == 0, both.stderr
    one_line(call("iqa", "predict", tmp_path / "a.png", "--model", file, "--precision", "bf16"), 2, "has fp32")


@pytest.mark.parametrize(("backbone", "said"), [("swin_tiny_x", "longer than half an hour"), ("a", "a minute or more")])
def test_the_time_of_a_swin_backbone_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], backbone: str, said: str
) -> None:
    """With timm's blocks the export of Swin-T was not finished after 25 minutes."""
    from iqa.cli.export import export as command

    network = SimpleNamespace(arguments={"backbone": backbone}, low=0, high=100, input_size=384)
    monkeypatch.setattr(QualityNet, "from_pretrained", lambda _: network)
    monkeypatch.setattr("polyscale.models.sources.find", lambda *_, **__: tmp_path)
    monkeypatch.setattr("polyscale.models.find", lambda *_, **__: tmp_path, raising=False)
    monkeypatch.setattr("iqa.export.export_onnx", lambda _, file, **__: file.write_bytes(b""))
    command("x", tmp_path / "a.onnx")
    assert said in capsys.readouterr().err.splitlines()[0]
