"""Deep supervision, progressive unfreezing and test-time augmentation, each alone and in one training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import nn

from camo_seg.config import Config, LossSettings
from camo_seg.data import open_split
from camo_seg.evaluation.evaluate import map_images
from camo_seg.model import CamoSegmenter
from camo_seg.model.freezing import parts, unfreeze
from camo_seg.model.network import TrainingOutput
from camo_seg.objective import Objective
from camo_seg.predict import Predictor
from camo_seg.train import parameter_groups
from camo_seg.tta import TTA, read_tta
from polyscale.errors import UserError
from polyscale.losses import boundary_loss, structure_loss
from polyscale.testing.command import call, one_line
from polyscale.training import param_groups, read_journal

TINY = {"backbone": "test_resnet", "width": 8, "image_size": 64}


@pytest.mark.parametrize("experts", [0, 2])
def test_deep_supervision_and_boundary_loss_reach_every_parameter(experts: int) -> None:
    torch.manual_seed(0)
    network = CamoSegmenter(**TINY, scales=(1.0,), experts=experts, deep_heads=True)
    masks = (torch.rand(2, 1, 64, 64) > 0.5).float()
    output = network(torch.rand(2, 3, 64, 64), return_loss_inputs=False)
    assert [tuple(x.shape) for x in output.levels] == [(2, 1, s, s) for s in (8, 4, 2)]
    found = Objective(LossSettings(deep=0.6, boundary=2.0), (1.0,), 1)(output, masks, 0)
    enlarged = [nn.functional.interpolate(x, (64, 64), mode="bilinear") for x in output.levels]
    wanted = sum(structure_loss(x, masks).item() for x in enlarged) / 3
    assert found["deep"].item() == pytest.approx(0.6 * wanted, rel=1e-4)
    assert found["boundary"].item() == pytest.approx(2 * boundary_loss(output.logits, masks).item())
    found["loss"].backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    optimised = {id(p) for group in param_groups(network, 0.05) for p in group["params"]}
    assert optimised == {id(p) for p in network.parameters()}


@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0)])
def test_the_rate_of_the_backbone_is_that_of_timm_s_network_alone(scales: tuple[float, ...]) -> None:
    network = CamoSegmenter(**TINY, scales=scales)
    names = {id(p): name for name, p in network.named_parameters()}
    groups = parameter_groups(network, Config.model_validate({"optim": {"backbone_lr": 0.1}}))
    rates = {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}
    assert set(rates) == set(names.values())
    for name, rate in rates.items():
        assert rate == (0.1 if ".net." in name else 1.0), name


def test_without_their_weights_the_parts_are_not_there() -> None:
    network = CamoSegmenter(**TINY, scales=(1.0,))
    assert not any("deep" in name for name, _ in network.named_parameters())
    output = TrainingOutput(torch.zeros(1, 1, 8, 8), [], [], None)
    assert set(Objective(LossSettings(), (1.0,), 1)(output, torch.zeros(1, 1, 8, 8), 0)) == {"loss", "structure"}


@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0)])
def test_the_backbone_unfreezes_from_its_deepest_part_on(scales: tuple[float, ...]) -> None:
    network = CamoSegmenter(**TINY, scales=scales)
    every = parts(network)
    assert len(every) >= 4
    learning = []
    for epoch in range(5):
        unfreeze(network, epoch, 4)
        network.train()
        flags = [all(p.requires_grad for p in part.parameters()) for part in every]
        assert flags == sorted(flags)  # once one learns, so does what follows
        assert [part.training for part in every] == flags  # frozen: batch norm keeps its statistics
        learning.append(sum(flags))
    assert learning[0] == 0
    assert learning == sorted(learning)
    assert learning[-1] == len(every)
    rest = [p for name, p in network.named_parameters() if ".net." not in name]
    unfreeze(network, 0, 4)
    assert rest
    assert all(p.requires_grad for p in rest)
    unfreeze(network, 0, 0)
    assert not any(p.requires_grad for p in every[0].parameters())  # epochs 0 leaves what it finds
    with pytest.raises(ValidationError, match=r"optim\.unfreeze_epochs: must be below the 3 of train\.epochs"):
        Config.model_validate({"train": {"epochs": 3}, "optim": {"unfreeze_epochs": 3}})


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ((0.0, 1.0), "above 0 and 1.0 among them"),
        ((0.5, 1.5), "above 0 and 1.0 among them"),
        ((), "above 0 and 1.0 among them"),
        ((1.0, 1.0), "must increase"),
        ((1.5, 1.0, 0.5), "must increase"),
        ((1.0, 9.0), "none above 4"),
        (tuple(1 + i / 9 for i in range(9)), "at most 8 scales"),
        ((0.001, 1.0), "leaves no pixel of 384"),
    ],
)
def test_scales_that_cannot_be_are_refused_before_anything_is_read(scales: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=r"model\.scales: .*" + message):
        Config.model_validate({"model": {"scales": scales}})


@pytest.mark.parametrize("weights", [(-1.0, 1.0, 1.0), (0.0, 0.0, 0.0), ()])
def test_weights_of_scales_that_cannot_be_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match=r"loss\.scale_weights: needs weights of 0 or more"):
        Config.model_validate({"loss": {"scale_weights": weights}})


class Left(nn.Module):
    """Sees an object wherever a pixel is red, more so in the left half: a mirror changes its map."""

    input_size = 64

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(images.shape))
        half = torch.linspace(2, 0, images.shape[-1])
        return (images[:, :1] - 0.5) * 8 + half


def test_augmented_maps_are_the_mean_of_all_views() -> None:
    rng = np.random.default_rng(0)
    image = np.asarray(Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((64, 64)))
    model = Left()
    plain, mirrored = (Predictor(model, "cpu", "fp32")(x).probability for x in (image, image[:, ::-1]))
    model.seen.clear()
    found = Predictor(model, "cpu", "fp32", tta=TTA(flip=True))(image).probability
    np.testing.assert_allclose(found, (plain + mirrored[:, ::-1]) / 2, atol=1e-6)
    assert np.abs(plain - mirrored[:, ::-1]).max() > 0.1
    model.seen.clear()
    sized = Predictor(model, "cpu", "fp32", tta=TTA(scales=(0.75, 1, 1.5)))(image)
    assert [shape[-1] for shape in model.seen] == [48, 64, 96]
    assert sized.probability.shape == (64, 64)
    np.testing.assert_allclose(sized.probability, plain, atol=0.25)
    flat = np.full((64, 64, 3), 200, np.uint8)  # the same at each size
    one, three = (Predictor(model, "cpu", "fp32", tta=TTA(scales=s))(flat).probability for s in ((1,), (0.5, 1, 2)))
    np.testing.assert_allclose(one, three, atol=0.02)


def test_tta_options() -> None:
    assert read_tta(False, None) is None
    assert read_tta(True, None) == TTA(flip=True)
    assert read_tta(False, "0.75,1") == TTA(scales=(0.75, 1.0))
    for wrong in ("a", "", "0", "1,9", "nan"):
        with pytest.raises(UserError, match="--tta-scales") as error:
            read_tta(False, wrong)
        assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 images of a bright disc."""
    folder, rng = tmp_path_factory.mktemp("discs"), np.random.default_rng(0)
    y, x = np.mgrid[:40, :48]
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for i in range(12):
        disc = (y - rng.integers(10, 30)) ** 2 + (x - rng.integers(10, 38)) ** 2 < rng.integers(20, 90)
        image = rng.integers(60, 120, (40, 48, 3)) + 90 * disc[..., None]
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"p{i:02}.png")
        Image.fromarray((disc * 255).astype(np.uint8)).save(folder / "masks" / f"p{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every part at once: experts, a window, deep and boundary losses, unfreezing."""
    out = tmp_path_factory.mktemp("trained") / "run"
    words = {
        "--data.path": data,
        "--model.backbone": "test_resnet",
        "--model.width": 8,
        "--model.image_size": 32,
        "--model.scales": "1,1.5",
        "--model.fusion": "window",
        "--model.experts": 3,
        "--loss.deep": 0.3,
        "--loss.boundary": 0.5,
        "--optim.unfreeze_epochs": 1,
        "--train.batch_size": 4,
        "--train.epochs": 2,
        "--train.log_every": 1,
    }
    result = call("camo-seg", "train", "--out", out, *(str(word) for pair in words.items() for word in pair))
    assert result.returncode == 0, result.stderr
    assert "use of the experts: edge" in result.stderr
    return out


def test_a_run_logs_and_draws_the_use_of_the_experts(trained: Path) -> None:
    lines = [line for line in read_journal(trained / "log.jsonl") if line["kind"] == "training"]
    assert lines
    for line in lines:
        assert sum(line[f"use_{name}"] for name in ("edge", "texture", "context")) == pytest.approx(1, abs=1e-4)
        assert {"deep", "boundary", "scales", "balance"} <= set(line)
    use = json.loads((trained / "metrics.json").read_text())["expert_use"]
    assert sum(use.values()) == pytest.approx(1)
    report = (trained / "report.html").read_text(encoding="utf-8")
    assert "Use of the experts in training" in report
    assert "Use of the experts on these images" in report


def test_eval_and_predict_augment_alike(trained: Path, data: Path) -> None:
    words = ("--tta-flip", "--tta-scales", "1,1.25")
    where = ("--data", data, "--layout", "test", "--no-baselines", "--json")
    plain, augmented = (json.loads(call("camo-seg", "eval", trained, *where, *more).stdout) for more in ((), words))
    assert plain["model"]["MAE"] != augmented["model"]["MAE"]
    assert "test-time augmentation: mirrored too, at 1, 1.25" in augmented["notes"]
    tta, network = TTA(flip=True, scales=(1, 1.25)), CamoSegmenter.from_pretrained(trained)
    sample = open_split(data, "test", size=network.input_size, layout="test")[0]["image"][None]
    pixels = sample.mul(255).round().byte().numpy()
    evaluated = map_images(network, sample, torch.device("cpu"), "fp32", tta)
    np.testing.assert_allclose(Predictor(trained, "cpu", "fp32", tta=tta).infer(pixels), evaluated, atol=1e-5)
    predicted = call("camo-seg", "predict", data / "images/p00.png", "--model", trained, "--json", *words)
    result = json.loads(predicted.stdout)
    in_python = Predictor(trained, "cpu", tta=tta)(data / "images/p00.png")
    assert result["max_probability"] == pytest.approx(in_python.to_dict()["max_probability"], abs=1e-6)
    one_line(call("camo-seg", "eval", "--predictions", data, *where, "--tta-flip"), 2, "--tta-flip")
    one_line(call("camo-seg", "eval", trained, "--tta-scales", "big"), 2, "--tta-scales", "big")
