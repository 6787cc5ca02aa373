"""Bootstrap intervals: those of scipy, and the draws that earlier numbers were made with."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from polyscale.evaluation import Difference, bootstrap, interval, mean_difference
from polyscale.evaluation.bootstrap import Indices, Values

RNG = np.random.default_rng(7)
A, B = RNG.uniform(size=40), RNG.uniform(size=40)
TRUTH = RNG.uniform(size=40)
GUESSES = np.stack([TRUTH + RNG.normal(0, 0.3, 40), TRUTH + RNG.normal(0, 0.6, 40)])


def test_functions_called_like_their_modules_are_exported_in_any_order_of_imports() -> None:
    code = "import {0}.{1}; from {0} import {1}; assert callable({1}), {1}"
    for name in ("bootstrap", "provenance"):
        subprocess.run([sys.executable, "-c", code.format("polyscale.evaluation", name)], check=True, timeout=60)


def test_draws_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    loop = [A[rng.integers(40, size=40)].mean() for _ in range(100)]
    np.testing.assert_allclose(bootstrap(lambda index: A[index].mean(1), 40, rounds=100, seed=3), loop, rtol=1e-14)


@pytest.mark.parametrize("held", [1, 40, 41, 4000])
def test_draws_do_not_depend_on_how_many_are_held(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    want = bootstrap(lambda index: A[index].mean(1), 40, rounds=55)
    monkeypatch.setattr(sys.modules[bootstrap.__module__], "_MAX_INDICES", held)
    np.testing.assert_array_equal(bootstrap(lambda index: A[index].mean(1), 40, rounds=55), want)


def test_the_interval_is_that_of_scipy() -> None:
    ours = interval(bootstrap(lambda index: A[index].mean(1), 40, rounds=999, seed=5))
    theirs = stats.bootstrap(
        (A,), np.mean, n_resamples=999, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    np.testing.assert_allclose(ours, [theirs.low, theirs.high], rtol=1e-12)


def test_differences_are_those_of_the_code_before() -> None:
    """Recorded from camo_seg.baselines.bootstrap_difference at commit 7f3e71f."""
    want = (-0.05470385988386837, -0.17390491528189958, 0.06608428122967028)
    np.testing.assert_allclose(mean_difference(A, B), want, rtol=1e-12)
    other = (-0.05470385988386837, -0.1922921222421824, 0.06493856246359561)
    np.testing.assert_allclose(mean_difference(A, B, rounds=300, seed=3), other, rtol=1e-12)


def test_correlations_are_those_of_the_code_before() -> None:
    """Recorded from iqa.metrics._resampled at commit 7f3e71f: two predictors on the same resamples."""

    def pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> Values:
        a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
        return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))

    def plcc(index: Indices) -> Values:
        return np.stack([pearson(guess[index], TRUTH[index]) for guess in GUESSES])

    resampled = bootstrap(plcc, 40, rounds=500)
    assert resampled.shape == (2, 500)
    want = [
        [0.7569378927251204, 0.7060831050182399, 0.7459583057286646],
        [0.40342273143817964, 0.48714741864673855, 0.3429313617452757],
    ]
    np.testing.assert_allclose(resampled[:, :3], want, rtol=1e-12)
    np.testing.assert_allclose(interval(resampled[0]), (0.5774642434106486, 0.8035634521222028), rtol=1e-12)
    np.testing.assert_allclose(interval(resampled[1]), (0.056552633919417894, 0.6300462114500683), rtol=1e-12)


def test_resamples_without_a_value_do_not_count() -> None:
    assert interval(np.array([np.nan, 1.0, np.nan, 1.0])) == (1, 1)


def test_equal_scores_have_no_difference() -> None:
    assert mean_difference(A, A) == Difference(0, 0, 0)


def test_one_sample_has_no_interval() -> None:
    """Resamples of one are all alike: an interval of no width would claim certainty."""
    assert mean_difference(A[:1], B[:1]) is None
    assert mean_difference(A[:2], B[:2]) is not None


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (A, A[:3], "vectors of the same samples"),
        (A[:0], A[:0], "vectors of the same samples"),
        (A[None], A[None], "vectors of the same samples"),
        (np.array([np.nan]), np.zeros(1), "finite"),
        (np.zeros(1), np.array([np.inf]), "finite"),
    ],
)
def test_what_has_no_difference_is_refused(a: Values, b: Values, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_difference(a, b)


@pytest.mark.parametrize(("samples", "rounds"), [(0, 5), (5, 0)])
def test_nothing_to_draw_is_refused(samples: int, rounds: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        bootstrap(lambda index: index.mean(1), samples, rounds=rounds)
