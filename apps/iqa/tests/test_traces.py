"""Traces of processing: each number that looks for one rises when it is there, and tells it from its like."""

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa.data.distortions import distort
from iqa.data.synthetic.scenes import scene
from iqa.evaluation.statistics import traces
from iqa.evaluation.statistics.spatial import SceneStatistics
from iqa.evaluation.statistics.traces import Traces


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return scene(np.random.default_rng(3), 192, 192)


def tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def luma(image: np.ndarray) -> Tensor:
    return (tensor(image) * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True) * 255


def distorted(image: np.ndarray, kind: str, level: int) -> np.ndarray:
    return distort(image, kind, level, np.random.default_rng(0))


def test_jpeg_shows_on_its_own_grid_and_not_off_it(image: np.ndarray) -> None:
    look = Traces()
    coded = distorted(image, "jpeg", 2)
    on, beyond = look._vanishing(luma(coded), 8)[0].chunk(2)
    _, natural = look._vanishing(luma(image), 8)[0].chunk(2)
    _, moved = look._vanishing(luma(coded[3:, 3:]), 8)[0].chunk(2)
    assert beyond[4:].mean() > natural[4:].abs().mean() + 1
    assert moved[4:].mean() < beyond[4:].mean() / 2
    assert look._vanishing(luma(distorted(image, "jpeg", 4)), 8)[0, 4:14].mean() > on[4:].mean()


def test_wavelet_codecs_leave_more_vanished_detail_at_every_level(image: np.ndarray) -> None:
    shares = [traces._wavelets(luma(image))[0, :12].mean()]
    shares += [traces._wavelets(luma(distorted(image, "jpeg2000", level)))[0, :12].mean() for level in (1, 3, 5)]
    assert shares == sorted(shares)
    assert shares[1] > shares[0] + 0.2


def test_the_wavelet_halves_keep_the_image() -> None:
    x = torch.randn(1, 1, 5, 64, dtype=torch.float64)
    low, high = traces._lift(x)
    assert low.shape == high.shape == (1, 1, 5, 32)
    smooth = torch.arange(64, dtype=torch.float64).expand(1, 1, 5, 64)
    assert traces._lift(smooth)[1][..., 2:-2].abs().max() < 1e-6  # a ramp has no detail
    assert low.square().sum() + high.square().sum() == pytest.approx(x.square().sum().item(), rel=0.2)


@pytest.mark.parametrize("kind", ["brighten", "darken", "contrast_change", "quantise"])
def test_a_tone_curve_leaves_gaps_in_the_histogram(image: np.ndarray, kind: str) -> None:
    rough, gaps = traces._tone_curve(tensor(image))[0, :6].chunk(2)
    after, more = traces._tone_curve(tensor(distorted(image, kind, 2)))[0, :6].chunk(2)
    assert (after > rough).all()
    assert (more > gaps).all()


def test_equal_neighbours_are_those_of_enlarged_images(image: np.ndarray) -> None:
    enlarged = image[::2, ::2].repeat(2, 0).repeat(2, 1)
    assert (traces._equal_neighbours(tensor(enlarged))[0, :3] > traces._equal_neighbours(tensor(image))[0, :3]).all()


def test_seams_are_straight_and_alone(image: np.ndarray) -> None:
    moved = image.copy()
    moved[80:112, 40:120] = image[10:42, 100:180]
    before, after = traces._seams(luma(image)), traces._seams(luma(moved))
    assert (after[0, :3] >= before[0, :3]).all()
    assert after[0, 1] > before[0, 1]
    grid = image.copy()
    grid[::8] = np.clip(grid[::8].astype(int) + 9, 0, 255)
    grid[1::8] = np.clip(grid[1::8].astype(int) + 9, 0, 255)
    on, off = traces._seams(luma(grid))[0, 3:]
    assert on > off


def test_colours_that_moved_apart_have_other_slopes(image: np.ndarray) -> None:
    planes = torch.zeros(1, 3, 192, 192)
    alike = [
        traces._colour_edges(tensor(p), planes)[0, :2].mean()
        for p in (image, distorted(image, "colour_shift", 2), distorted(image, "colour_shift", 4))
    ]
    assert alike == sorted(alike, reverse=True)


def test_statistics_hold_the_traces() -> None:
    statistics = SceneStatistics()
    image = torch.rand(2, 3, 96, 80)
    red, green, blue = image.split(1, 1)
    planes = torch.cat([0.299 * red + 0.587 * green + 0.114 * blue, (red - green) / 2, (red + green) / 4 - blue / 2], 1)
    seen = statistics.traces(image, planes)
    everything = statistics(image)
    start = next(i for i in range(everything.shape[1]) if torch.allclose(everything[:, i], seen[:, 0], atol=1e-4))
    assert torch.allclose(everything[:, start : start + seen.shape[1]], seen, atol=1e-3)
