"""The embedded data set: reproducible, splits apart, labels by level, images with the statistics of photographs."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from iqa.data import open_split
from iqa.data.distortions import DISTORTIONS
from iqa.data.synthetic.labels import PER_SCENE, SyntheticSource, distort_in_levels
from iqa.data.synthetic.scenes import scene, texture
from iqa.data.synthetic.worlds import WORLDS
from iqa.data.training import RankedLevels
from polyscale.errors import UserError


@pytest.fixture(scope="module")
def scenes() -> list[np.ndarray]:
    return [scene(np.random.default_rng([2, i]), 128, 128) for i in range(24)]


def grey(image: Any) -> Any:
    return image @ np.array([0.299, 0.587, 0.114])


def test_a_sample_depends_on_seed_split_index_and_side_alone() -> None:
    source = SyntheticSource("train", 12, 5, 64)
    first = source.read(9)
    source.read(2)
    np.random.seed(1)  # noqa: NPY002 - nothing may draw from the global generator
    longer = SyntheticSource("train", 20, 5, 64)
    assert np.array_equal(first, longer.read(9))
    assert longer.names[:12] == source.names
    assert np.array_equal(longer.scores[:12], source.scores)
    for other in (SyntheticSource("val", 12, 5, 64), SyntheticSource("train", 12, 6, 64)):
        assert not np.array_equal(first, other.read(9))


def test_labels_are_in_range_and_follow_the_level() -> None:
    source = SyntheticSource("train", 800, 0, 64)
    assert (source.low, source.high) == (0, 100)
    assert len(set(source.names)) == len(source) == 800
    scores = np.array(source.scores)
    assert scores.dtype == np.float64
    assert scores.min() >= source.low
    assert scores.max() <= source.high
    pristine = np.array([subset == "pristine" for subset in source.subsets])
    assert (scores[pristine] == scores.max()).all()
    assert (scores[~pristine] < scores.max()).all()
    assert set(source.subsets) == {*DISTORTIONS, "pristine"}
    for kind in DISTORTIONS:
        assert len(set(scores[[subset == kind for subset in source.subsets]])) >= 4


def test_a_scene_has_several_distortions_and_splits_share_none() -> None:
    sources = {split: SyntheticSource(split, 64, 0, 48) for split in ("train", "val", "test")}
    references = {split: set(source.references) for split, source in sources.items()}
    assert all(len(r) == 64 // PER_SCENE for r in references.values())
    assert not references["train"] & references["val"] | references["train"] & references["test"]
    assert not references["val"] & references["test"]
    first = [source.read(0) for source in sources.values()]  # untouched scenes
    assert not any(np.array_equal(a, b) for a, b in zip(first, first[1:] + first[:1], strict=True))
    for split, source in sources.items():
        assert source.subsets[0] == "pristine"
        kinds = {(source.subsets[i], source.scores[i]) for i in range(PER_SCENE)}
        assert len(kinds) >= 5, split


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="at least one image"):
        SyntheticSource("val", 0)
    with pytest.raises(UserError, match="at least 32 pixels"):
        SyntheticSource("val", 1, side=16)
    with pytest.raises(UserError, match="splits train, val, test"):
        SyntheticSource("all", 1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 300), (200, 33), (64, 64)])
def test_scenes_of_any_size(shape: tuple[int, ...]) -> None:
    for i in range(2 * len(WORLDS)):
        image = scene(np.random.default_rng(i), *shape)
        assert image.shape == (*shape, 3)
        assert image.dtype == np.uint8


def test_scenes_have_the_statistics_of_photographs(scenes: list[np.ndarray]) -> None:
    """Spectra fall with the square of the frequency, MSCN coefficients are bell-shaped, exposure uses the range.

    The limits lie well around what the 24 photos of the Kodak suite have.
    """
    slopes, variances, excess, means = [], [], [], []
    window = np.hanning(128)[:, None] * np.hanning(128)
    radius = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128))
    band = (radius > 1 / 32) & (radius < 1 / 3)
    for image in scenes:
        plane = grey(image)
        power = np.abs(np.fft.fft2((plane - plane.mean()) * window)) ** 2
        slopes.append(np.polyfit(np.log(radius[band]), np.log(power[band] + 1), 1)[0])
        mean = ndimage.gaussian_filter(plane, 7 / 6)
        deviation = np.sqrt(np.maximum(ndimage.gaussian_filter(plane**2, 7 / 6) - mean**2, 0))
        mscn = (plane - mean) / (deviation + 1)
        variances.append(mscn.var())
        excess.append((mscn**4).mean() / mscn.var() ** 2 - 3)
        means.append(plane.mean())
    assert -3.0 < np.median(slopes) < -1.8
    assert 0.2 < np.median(variances) < 0.6
    assert -1 < np.median(excess) < 1
    assert 80 < np.median(means) < 160
    assert min(image.std() for image in scenes) > 15
    assert max((image > 250).mean() for image in scenes) < 0.35


def test_scenes_differ(scenes: list[np.ndarray]) -> None:
    small = np.array([image[::16, ::16].ravel() for image in scenes], float)
    distance = np.abs(small[:, None] - small[None]).mean(-1)
    assert distance[~np.eye(len(small), dtype=bool)].min() > 10


def test_textures_have_unit_deviation_and_the_stated_slope() -> None:
    rng = np.random.default_rng(0)
    radius = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128))
    band = (radius > 1 / 32) & (radius < 1 / 3)
    slopes = []
    for _ in range(8):
        field = texture(rng, 128, 128, 1.0)
        assert field.std() == pytest.approx(1, abs=0.1)
        assert abs(field.mean()) < 0.1
        slopes.append(np.polyfit(np.log(radius[band]), np.log(np.abs(np.fft.fft2(field))[band]), 1)[0])
    assert min(slopes) > -1.2
    assert max(slopes) < -0.5


def test_ranked_levels_depart_further_from_the_image_at_every_level(scenes: list[np.ndarray]) -> None:
    rng = np.random.default_rng(4)
    further = []
    for i in range(60):
        untouched, *levels = (level.astype(float) for level in distort_in_levels(scenes[i % len(scenes)], rng))
        far = [np.abs(level - untouched).mean() for level in levels]
        assert len(far) == 5
        assert far[0] > 0
        further.extend(np.diff(far) > 0)
    assert np.mean(further) > 0.95


def test_ranked_levels_are_seeded_shrunk_and_of_one_size(scenes: list[np.ndarray]) -> None:
    sizes = set()
    for seed in range(20):
        first, again = (distort_in_levels(scenes[0][:, :100], np.random.default_rng(seed)) for _ in range(2))
        assert all(map(np.array_equal, first, again))
        assert {(level.dtype, level.shape) for level in first} == {(np.dtype(np.uint8), first[0].shape)}
        sizes.add(first[0].shape)
    assert max(sizes) <= (0.9 * 128, 0.9 * 100, 3)
    assert len(sizes) > 10
    assert distort_in_levels(scenes[0][:40, :20], np.random.default_rng(0))[5].shape == (32, 20, 3)


def test_ranked_levels_are_of_the_kinds_that_are_asked_for() -> None:
    base = open_split("synthetic", "train", size=64, counts=(9, 3, 3))
    brighter = RankedLevels(base, 4, 48, 2, seed=0, kinds=["brighten"])
    levels = brighter.batch(0, torch.device("cpu")).unflatten(0, (6, 2)).mean((2, 3, 4))
    assert (levels[1:] > levels[:-1]).all()
    darker = RankedLevels(base, 4, 48, 2, seed=0, kinds=["darken"])
    levels = darker.batch(0, torch.device("cpu")).unflatten(0, (6, 2)).mean((2, 3, 4))
    assert (levels[1:] < levels[:-1]).all()
    with pytest.raises(UserError, match=r"data\.ranked_kinds: 'dazzle' is none of gaussian_blur, "):
        RankedLevels(base, 4, 48, 2, seed=0, kinds=["darken", "dazzle"])


def test_the_embedded_images_stay_what_they_were() -> None:
    """Published results depend on them; the tolerance is for libraries that round differently."""
    means = [SyntheticSource(s, 12, 0, 48).read(i).mean() for s in ("train", "val", "test") for i in (0, 11)]
    assert means == pytest.approx([109.407, 115.995, 132.677, 127.138, 141.695, 117.514], abs=0.02)
