"""ONNX: the outputs of the module at any size, half the bytes where nothing is lost, no file where they differ."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn

from polyscale.blocks.scales.transforms import match_size
from polyscale.errors import UserError
from polyscale.inference import export
from polyscale.inference.export import adaptive_maximum, adaptive_mean, export_onnx
from polyscale.inference.network import export_target, find_exported, resolve_runtime
from polyscale.inference.onnx import session
from polyscale.inference.onnx_network import OnnxNetwork
from polyscale.inference.torch_network import Exportable, TorchNetwork
from polyscale.models.weights import Pretrained

needs_export = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < export.MIN_TORCH
    or not all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra export is not installed",
)


class Small(Pretrained):
    """What makes export hard: pools in ceil mode, pools to sizes that follow from the image, weights per image."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, 2, 1)
        self.write = nn.Linear(width, width * 9)
        with torch.no_grad():  # as a shipped model: what float16 holds exactly
            for parameter in self.parameters():
                parameter.copy_(parameter.half())


class Outputs(Exportable):
    outputs = ("score", "map")
    span = 100.0

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        net = self.network
        stage = net.norm(net.first(F.avg_pool2d(image, 2, ceil_mode=True))).relu()
        grid = F.adaptive_avg_pool2d(stage, 3).flatten(2)
        last = net.second(stage).relu()
        weights = net.write(F.adaptive_avg_pool2d(last, 1).flatten(1)).view(-1, 8, 9)
        smaller = match_size(stage, (last.shape[-2], last.shape[-1]))
        return (50 + 200 * (grid * weights).sum((1, 2))).clamp(0, 100), (last + smaller).mean(1, keepdim=True)


@pytest.mark.parametrize(("size", "cells"), [((7, 7), 7), ((9, 4), 2), ((13, 29), 8), ((2, 3), 7), ((5, 1), 1)])
def test_pools_as_products_and_gathered_windows(size: tuple[int, ...], cells: int) -> None:
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(adaptive_mean(x, [cells, cells]), F.adaptive_avg_pool2d(x, cells))
    assert torch.equal(adaptive_maximum(x, [cells, 2]), F.adaptive_max_pool2d(x, (cells, 2)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with its model.onnx."""
    folder = tmp_path_factory.mktemp("saved")
    network = Small().eval()
    network.save_pretrained(folder)
    (folder / "README.md").write_text("# A card\n", encoding="utf-8")
    return export_onnx(Outputs(network, {"low": 0, "high": 100}), folder / "model.onnx", program="iqa", source=folder)


def kind() -> str:
    return f"{Small.__module__.split('.')[0]}.Small"


@needs_export
def test_both_runtimes_agree_at_any_size(saved: Path) -> None:
    network = OnnxNetwork(saved, kind(), "cpu", threads=1)
    reference = TorchNetwork(lambda: Outputs(Small.from_pretrained(saved.parent), {}), "cpu", "fp32")
    rng = np.random.default_rng(0)
    for shape in ((1, 3, 32, 32), (4, 3, 97, 400), (2, 3, 256, 255)):
        images = rng.integers(0, 256, shape, dtype=np.uint8)
        wanted, got = reference(images), network(images)
        assert list(got) == ["score", "map"]
        for name in got:
            assert got[name].dtype == np.float32
            assert got[name].shape == wanted[name].shape
            np.testing.assert_allclose(got[name], wanted[name], atol=1e-3)
        assert np.ptp(got["map"]) > 0.01


@needs_export
def test_the_file_says_what_it_is_and_nothing_of_this_machine(saved: Path) -> None:
    import onnx

    about = OnnxNetwork(saved, kind()).about
    assert about["class"] == kind()
    assert {key: about[key] for key in ("low", "high", "format", "card")} == {
        "low": 0, "high": 100, "format": 1, "card": "# A card\n",
    }  # fmt: skip
    content = saved.read_bytes()
    for path in (Path(__file__).parents[4], Path(torch.__file__).parents[1]):
        assert str(path).encode() not in content
    model = onnx.load(str(saved))
    onnx.checker.check_model(model)
    assert [(entry.domain, entry.version) for entry in model.opset_import if entry.domain == ""] == [("", export.OPSET)]
    assert {node.domain for node in model.graph.node} <= {""}
    assert {d.dim_param != "" for i in model.graph.input for d in (*i.type.tensor_type.shape.dim[:1],)} == {True}


@needs_export
def test_only_what_float16_holds_exactly_is_stored_so(saved: Path, tmp_path: Path) -> None:
    network = Small().eval()
    with torch.no_grad():
        network.write.weight += 1e-6
    whole = export_onnx(Outputs(network, {}), tmp_path / "whole.onnx", program="iqa")
    numbers = network.write.weight.numel()
    assert whole.stat().st_size - saved.stat().st_size == pytest.approx(2 * numbers, abs=700)  # and a card, a cast


@needs_export
def test_a_file_whose_numbers_differ_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: Path) -> None:
    monkeypatch.setattr(export, "EXPORT_TOLERANCE", -1.0)
    monkeypatch.setattr(export, "_traced", lambda *_: __import__("onnx").load(str(saved)))
    with pytest.raises(UserError, match="at 120 x 151 pixels the ONNX file's outputs differ from the network's"):
        export_onnx(Outputs(Small(), {}), tmp_path / "b.onnx", program="iqa")
    assert not list(tmp_path.iterdir())


class OneSize(Exportable):
    outputs = ("score",)

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return ((image * torch.ones(image.shape[-1] if image.shape[-1] == 64 else 200, 64)).mean((1, 2, 3)),)


@needs_export
def test_a_network_of_one_size(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the network cannot be written as ONNX for every size"):
        export_onnx(OneSize(Small(), {}), tmp_path / "a.onnx", program="iqa")
    assert not list(tmp_path.iterdir())
    network = OnnxNetwork(export_onnx(OneSize(Small(), {}), tmp_path / "a.onnx", program="iqa", size=(64, 64)), kind())
    assert network(np.full((3, 3, 64, 64), 255, np.uint8))["score"].tolist() == [1, 1, 1]
    with pytest.raises(UserError, match=r"a\.onnx: takes 64 x 64 pixels only, given 32 x 64"):
        network(np.zeros((1, 3, 32, 64), np.uint8))


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(UserError, match=r'export needs onnx: pip install "polyscale-iqa\[export\]"'):
        export_onnx(Outputs(Small(), {}), tmp_path / "a.onnx", program="iqa")


@needs_export
def test_an_old_torch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.7.1+cpu")
    with pytest.raises(UserError, match=r"export needs torch 2.8 or newer, this is 2.7.1"):
        export_onnx(Outputs(Small(), {}), tmp_path / "a.onnx", program="iqa")


def rewritten(saved: Path, target: Path, **changes: Any) -> Path:
    """The file with other metadata; None leaves an entry out."""
    import onnx

    model = onnx.load(str(saved))
    about = {entry.key: json.loads(entry.value) for entry in model.metadata_props} | changes
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {k: json.dumps(v) for k, v in about.items() if v is not None})
    target.write_bytes(model.SerializeToString())
    return target


@needs_export
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"class": None}, r"a\.onnx: is no model that `\w+ export` wrote"),
        ({"class": "camo_seg.CamoSegmenter"}, r"a\.onnx: holds a camo_seg\.CamoSegmenter, not a \w+\.Small"),
        ({"format": 2, "polyscale": "0.9"}, r"format 2 was written by 0\.9; this is .*: upgrade polyscale"),
        ({"format": "1"}, "is no model that"),
        ({"outputs": []}, "names no outputs"),
        ({"outputs": ["score", "other"]}, "its inputs and outputs are not those of"),
    ],
)
def test_files_of_others_are_one_line(saved: Path, tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        OnnxNetwork(rewritten(saved, tmp_path / "a.onnx", **changes), kind())


@needs_export
def test_a_file_older_than_the_weights_beside_it_is_refused(saved: Path, tmp_path: Path) -> None:
    other = Small()
    with torch.no_grad():
        other.write.bias += 1
    other.save_pretrained(tmp_path)
    (tmp_path / "model.onnx").write_bytes(saved.read_bytes())
    with pytest.raises(
        UserError, match=r"model\.onnx: was not made from the model\.safetensors beside it; write it again"
    ):
        OnnxNetwork(tmp_path / "model.onnx", kind())


@needs_export
def test_devices_and_precisions_of_onnxruntime(saved: Path) -> None:
    for options, says in (
        ({"device": "cuda"}, "device: onnxruntime predicts on cpu, not cuda"),
        ({"precision": "bf16"}, "precision: an ONNX file has fp32, not bf16"),
    ):
        with pytest.raises(UserError, match=says) as caught:
            OnnxNetwork(saved, kind(), **options)  # type: ignore[arg-type]
        assert caught.value.exit_code == 2


def test_which_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Identity()
    assert [resolve_runtime(m, "auto", "iqa") for m in ("nano", "a/b.ONNX", module)] == ["torch", "onnx", "torch"]
    assert resolve_runtime("nano", "onnx", "iqa") == "onnx"
    for model, runtime, says in (
        ("nano", "tensorrt", "'tensorrt' is none of auto, torch, onnx"),
        ("a.onnx", "torch", r"a\.onnx is an ONNX file, which torch does not run"),
        (module, "onnx", "the model is a torch module, which onnx does not run"),
    ):
        with pytest.raises(UserError, match=says):
            resolve_runtime(model, runtime, "iqa")
    monkeypatch.setattr("polyscale.inference.network.find_spec", lambda _: None)
    assert resolve_runtime("nano", "auto", "iqa") == "onnx"
    with pytest.raises(UserError, match=r'torch is not installed: pip install "polyscale-iqa\[train\]"'):
        resolve_runtime("nano", "torch", "iqa")


def test_where_files_are_found_and_written(tmp_path: Path) -> None:
    best = tmp_path / "run" / "best"
    best.mkdir(parents=True)
    (best / "config.json").touch()
    with pytest.raises(UserError, match=r"model\.onnx: no such file; write it with `iqa export .*run`") as caught:
        find_exported(tmp_path / "run", tmp_path, "iqa")
    assert 'pip install "polyscale-iqa[train]"' in str(caught.value)
    (best / "model.onnx").touch()
    assert find_exported(tmp_path / "run", tmp_path, "iqa") == best / "model.onnx"
    assert find_exported("x/some.onnx", tmp_path, "iqa") == Path("x/some.onnx")
    assert export_target(tmp_path / "run", best) == best / "model.onnx"
    assert [export_target(name, best) for name in ("nano", "owner/name")] == [Path("nano.onnx"), Path("name.onnx")]
    assert export_target("nano", best, Path("Mine.ONNX")) == Path("Mine.ONNX")
    with pytest.raises(UserError, match=r"mine: name a file that ends in \.onnx") as refused:
        export_target("nano", best, Path("mine"))  # predict would not know it
    assert refused.value.exit_code == 2


@needs_export
def test_padding_as_tensorflow_does_it(tmp_path: Path) -> None:
    """Odd and even sides are padded differently; the file does so at sizes that it was not traced at."""

    class Padded(Pretrained):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.wide, self.deep = Conv2dSame(3, 8, 3, 2), Conv2dSame(8, 4, 5, 2, groups=4)

    class Means(Exportable):
        outputs = ("map", "mean")

        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            found = self.network.deep(self.network.wide(image).relu())
            return found, found.mean((1, 2, 3))

    network = Padded().eval()
    own = Conv2dSame.forward
    file = export_onnx(Means(network, {}), tmp_path / "model.onnx", program="iqa")
    assert Conv2dSame.forward is own
    runner = session(file)
    for size in ((33, 70), (48, 41), (64, 64)):
        image = torch.rand(1, 3, *size)
        with torch.no_grad():
            wanted = network.deep(network.wide(image).relu())
        np.testing.assert_allclose(runner.run(["map"], {"image": image.numpy()})[0], wanted.numpy(), atol=1e-5)
