"""Scene statistics: finite for any image, alike in any batch, and moved by the distortions they are meant to see."""

import pytest
import torch
import torch.nn.functional as F

from iqa.evaluation.statistics.spatial import SceneStatistics


@pytest.fixture(scope="module")
def statistics() -> SceneStatistics:
    return SceneStatistics()


def scene(side: int = 128) -> torch.Tensor:
    """Blocks of random colours at three scales, [1, 3, side, side]."""
    torch.manual_seed(0)
    layers = [F.interpolate(torch.rand(1, 3, n, n), (side, side)) for n in (4, 16, side)]
    return sum(w * layer for w, layer in zip((0.6, 0.3, 0.1), layers, strict=True))  # type: ignore[return-value]


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (64, 64), (257, 300), (520, 33)])
@pytest.mark.parametrize("fill", ["black", "white", "noise"])
def test_finite_and_moderate(statistics: SceneStatistics, size: tuple[int, int], fill: str) -> None:
    image = {"black": torch.zeros, "white": torch.ones, "noise": torch.rand}[fill](2, 3, *size)
    out = statistics(image)
    assert out.shape == (2, statistics.channels)
    assert out.isfinite().all()
    assert out.abs().max() < 15


def test_alike_in_any_batch(statistics: SceneStatistics) -> None:
    images = torch.rand(3, 3, 70, 90)
    assert torch.allclose(statistics(images), torch.cat([statistics(i[None]) for i in images]), atol=1e-5)


@pytest.mark.parametrize("kind", ["blur", "noise", "dark", "grey", "blocks"])
def test_sees_a_distortion_and_more_of_it_more(statistics: SceneStatistics, kind: str) -> None:
    clean = scene()

    def distorted(level: float) -> torch.Tensor:
        if kind == "blur":
            side = int(128 * (1 - 0.4 * level))
            return F.interpolate(F.interpolate(clean, (side, side), mode="area"), (128, 128), mode="bilinear")
        if kind == "noise":
            return (clean + 0.2 * level * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))).clamp(
                0, 1
            )
        if kind == "dark":
            return clean * (1 - 0.6 * level)
        if kind == "grey":
            return clean + level * (clean.mean(1, keepdim=True) - clean)
        coarse = F.interpolate(F.avg_pool2d(clean, 8), scale_factor=8)
        return clean + level * (coarse - clean)

    start, less, more = (statistics(distorted(level)) for level in (0.0, 0.4, 0.9))
    assert 0.3 < (less - start).norm() < (more - start).norm()
