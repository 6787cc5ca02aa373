"""The metrics against scipy, against values worked out by hand, and where they are not defined."""

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import curve_fit

from iqa.evaluation import metrics
from iqa.evaluation.metrics import NAMES, Logistic, by_subset, correlations, difference, fit_logistic, intervals

HAND = ([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0])


def bent(count: int = 300, seed: int = 0, noise: float = 4.0) -> tuple[Any, ...]:
    """Predictions in [0, 1] whose relation to scores in about [0, 100] is a known logistic, and those scores."""
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(0, 1, count)
    return predicted, Logistic(90.0, 10.0, 0.6, 0.1)(predicted) + rng.normal(0, noise, count)


def test_values_worked_out_by_hand() -> None:
    found = correlations(*HAND)
    assert found["SRCC"] == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert found["PLCC"] == pytest.approx(4 / 5)
    assert found["KRCC"] == pytest.approx((5 - 1) / 6)
    assert found["MAE"] == 0.5
    assert found["RMSE"] is None
    assert found["note"] == "4 images: no PLCC_fitted, no RMSE"


def test_ties_are_scipys() -> None:
    rng = np.random.default_rng(1)
    x, y = np.round(rng.normal(size=60)), np.round(rng.normal(size=60), 1)
    found = correlations(x, y)
    assert found["SRCC"] == stats.spearmanr(x, y).statistic
    assert found["KRCC"] == stats.kendalltau(x, y).statistic
    assert found["PLCC"] == stats.pearsonr(x, y).statistic


def test_the_fit_finds_the_curve_that_made_the_scores() -> None:
    predicted, truth = bent(noise=0)
    assert fit_logistic(predicted, truth) == pytest.approx((90, 10, 0.6, 0.1), rel=1e-5)
    found = correlations(predicted, truth)
    assert found["PLCC"] < 0.98
    assert found["PLCC_fitted"] == pytest.approx(1)
    assert found["RMSE"] == pytest.approx(0, abs=1e-5)


def test_the_fit_is_that_of_curve_fit_in_raw_units() -> None:
    predicted, truth = bent()

    def vqeg(x: Any, b1: Any, b2: Any, b3: Any, b4: Any) -> Any:
        return b2 + (b1 - b2) / (1 + np.exp(-(x - b3) / np.abs(b4)))

    wanted, _ = curve_fit(vqeg, predicted, truth, (90, 10, 0.5, 0.1))
    assert fit_logistic(predicted, truth) == pytest.approx(wanted, rel=1e-4)
    found, curve = correlations(predicted, truth), vqeg(predicted, *wanted)
    assert found["RMSE"] == pytest.approx(np.sqrt(np.mean((curve - truth) ** 2)), rel=1e-6)
    assert found["PLCC_fitted"] == pytest.approx(stats.pearsonr(curve, truth).statistic, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_units_of_the_predictions_do_not_matter_to_the_fit(scale: float) -> None:
    predicted, truth = bent()
    assert correlations(scale * predicted - 3 * scale, truth)["RMSE"] == pytest.approx(
        correlations(predicted, truth)["RMSE"], rel=1e-5
    )


def test_the_fit_is_at_least_as_good_as_a_line_and_follows_falling_scores() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=rng.integers(20, 60))
        y = rng.uniform(-1, 1) * x + rng.normal(size=len(x))
        found = correlations(x, y)
        assert found["PLCC_fitted"] > abs(found["PLCC"]) - 1e-4
    falling = correlations(-bent()[0], bent()[1])
    assert falling["SRCC"] < -0.9
    assert falling["PLCC_fitted"] == pytest.approx(correlations(*bent())["PLCC_fitted"], rel=1e-5)


def test_perfect_predictions_are_perfect() -> None:
    truth = np.random.default_rng(0).normal(50, 15, 200)
    found = correlations(truth, truth)
    assert [found[name] for name in NAMES] == pytest.approx([1, 1, 1, 1, 0, 0], abs=1e-6)
    assert "note" not in found


def test_a_fit_that_does_not_converge_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object, **settings: Any) -> None:
        raise RuntimeError("Optimal parameters not found")

    monkeypatch.setattr(metrics, "curve_fit", never)
    found = correlations(*bent(20))
    assert (found["PLCC_fitted"], found["RMSE"]) == (None, None)
    assert "did not converge" in found["note"]
    assert found["SRCC"] > 0.9


@pytest.mark.parametrize(
    ("predicted", "truth", "reason"),
    [
        ([5.0] * 4, [1.0, 2, 3, 4], "the predictions are all equal"),
        ([1.0, 2, 3, 4], [5.0] * 4, "the MOS are all equal"),
        ([1.0, 2.0], [1.0, 3.0], "2 images"),
        ([1.0], [2.0], "1 image:"),
    ],
)
def test_what_is_not_defined_is_none_with_a_note(predicted: Any, truth: Any, reason: str) -> None:
    found = correlations(predicted, truth)
    assert [found[name] for name in NAMES if name != "MAE"] == [None] * 5
    assert found["MAE"] == np.abs(np.subtract(predicted, truth)).mean()
    assert found["note"].startswith(reason)
    assert intervals(predicted, truth) == {"SRCC": None, "PLCC": None}
    assert difference(predicted, predicted, truth) == {"SRCC": None, "PLCC": None}


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="two vectors"):
        correlations([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="two vectors"):
        correlations([], [])
    with pytest.raises(ValueError, match="not finite"):
        correlations([1.0, np.nan, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        intervals(*bent(10), rounds=0)


def test_intervals_are_percentiles_of_scipys_correlations_of_each_resample() -> None:
    x, y = bent(40)
    x = np.round(x, 1)  # ties too
    index = np.random.default_rng(3).integers(40, size=(50, 40))
    for name, correlation in (("SRCC", stats.spearmanr), ("PLCC", stats.pearsonr)):
        wanted = np.percentile([correlation(x[i], y[i]).statistic for i in index], [2.5, 97.5])
        assert intervals(x, y, rounds=50, seed=3)[name] == pytest.approx(tuple(wanted))


def test_intervals_do_not_depend_on_how_many_resamples_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = intervals(*bent(30), rounds=20)
    monkeypatch.setattr(import_module("polyscale.evaluation.bootstrap"), "_MAX_INDICES", 100)
    assert intervals(*bent(30), rounds=20) == whole


def test_the_interval_covers_the_true_correlation() -> None:
    inside = 0
    for seed in range(40):
        x, y = np.random.default_rng(seed).multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 200).T
        low, high = intervals(x, y, rounds=200)["PLCC"]
        inside += low < 0.8 < high
    assert inside >= 34


def test_resamples_without_a_correlation_do_not_count() -> None:
    mostly_equal = [1.0] * 9 + [2.0]  # a third of the resamples are constant
    low, high = intervals(mostly_equal, mostly_equal, rounds=300)["SRCC"]
    assert (low, high) == (pytest.approx(1), pytest.approx(1))


def test_a_handful_of_images_has_no_interval() -> None:
    x, y = bent(9)
    assert intervals(x, y) == {"SRCC": None, "PLCC": None}
    assert difference(x, y, y) == {"SRCC": None, "PLCC": None}
    assert None not in intervals(*bent(10), rounds=20).values()


def test_paired_difference() -> None:
    x, y = bent(400, noise=10)
    worse = x + np.random.default_rng(9).normal(0, 0.3, 400)
    found = difference(x, worse, y, rounds=200)["SRCC"]
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic - stats.spearmanr(worse, y).statistic)
    assert 0 < found.low < found.value < found.high
    other = difference(worse, x, y, rounds=200)["SRCC"]
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low))
    assert difference(x, x, y, rounds=20)["PLCC"] == (0, 0, 0)
    own = intervals(x, y, rounds=200)["SRCC"]
    assert found.high - found.low < 2 * (own.high - own.low) + 0.1


def test_by_subset() -> None:
    x, y = bent(30)
    table = by_subset(x, y, ["b"] * 12 + ["a"] * 10 + [""] * 8)
    assert list(table) == ["a", "b"]
    assert table["a"] == {"images": 10, **correlations(x[12:22], y[12:22])}
    assert by_subset(x, y, ["one"] * 30) == {}
    with pytest.raises(ValueError, match="2 subsets for 30"):
        by_subset(x, y, ["a", "b"])


RECORDED = {  # of the code before core's bootstrap, commit 7f3e71f
    12: ((-0.003977731053543307, 0.9358508403361343), (0.008750101809742228, -0.7433693704071365, 0.5384840154210659)),
    300: ((0.8477768982964738, 0.9044384996394265), (0.33033858167074426, 0.26064638191397455, 0.4135039498992462)),
    2500: ((0.8685563377103468, 0.88845597231312), (0.20536370741624643, 0.1825659782531196, 0.22643999621508762)),
}


@pytest.mark.parametrize(("images", "seed"), [(12, 0), (300, 1), (2500, 2)])
def test_intervals_are_those_recorded_before(images: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=images)
    a = truth + rng.normal(0, 0.5, images)
    b = np.round(truth + rng.normal(0, 1, images))
    interval, gain = RECORDED[images]
    assert intervals(a, truth)["SRCC"] == pytest.approx(interval, rel=1e-12)
    assert difference(a, b, truth)["SRCC"] == pytest.approx(gain, rel=1e-12)
