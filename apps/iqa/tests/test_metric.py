"""The measure inside other programs: pyiqa's call and torchmetrics' call, on tensors, files, and as a loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from iqa.api import QualityMetric, QualityScore, create_metric, list_models, shrink
from iqa.data import network_image
from iqa.model.network import QualityNet
from iqa.predict import Predictor
from polyscale.errors import UserError


def tiny(**changes: Any) -> Any:
    torch.manual_seed(0)
    options = {"backbone": "test_resnet", "drop_path": 0.0, "image_size": 64, "low": 1.0, "high": 5.0}
    network = QualityNet(**{**options, **changes})
    with torch.no_grad():  # fresh weights judge far outside the range
        for head in (network.hyper.last_weight, network.hyper.last_bias):
            head.weight.mul_(0.05)
        network.hyper.last_bias.bias.fill_(0.5)
    return network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def metric(folder: Path) -> QualityMetric:
    return create_metric(folder, device="cpu")


def noise(*shape: object) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def tensor(array: Any) -> Any:
    return torch.tensor(array).permute(2, 0, 1)[None].float() / 255


def test_what_pyiqa_users_ask_of_a_metric(metric: QualityMetric) -> None:
    assert isinstance(metric, nn.Module)
    assert (metric.lower_better, metric.score_range, metric.metric_mode) == (False, (1.0, 5.0), "NR")
    assert isinstance(list_models(), list)
    assert not any(parameter.requires_grad for parameter in metric.parameters())


def test_path_pil_and_tensor_agree_with_the_predictor(metric: QualityMetric, folder: Path, tmp_path: Path) -> None:
    for array in (noise(40, 60), noise(90, 40)):  # the second is shrunk by the file's way or the tensor's
        Image.fromarray(array).save(tmp_path / "a.png")
        expected = Predictor(folder, device="cpu")(array).score
        assert 1 < expected < 5
        for source in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(array), tensor(array)):
            scores = metric(source)
            assert scores.shape == (1, 1)
            assert float(scores) == pytest.approx(expected, abs=1e-5 if array.shape[0] == 40 else 0.01)


def test_a_batch_is_its_images_one_by_one(metric: QualityMetric) -> None:
    images = torch.rand(5, 3, 48, 80, generator=torch.Generator().manual_seed(0))
    together = metric(images)
    assert together.shape == (5, 1)
    assert len(together.unique()) == 5
    torch.testing.assert_close(together, torch.cat([metric(image[None]) for image in images]), atol=1e-5, rtol=0)
    assert metric(images[:0]).shape == (0, 1)


@pytest.mark.parametrize("shape", [(100, 140), (65, 64), (30, 3000), (40, 40)])
def test_shrunk_like_a_file(shape: tuple[int, ...]) -> None:
    smooth = np.asarray(
        Image.fromarray(noise(shape[0] // 5, shape[1] // 5)).resize(shape[::-1], Image.Resampling.BICUBIC)
    )
    as_file = network_image(smooth, 64).float() / 255
    as_tensor = shrink(tensor(smooth), 64)[0]
    assert as_tensor.shape == as_file.shape
    assert (as_tensor - as_file).abs().mean() <= 0.5 / 255
    assert (as_tensor - as_file).abs().max() <= 6 / 255  # Pillow rounds between its two passes
    assert as_tensor.aminmax().min >= 0


def test_no_gradient_unless_asked_for(metric: QualityMetric, folder: Path) -> None:
    images = torch.rand(2, 3, 40, 40, requires_grad=True)
    assert not metric(images).requires_grad
    loss = create_metric(folder, device="cpu", as_loss=True)
    (-loss(images).mean()).backward()
    assert images.grad.abs().sum() > 0
    assert torch.isfinite(images.grad).all()
    torch.testing.assert_close(loss(images).detach(), metric(images))  # inside the range they agree


def test_climbing_the_loss_raises_the_score(folder: Path) -> None:
    loss = create_metric(folder, device="cpu", as_loss=True)
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
    before = loss(images)
    before.sum().backward()
    climbed = (images + 0.01 * images.grad.sign()).detach().clamp(0, 1)
    assert float(loss(climbed)) > float(before.detach())


def test_it_stays_in_eval_mode_inside_a_model_in_training(folder: Path) -> None:
    outer = nn.ModuleDict({"quality": create_metric(folder, device="cpu")}).train()
    assert not any(module.training for module in outer["quality"].modules())


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (torch.rand(3, 8, 8), r"\[N, 3, H, W\] in \[0, 1\] is needed, given torch.float32 \[3, 8, 8\]"),
        (torch.rand(1, 1, 8, 8), r"given torch.float32 \[1, 1, 8, 8\]"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "given torch.uint8"),
        (torch.full((1, 3, 8, 8), 255.0), r"values from 255 to 255 given, \[0, 1\] accepted"),
        (torch.full((1, 3, 8, 8), float("nan")), "values from nan"),
    ],
)
def test_wrong_tensors_are_refused(metric: QualityMetric, image: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        metric(image)


def test_a_broken_file_is_one_line(metric: QualityMetric, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a\.jpg: not an image"):
        metric(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="no such model"):
        create_metric("no-such-name")


def test_quality_score_is_the_mean_of_what_it_saw(metric: QualityMetric) -> None:
    images = torch.rand(5, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    score = QualityScore(metric.network, device="cpu")
    assert score.higher_is_better
    assert float(score(images[:3])) == pytest.approx(float(metric(images[:3]).double().mean()), abs=1e-6)
    score.to("cpu").update(images[3:])
    assert float(score.compute()) == pytest.approx(float(metric(images).double().mean()), abs=1e-6)
    score.reset()
    with pytest.raises(UserError, match="no image seen"):
        score.compute()
    score.update(images[:1])
    assert float(score.compute()) == pytest.approx(float(metric(images[:1])), abs=1e-6)


def test_a_model_of_the_caller_keeps_its_gradients() -> None:
    network = tiny()
    assert isinstance(create_metric(network, device="cpu"), QualityMetric)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_gradients_reach_the_images_through_the_shrinking() -> None:
    network = QualityNet(backbone="test_resnet", image_size=64)
    images = torch.rand(1, 3, 96, 80, requires_grad=True)
    create_metric(network, as_loss=True)(images).sum().backward()
    assert images.grad.abs().sum() > 0
