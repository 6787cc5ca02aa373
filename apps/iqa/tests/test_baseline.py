"""The hand-crafted baseline: it learns noise and blur, chooses on validation alone, and says what it lacks."""

import sys

import numpy as np
import pytest

from iqa.data import QualitySet
from iqa.evaluation import baselines
from iqa.evaluation.baselines import features, fit_baseline
from iqa.evaluation.metrics import correlations
from iqa.evaluation.statistics.spatial import SceneStatistics
from polyscale.errors import UserError

SIDE = 48


class Noisy:
    """Smooth images under more or less noise; the scores are those of the noise, 10 to 50."""

    low, high = 0.0, 100.0

    def __init__(self, count: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        self.seed, self.noise = seed, rng.uniform(0, 1, count)
        self.scores = 50 - 40 * self.noise + rng.normal(0, 1, count)
        self.names = [f"{seed}_{i}" for i in range(count)]
        self.subsets = self.references = [""] * count

    def read(self, index: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, index])
        y, x = np.mgrid[:SIDE, : SIDE + 8 * (index % 2)] / SIDE
        smooth = 120 + 60 * np.sin(rng.uniform(1, 6) * x + rng.uniform(1, 6) * y)
        return np.clip(smooth[..., None] + 30 * self.noise[index] * rng.normal(size=(*x.shape, 3)), 0, 255).astype(
            np.uint8
        )


def noisy(count: int, seed: int) -> QualitySet:
    return QualitySet(Noisy(count, seed), SIDE, f"noisy/{seed}", cache=False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer settings to choose from: the whole choice takes half a minute."""
    pytest.importorskip("sklearn")
    monkeypatch.setattr(baselines, "_LEAVES", (4,))
    monkeypatch.setattr(baselines, "_ROUNDS", 40)
    monkeypatch.setattr(baselines, "_COSTS", (0.3, 3.0))


def test_features_are_the_statistics_of_each_image_in_order() -> None:
    dataset, seen = noisy(5, 0), []
    measured = features(dataset, workers=2, progress=lambda *step: seen.append(step))
    layer = SceneStatistics()
    for i in range(5):
        wanted = layer(dataset[i]["image"][None])[0]
        np.testing.assert_allclose(measured[i], wanted, rtol=1e-5, atol=1e-5)
    assert measured.dtype == np.float32
    assert seen == [("statistics of noisy/0", i, 5) for i in range(1, 6)]
    np.testing.assert_array_equal(measured, features(dataset, workers=0))


def test_it_learns_what_statistics_can_tell(quick: None) -> None:
    seen = []
    fitted = fit_baseline(noisy(80, 0), noisy(30, 1), progress=lambda *step: seen.append(step))
    test = noisy(30, 2)
    predicted = fitted.predict(test)
    found = correlations(predicted, test.scores)
    assert found["SRCC"] > 0.9
    assert found["MAE"] < 5
    assert predicted.dtype == np.float64
    assert (predicted.min() >= 0, predicted.max() <= 100) == (True, True)
    assert [step for step in seen if step[0] == "choosing settings"][-1] == ("choosing settings", 7, 7)
    assert fitted.chosen["trees"] in (20, 40)
    assert fitted.chosen["val_SRCC_machine"] > 0.85
    again = fit_baseline(noisy(80, 0), noisy(30, 1), workers=0)
    np.testing.assert_array_equal(again.predict(test), predicted)


def test_settings_are_those_of_the_highest_srcc_on_validation(quick: None) -> None:
    from sklearn.svm import SVR

    train, val = noisy(60, 0), noisy(30, 1)
    fitted = fit_baseline(train, val)
    x, x_val = ((features(s) - fitted.centre) / fitted.scale for s in (train, val))
    y = (train.scores - train.scores.mean()) / train.scores.std()
    reached = {}
    for cost in (0.3, 3.0):
        for width in baselines._WIDTHS:
            machine = SVR(C=cost, gamma=width / x.shape[1], epsilon=0.1).fit(x, y)
            reached[cost, width / x.shape[1]] = correlations(machine.predict(x_val), val.scores)["SRCC"]
    best = max(reached, key=reached.get)
    assert (fitted.chosen["C"], fitted.chosen["gamma"]) == best
    assert fitted.chosen["val_SRCC_machine"] == reached[best]


def test_statistics_that_never_change_do_no_harm(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    train = noisy(40, 0)
    measured = features(train)
    measured[:, 3] = 7
    monkeypatch.setattr(baselines, "features", lambda dataset, **settings: measured[: len(dataset)])
    assert np.isfinite(fit_baseline(train, train).predict(train)).all()


def test_splits_that_cannot_be_learnt_from_are_refused(quick: None) -> None:
    with pytest.raises(UserError, match="noisy/1: a baseline needs 3 images"):
        fit_baseline(noisy(5, 0), noisy(2, 1))
    equal = noisy(5, 0)
    equal.scores = np.full(5, 3.0)
    with pytest.raises(UserError, match="noisy/0: a baseline needs 3 images"):
        fit_baseline(equal, noisy(5, 1))


def test_without_scikit_learn_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match=r'pip install "polyscale-iqa\[baseline\]"'):
        fit_baseline(noisy(5, 0), noisy(5, 1))
