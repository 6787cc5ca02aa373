"""`camo-seg export`: one scale and three, any size and batch; the command's files are found again by predict."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from camo_seg.export import export_onnx
from camo_seg.model.network import CamoSegmenter
from camo_seg.predict import Predictor
from polyscale.errors import UserError
from polyscale.inference import export
from polyscale.testing.command import call, one_line

pytestmark = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < export.MIN_TORCH
    or not all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra export is not installed",
)


def small(**changes: Any) -> CamoSegmenter:
    torch.manual_seed(0)
    network = CamoSegmenter(**{"backbone": "test_resnet", "width": 8, "image_size": 64, "scales": (1.0,), **changes})
    with torch.no_grad():  # fresh weights find nothing anywhere
        if not changes.get("experts"):
            network.decoder.head.weight.mul_(50)
    return network


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with a model.onnx that the command wrote."""
    folder = tmp_path_factory.mktemp("saved")
    small().save_pretrained(folder)
    result = call("camo-seg", "export", folder)
    assert result.returncode == 0, result.stderr
    assert f"made {folder / 'model.onnx'}" in result.stderr
    return folder


@pytest.mark.parametrize("size", [None, 96])
def test_both_runtimes_find_the_same(saved: Path, size: int | None) -> None:
    sources = [noise(40, 70), noise(150, 64), noise(1, 1)]
    wanted = Predictor(saved, "cpu", "fp32", size=size, runtime="torch")(sources)
    for model in (saved, saved / "model.onnx"):
        for one, other in zip(Predictor(model, size=size, runtime="onnx")(sources), wanted, strict=True):
            assert one.probability.shape == other.probability.shape
            np.testing.assert_allclose(one.probability, other.probability, atol=1e-4)
    assert max(np.ptp(result.probability) for result in wanted) > 0.01


def test_predict_takes_the_file_and_refuses_what_it_cannot_do(saved: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(noise(40, 50)).save(tmp_path / "a.png")
    words = ("predict", tmp_path / "a.png", "--out", tmp_path / "out", "--model")
    assert call("camo-seg", *words, saved / "model.onnx").returncode == 0
    assert len(list((tmp_path / "out").iterdir())) == 3
    one_line(call("camo-seg", *words, saved / "model.onnx", "--device", "cuda"), 2, "onnxruntime predicts on cpu")
    one_line(call("camo-seg", *words, saved / "model.onnx", "--runtime", "torch"), 1, "ONNX file")
    one_line(call("camo-seg", *words, tmp_path / "none.onnx"), 1, "none.onnx: no such file")
    (tmp_path / "text.onnx").write_text("no model")
    one_line(call("camo-seg", *words, tmp_path / "text.onnx"), 1, "text.onnx: cannot be read as an ONNX file")
    small().save_pretrained(tmp_path / "other")
    one_line(call("camo-seg", *words, tmp_path / "other", "--runtime", "onnx"), 1, "`camo-seg export ")


def test_several_scales_of_one_size(tmp_path: Path) -> None:
    """Of any size too, but tracing symbols through three scales takes minutes."""
    network = small(scales=(0.5, 1.0, 1.5)).eval()
    file = export_onnx(network, tmp_path / "a.onnx", fixed_size=True)
    sources = [noise(40, 70), noise(64, 64), noise(90, 80)]
    wanted = Predictor(network, "cpu", "fp32")(sources)
    for one, other in zip(Predictor(file)(sources), wanted, strict=True):
        np.testing.assert_allclose(one.probability, other.probability, atol=1e-4)
    with pytest.raises(UserError, match="takes 64 x 64 pixels only, given 96 x 96"):
        Predictor(file, size=96)(noise(9, 9))


@pytest.mark.parametrize(
    ("changes", "fixed_size"),
    [({"experts": 3}, False), ({"experts": 2, "scales": (1.0, 1.5), "fusion": "window"}, True)],
)
def test_experts_and_a_window(changes: dict[str, Any], fixed_size: bool, tmp_path: Path) -> None:
    """The file runs every expert; the network those that were chosen, and images of one batch go to different ones."""
    network = small(**changes).eval()
    with torch.no_grad():
        for expert in network.decoder.experts:
            expert.join[0].weight.mul_(20)
        network.decoder.router.layers[-1].weight.mul_(20)
    file = export_onnx(network, tmp_path / "a.onnx", fixed_size=fixed_size)
    sources = [noise(40, 70), noise(64, 64) // 3, np.full((9, 9, 3), 200, np.uint8)]
    wanted = Predictor(network, "cpu", "fp32")(sources)
    for one, other in zip(Predictor(file)(sources), wanted, strict=True):
        np.testing.assert_allclose(one.probability, other.probability, atol=1e-4)
    assert max(np.ptp(result.probability) for result in wanted) > 0.01
