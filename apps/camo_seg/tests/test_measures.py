"""The measures are those of pysodmetrics to 1e-6, and right where it depends on rounding or gives NaN."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from camo_seg.evaluation import measures

Case = tuple[NDArray[np.uint8], NDArray[np.bool_]]


def scores(scored: NDArray[np.uint8], mask: NDArray[np.bool_]) -> dict[str, float | NDArray[np.float64]]:
    counts = measures.count_levels(scored, mask)
    e_adaptive, e_curve = measures.e_measure(counts)
    f_adaptive, f_curve = measures.f_measure(counts)
    return {
        "S": measures.s_measure(counts),
        "wF": measures.weighted_f(scored, mask),
        "MAE": measures.mean_absolute_error(counts),
        "IoU": measures.iou(counts),
        "E_adp": e_adaptive,
        "E": e_curve,
        "F_adp": f_adaptive,
        "F": f_curve,
    }


def oracle(scored: NDArray[np.uint8], mask: NDArray[np.bool_]) -> dict[str, float | NDArray[np.float64]]:
    """Score with pysodmetrics, without its stretch: the maps here are stretched or must not be."""
    psm = pytest.importorskip("py_sod_metrics", reason="pysodmetrics has no wheels for this Python")
    f = psm.FmeasureHandler(with_dynamic=True, with_adaptive=True)
    overlap = psm.IOUHandler(with_dynamic=False, with_adaptive=False, with_binary=True)
    s, w, e, m = psm.Smeasure(), psm.WeightedFmeasure(), psm.Emeasure(), psm.MAE()
    for metric in (s, w, e, m, psm.FmeasureV2({"f": f, "iou": overlap})):
        metric.step(scored / 255, mask, normalize=False)
    return {
        "S": s.sms[0],
        "wF": w.weighted_fms[0],
        "MAE": m.maes[0],
        "IoU": overlap.binary_results[0],
        "E_adp": e.adaptive_ems[0],
        "E": e.changeable_ems[0],
        "F_adp": f.adaptive_results[0],
        "F": f.dynamic_results[0],
    }


def assert_equal(case: Case, but: tuple[str, ...] = ()) -> None:
    ours, theirs = scores(*case), oracle(*case)
    for name in ours.keys() - set(but):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-6, err_msg=name)


def random_case(rng: np.random.Generator, size: tuple[int, int], share: float, smooth: float = 0.0) -> Case:
    """Objects that keep clear of the last row and column, and a noisy map of them."""
    field = ndimage.gaussian_filter(rng.normal(size=size), smooth)
    mask = field > np.quantile(field[:-1, :-1], 1 - share)
    mask[-1], mask[:, -1] = False, False
    probability = np.clip(0.6 * mask + rng.normal(0.2, 0.2, size), 0, 1)
    return np.round(probability * 255).astype(np.uint8), mask


@pytest.mark.parametrize("smooth", [0.0, 4.0])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("size", [(2, 3), (5, 5), (31, 17), (17, 64), (63, 101)])
def test_random_maps_and_odd_sizes(size: tuple[int, int], share: float, smooth: float) -> None:
    for seed in range(3):
        assert_equal(random_case(np.random.default_rng(seed), size, share, smooth))


def test_large_images_with_a_small_object() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((500, 700), bool)
    mask[20:32, 30:50] = True
    assert_equal((rng.integers(0, 256, mask.shape, dtype=np.uint8), mask))  # errors up to 800 pixels away


@pytest.mark.parametrize("full", [False, True])
def test_empty_and_full_masks(full: bool) -> None:
    rng = np.random.default_rng(1)
    mask = np.full((19, 24), full)
    for scored in (
        np.zeros(mask.shape, np.uint8),
        np.full(mask.shape, 255, np.uint8),
        random_case(rng, (19, 24), 0.1)[0],
    ):
        assert_equal((scored, mask))


@pytest.mark.parametrize("level", [0, 1, 51, 128, 254, 255])
def test_constant_maps(level: int) -> None:
    mask = np.zeros((32, 32), bool)
    mask[9:22, 9:22] = True  # the centroid is 15, so all quadrants have 256 pixels and means are exact
    assert_equal((np.full(mask.shape, level, np.uint8), mask))


@pytest.mark.parametrize("place", [(0, 0), (3, 5), (0, 7), (9, 0)])
def test_objects_of_one_pixel(place: tuple[int, int]) -> None:
    mask = np.zeros((12, 15), bool)
    mask[place] = True
    assert_equal((mask.astype(np.uint8) * 255, mask))
    assert_equal((np.random.default_rng(2).integers(0, 256, mask.shape, dtype=np.uint8), mask))


@pytest.mark.parametrize("place", [(11, 14), (11, 3), (4, 14)])
def test_an_object_in_the_last_row_or_column_has_an_s_measure(place: tuple[int, int]) -> None:
    """Pysodmetrics cuts quadrants without a pixel there, whose similarity is NaN; one such image spoils a set."""
    mask = np.zeros((12, 15), bool)
    mask[place] = True
    case = np.random.default_rng(3).integers(0, 256, mask.shape, dtype=np.uint8), mask
    assert 0 <= scores(*case)["S"] <= 1
    assert scores(mask.astype(np.uint8) * 255, mask)["S"] == pytest.approx(1, abs=1e-9)
    assert_equal(case, but=("S",))


def test_the_s_measure_of_a_constant_map_does_not_depend_on_rounding() -> None:
    """A constant quadrant is like its constant mask by definition; sums of floats say so for some sizes only."""
    x = 100 / 255
    for size in range(40, 60):
        mask = np.zeros((size, size), bool)
        mask[0, 0] = True  # the upper left quadrant is this pixel, the others hold no object
        share = 1 / size**2
        objects = 2 * x / (x**2 + 1) * share + 2 * (1 - x) / ((1 - x) ** 2 + 1) * (1 - share)
        assert scores(np.full(mask.shape, 100, np.uint8), mask)["S"] == pytest.approx((objects + 1) / 2), size


def test_known_values() -> None:
    """By hand: 4 x 4 pixels, an object of 4, a map that marks 2 of them and 1 other."""
    mask = np.zeros((4, 4), bool)
    mask[:2, :2] = True
    scored = np.zeros((4, 4), np.uint8)
    scored[0, :3] = 255
    result = scores(scored, mask)
    assert result["MAE"] == pytest.approx(3 / 16)
    assert result["IoU"] == pytest.approx(2 / 5)
    assert result["F_adp"] == pytest.approx(1.3 * 2 / (0.3 * 4 + 3))  # the threshold is twice 3/16
    assert result["F"][0] == result["F_adp"]
    assert result["F"][-1] == pytest.approx(1.3 * 4 / (0.3 * 4 + 16))  # level 0 marks everything


def test_half_of_an_image_at_the_adaptive_threshold_counts() -> None:
    """The threshold is twice the mean: here exactly the map's level, which reaches it."""
    mask = np.zeros((10, 14), bool)
    mask[:5] = True
    for level in range(1, 256):
        adaptive = scores((mask * level).astype(np.uint8), mask)["F_adp"]
        assert adaptive == 1, level
