"""ONNX: the same scores and spreads as the model at any size, and no file where they are not."""

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from iqa import export
from iqa.export import adaptive_mean, export_onnx
from iqa.features import spatial as statistics
from iqa.features import traces
from iqa.features.patterns import BlockFrequencies, binary_patterns
from iqa.model.network import QualityNet
from polyscale.errors import UserError
from polyscale.inference import session


class Pooled(nn.Module):
    """A stand-in with what makes export hard: ceil-mode pools, adaptive pools of any size, weights per image."""

    low, high, input_size = 0.0, 100.0, 512

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.write = nn.Linear(8, 8 * 9)

    def score_with_spread(self, images: torch.Tensor) -> tuple[Any, ...]:
        stage = self.first(F.avg_pool2d(images, 2, ceil_mode=True)).relu()
        grid = F.adaptive_avg_pool2d(stage, 3).flatten(2)
        last = self.second(stage).relu()
        weights = self.write(F.adaptive_avg_pool2d(last, 1).flatten(1)).view(-1, 8, 9)
        scores = (50 + 200 * (grid * weights).sum((1, 2))).clamp(self.low, self.high)
        return scores, 5 + grid.std((1, 2))


@pytest.mark.parametrize(("size", "cells"), [((7, 7), 7), ((9, 4), 2), ((13, 29), 8), ((2, 3), 7), ((5, 1), 1)])
def test_pools_as_matrix_products(size: tuple[int, ...], cells: int) -> None:
    x = torch.rand(2, 3, *size)
    torch.testing.assert_close(adaptive_mean(x, [cells, cells]), F.adaptive_avg_pool2d(x, cells))


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(UserError, match=r'export needs onnx: pip install "polyscale-iqa\[onnx\]"'):
        export_onnx(Pooled(), tmp_path / "a.onnx")


def test_an_old_torch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_onnx()
    monkeypatch.setattr(torch, "__version__", "2.7.1+cpu")
    with pytest.raises(UserError, match=r"export needs torch 2.8 or newer, this is 2.7.1"):
        export_onnx(Pooled(), tmp_path / "a.onnx")


def needs_onnx() -> None:
    if tuple(map(int, torch.__version__.split(".")[:2])) < export.MIN_TORCH:
        pytest.skip("torch is too old to export")
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    if find_spec("onnxruntime") is None:  # never imported without the switch for its telemetry
        pytest.skip("onnxruntime is not installed")


def test_equal_to_the_model_at_any_size_or_no_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_onnx()
    model = Pooled()
    path = export_onnx(model, tmp_path / "new" / "a.onnx")
    runner = session(path)
    for shape in ((1, 3, 32, 32), (4, 3, 97, 400), (2, 3, 512, 511)):
        image = torch.rand(shape, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            expected = model.score_with_spread(image)
        for wanted, got in zip(expected, runner.run(["score", "spread"], {"image": image.numpy()}), strict=True):
            assert got.shape == (shape[0],)
            assert np.ptp(got) > 0 or shape[0] == 1
            np.testing.assert_allclose(got, wanted, atol=1e-4)
    about = runner.get_modelmeta().custom_metadata_map
    assert {key: json.loads(value) for key, value in about.items()} == {
        "low": 0.0, "high": 100.0, "input_size": 512, "lower_better": False,
    }  # fmt: skip
    assert capfd.readouterr().out == ""
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    monkeypatch.setattr(export, "_traced", lambda _: __import__("onnx").load(path))
    with pytest.raises(UserError, match="at 120 x 151 pixels the ONNX file's scores differ from the model's"):
        export_onnx(model, tmp_path / "b.onnx")
    assert not (tmp_path / "b.onnx").exists()


class Measured(nn.Module):
    """Of the scene statistics what has to find its places anew at every size."""

    low, high, input_size = 0.0, 100.0, 512

    def __init__(self) -> None:
        super().__init__()
        self.frequencies = BlockFrequencies()

    def score_with_spread(self, images: torch.Tensor) -> tuple[Any, ...]:
        luma = images.mean(1, keepdim=True)
        parts = [statistics._noise(luma), statistics._blocks(luma), binary_patterns(luma), traces._seams(luma)]
        numbers = torch.cat([*parts, self.frequencies(luma), traces._tone_curve(images)], 1)
        return numbers.mean(1), numbers.std(1)


def test_statistics_of_any_size(tmp_path: Path) -> None:
    needs_onnx()
    export_onnx(Measured(), tmp_path / "a.onnx")  # which compares file and model at sizes that it was not traced at


def test_the_network_itself_of_any_size(tmp_path: Path) -> None:
    """Its backbone rounds sizes up and pads what is small: 90 pixels, shrunk 4 times, are 23."""
    needs_onnx()
    torch.manual_seed(0)
    model = QualityNet("test_resnet", shrink=4)
    export_onnx(model, tmp_path / "a.onnx")
    images = export._images((2, 3, 90, 90))
    with torch.no_grad():
        wanted = model.score_with_spread(images)
    got = session(tmp_path / "a.onnx").run(None, {"image": images.numpy()})
    for a, b in zip(wanted, got, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-3)


class OneSize(Pooled):
    def score_with_spread(self, images: torch.Tensor) -> tuple[Any, ...]:
        grid = (images * torch.ones(200, 264)).mean((1, 2, 3))
        return grid, grid


def test_a_network_of_one_size_is_refused(tmp_path: Path) -> None:
    needs_onnx()
    with pytest.raises(UserError, match="the network cannot be written as ONNX for every size"):
        export_onnx(OneSize(), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("backbone", "said"), [("swin_tiny_x", "longer than half an hour"), ("a", "a few minutes")])
def test_the_time_of_a_swin_backbone_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], backbone: str, said: str
) -> None:
    """With timm's blocks the export of Swin-T was not finished after 25 minutes, after "a few minutes" was printed."""
    from iqa.cli.export import export as command

    network = SimpleNamespace(arguments={"backbone": backbone}, low=0, high=100, input_size=384)
    monkeypatch.setattr(QualityNet, "from_pretrained", lambda _: network)
    monkeypatch.setattr(export, "export_onnx", lambda *_: None)
    command("x", tmp_path / "a.onnx")
    assert said in capsys.readouterr().err.splitlines()[0]
