"""Metrics: equal to pysodmetrics over a set, right on known cases, independent of order, apart for empty masks."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from camo_seg.evaluation import metrics
from camo_seg.evaluation.metrics import ROW_LENGTH, column, score_image, summarise

Pair = tuple[NDArray[np.float32], NDArray[np.bool_]]
Rows = NDArray[np.float64]


def blob_mask(rng: np.random.Generator, size: tuple[int, int] = (48, 64), share: float = 0.1) -> NDArray[np.bool_]:
    field = ndimage.gaussian_filter(rng.normal(size=size), 5)
    return field > np.quantile(field, 1 - share)


def noisy_map(rng: np.random.Generator, mask: NDArray[np.bool_], noise: float = 0.4) -> NDArray[np.float32]:
    blurred = ndimage.gaussian_filter(mask + noise * rng.normal(size=mask.shape), 2)
    return np.clip(0.1 + 0.7 * blurred, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    rng = np.random.default_rng(1)
    masks = [blob_mask(rng, share=share) for share in (0.005, 0.03, 0.1, 0.3, 0.6)]
    return [(noisy_map(rng, mask), mask) for mask in masks]


@pytest.fixture(scope="module")
def rows(pairs: list[Pair]) -> Rows:
    return np.stack([score_image(probability, mask) for probability, mask in pairs])


def toolbox(pairs: list[Pair]) -> dict[str, float]:
    """Aggregate with pysodmetrics over uint8 files as the field saves them: stretched, quantised, GT as 0/255."""
    psm = pytest.importorskip("py_sod_metrics", reason="pysodmetrics has no wheels for this Python")
    f_handler = psm.FmeasureHandler(with_dynamic=True, with_adaptive=True)
    iou_handler = psm.IOUHandler(with_dynamic=False, with_adaptive=False, with_binary=True)
    counted = psm.FmeasureV2({"f": f_handler, "iou": iou_handler})
    s, w, e, m = psm.Smeasure(), psm.WeightedFmeasure(), psm.Emeasure(), psm.MAE()
    for probability, mask in pairs:
        p = probability.astype(np.float64)
        prediction = np.round((p - p.min()) / (p.max() - p.min()) * 255).astype(np.uint8)
        for metric in (counted, s, w, e, m):
            metric.step(prediction, mask.astype(np.uint8) * 255)
    em, f = e.get_results()["em"], counted.get_results()
    return {
        "S": s.get_results()["sm"],
        "wF": w.get_results()["wfm"],
        "MAE": m.get_results()["mae"],
        "IoU": f["iou"]["binary"],
        "E_mean": em["curve"].mean(),
        "E_max": em["curve"].max(),
        "E_adp": em["adp"],
        "F_mean": f["f"]["dynamic"].mean(),
        "F_max": f["f"]["dynamic"].max(),
        "F_adp": f["f"]["adaptive"],
    }


def test_summary_equals_the_aggregate_of_pysodmetrics(pairs: list[Pair], rows: Rows) -> None:
    summary, expected = summarise(rows), toolbox(pairs)
    assert {key: summary[key] for key in expected} == pytest.approx(expected, abs=1e-12)
    assert summary["images"] == len(pairs)


def test_own_implementation_of_mae_iou_and_adaptive_f(pairs: list[Pair], rows: Rows) -> None:
    for (probability, mask), row in zip(pairs, rows, strict=True):
        p = probability.astype(np.float64)
        levels = np.round((p - p.min()) / np.ptp(p) * 255) / 255
        assert column(row[None], "MAE")[0] == pytest.approx(np.abs(levels - mask).mean(), abs=1e-12)
        binary = levels > 0.5
        assert column(row[None], "IoU")[0] == pytest.approx((binary & mask).sum() / (binary | mask).sum(), abs=1e-12)
        marked = levels >= min(2 * levels.mean(), 1)
        hit = (marked & mask).sum()
        precision, recall = hit / marked.sum(), hit / mask.sum()
        expected = 1.3 * precision * recall / (0.3 * precision + recall)
        assert column(row[None], "F_adp")[0] == pytest.approx(expected, abs=1e-12)


def test_maximum_is_taken_on_the_mean_curve_not_per_image(rows: Rows) -> None:
    per_image = rows[:, metrics._F_CURVE].max(axis=1).mean()
    assert summarise(rows)["F_max"] == rows[:, metrics._F_CURVE].mean(axis=0).max()
    assert summarise(rows)["F_max"] < per_image - 1e-4


def test_perfect_map() -> None:
    rng = np.random.default_rng(2)
    mask = blob_mask(rng, (120, 160))
    summary = summarise(score_image(mask.astype(np.float64), mask)[None])
    assert summary["S"] == pytest.approx(1, abs=1e-6)
    assert summary["wF"] == pytest.approx(1, abs=1e-6)
    assert (summary["MAE"], summary["IoU"]) == (0, 1)
    assert summary["E_mean"] == pytest.approx(0.997, abs=6e-4)  # threshold 0 marks every pixel
    assert summary["F_mean"] == pytest.approx(0.9966, abs=6e-4)
    assert summary["F_max"] == summary["F_adp"] == 1


def test_empty_prediction() -> None:
    mask = np.zeros((100, 100), bool)
    mask[30:50, 40:70] = True
    summary = summarise(score_image(np.zeros((32, 32), np.float32), mask)[None])
    assert summary["S"] == pytest.approx(0.47, abs=0.01)
    assert summary["wF"] == pytest.approx(0, abs=1e-6)
    assert summary["MAE"] == pytest.approx(0.06)
    assert (summary["IoU"], summary["F_max"]) == (0, pytest.approx(1.3 * 0.06 / (0.3 * 0.06 + 1)))


def test_stretch_makes_a_faint_map_count() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    faint = score_image(0.2 + 0.01 * mask, mask)
    np.testing.assert_array_equal(faint[:6], score_image(mask.astype(float), mask)[:6])
    assert column(faint[None], "predicted_area")[0] == 0


def test_resized_to_the_mask_never_the_mask() -> None:
    mask = np.zeros((60, 90), bool)
    mask[20:40, 30:60] = True
    small = np.zeros((6, 9), np.float64)
    small[2:4, 3:6] = 1
    row = score_image(small, mask)
    assert column(row[None], "area")[0] == mask.mean()
    assert column(row[None], "IoU")[0] > 0.8
    # bilinear with half-pixel centres: the ramp between two cells passes .5 on the border of its pixels
    np.testing.assert_array_equal(np.flatnonzero(metrics.prepare(small, mask)[30] > 127), np.arange(30, 60))


def test_order_does_not_matter_to_the_last_bit(rows: Rows) -> None:
    many = np.concatenate([rows, rows * 0.7, rows * 0.3])
    shuffled = many[np.random.default_rng(0).permutation(len(many))]
    assert summarise(many) == summarise(shuffled)


def test_size_bins() -> None:
    row = np.zeros((5, ROW_LENGTH))
    row[:, metrics.COLUMNS.index("area")] = 0.0099, 0.01, 0.0499, 0.05, 1
    row[:, metrics.COLUMNS.index("wF")] = 0.1, 0.2, 0.4, 0.6, 0.8
    summary = summarise(row)
    assert (summary["wF_small"], summary["wF_medium"], summary["wF_large"]) == pytest.approx((0.1, 0.3, 0.7))
    assert "wF_small" not in summarise(row[1:])


def test_empty_masks_are_scored_unstretched_and_apart(rows: Rows) -> None:
    nothing = np.zeros((30, 30), bool)
    almost_nothing = np.full((30, 30), 0.01)
    almost_nothing[5, 5] = 0.05  # a stretch would make this a full detection
    false_alarm = np.zeros((30, 30))
    false_alarm[:15] = 1
    empty = np.stack([score_image(almost_nothing, nothing), score_image(false_alarm, nothing)])
    summary = summarise(np.concatenate([rows, empty]))
    assert {key: value for key, value in summary.items() if "empty" not in key} == summarise(rows)
    assert summary["empty_images"] == 2
    assert summary["empty_area"] == 0.25
    assert summary["empty_MAE"] == pytest.approx((0.01 + 0.5) / 2, abs=2e-3)
    alone = summarise(empty)
    assert "wF" not in alone
    assert alone["images"] == 0


def test_fast_rows_are_the_same_where_they_are_computed(pairs: list[Pair], rows: Rows) -> None:
    fast = np.stack([score_image(probability, mask, fast=True) for probability, mask in pairs])
    for name in ("S", "wF", "MAE", "IoU", "area", "predicted_area"):
        np.testing.assert_array_equal(column(fast, name), column(rows, name))
    summary = summarise(fast)
    assert not {"E_mean", "E_adp", "F_max"} & set(summary)
    assert summary["wF_large"] == summarise(rows)["wF_large"]


@pytest.mark.parametrize("full", [False, True])
def test_one_pixel_image_gives_finite_scores(full: bool) -> None:
    summary = summarise(score_image(np.full((4, 4), 0.9), np.full((1, 1), full))[None])
    assert all(math.isfinite(value) and 0 <= value <= 1 for value in summary.values())


def test_full_mask() -> None:
    summary = summarise(score_image(np.ones((8, 8)), np.ones((20, 20), bool))[None])
    assert (summary["S"], summary["MAE"], summary["IoU"], summary["F_max"]) == (1, 0, 1, 1)


@pytest.mark.parametrize(
    ("probability", "mask", "message"),
    [
        (np.full((4, 4), 1.5), np.ones((4, 4), bool), "from 1.5 to 1.5"),
        (np.full((4, 4), np.nan), np.ones((4, 4), bool), "nan"),
        (np.ones((4, 4), np.uint8), np.ones((4, 4), bool), "probability must be .* got uint8"),
        (np.ones((1, 4, 4)), np.ones((4, 4), bool), r"got float64 \[1, 4, 4\]"),
        (np.ones((4, 4)), np.ones((4, 4), np.uint8), "mask must be bool .* got uint8"),
    ],
)
def test_bad_arguments(probability: NDArray[np.floating], mask: NDArray[np.bool_], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_image(probability, mask)
