"""The hand-crafted baseline: scene statistics with boosted trees and SVR.

Each image is the numbers of SceneStatistics, standardised; the score is the mean of gradient-boosted trees and a
support vector machine (on BIQ2021 better than either alone and than ridge regression). Their settings are chosen
by SRCC on the validation split. Needs scikit-learn: pip install "polyscale-iqa[baseline]". Nothing is saved: fitting
takes minutes, and scikit-learn's only saved form is a pickle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from iqa.data import QualitySet
from iqa.evaluation.statistics.spatial import SceneStatistics
from polyscale.data.prefetch import prefetch
from polyscale.errors import UserError

Features = NDArray[np.float32]
Values = NDArray[np.float64]
Progress = Callable[[str, int, int], None]  # what is going on, steps done, steps in all

_LEAVES, _ROUNDS = (8, 16, 31), 500  # leaves of a tree to choose from, trees at most
_COSTS, _WIDTHS = (0.3, 1.0, 3.0, 10.0), (0.1, 0.3, 1.0)  # C; gamma as a multiple of 1 / features


@dataclass(frozen=True, eq=False)
class Baseline:
    """The two fitted regressors; `chosen` are their settings and the SRCC of each on the validation split."""

    trees: Any = field(repr=False)
    machine: Any = field(repr=False)
    centre: Features = field(repr=False)
    scale: Features = field(repr=False)
    units: tuple[float, float]  # mean and standard deviation of the training scores
    low: float
    high: float
    chosen: dict[str, Any]

    def predict(self, dataset: QualitySet, *, workers: int = 2, progress: Progress | None = None) -> Values:
        """Score every image: float64 [N] in the units of the training set, within its range."""
        return self.score(features(dataset, workers=workers, progress=progress))

    def score(self, measured: Features) -> Values:
        """Score the rows of `features` [N, channels]: float64 [N]."""
        x = (measured - self.centre) / self.scale
        both = (self.trees.predict(x) + self.machine.predict(x)) / 2
        return np.clip(self.units[0] + self.units[1] * both, self.low, self.high)


def features(dataset: QualitySet, *, workers: int = 2, progress: Progress | None = None) -> Features:
    """Compute the scene statistics of every image at the network's size in `workers` threads: float32 [N, channels]."""
    layer = SceneStatistics()

    @torch.inference_mode()
    def measure(index: int) -> Features:
        values: Features = layer(dataset.image(index)[None].float().div(255))[0].numpy()
        return values

    rows = []
    for row in prefetch(measure, range(len(dataset)), workers=workers, ahead=4 * max(workers, 1)):
        rows.append(row)
        if progress is not None:
            progress(f"statistics of {dataset.title}", len(rows), len(dataset))
    return np.stack(rows)


def fit_baseline(
    train: QualitySet, val: QualitySet, *, workers: int = 2, progress: Progress | None = None, seed: int = 0
) -> Baseline:
    """Fit on `train`, with the settings that reach the highest SRCC on `val`.

    Raises:
        UserError: no scikit-learn, a split of fewer than 3 images, or one whose scores are all equal.
    """
    require_sklearn()
    for split in (train, val):
        if len(split) < 3 or np.ptp(split.scores) == 0:
            raise UserError(f"{split.title}: a baseline needs 3 images or more, of different scores")
    x, x_val = (features(split, workers=workers, progress=progress) for split in (train, val))
    centre, scale = x.mean(0), x.std(0)
    scale[scale == 0] = 1
    x, x_val = (x - centre) / scale, (x_val - centre) / scale
    units = float(train.scores.mean()), float(train.scores.std())
    y = (train.scores - units[0]) / units[1]
    steps = _Steps(len(_LEAVES) + len(_COSTS) * len(_WIDTHS), progress)
    trees, tree_settings = _best_trees(x, y, x_val, val.scores, steps, seed)
    machine, machine_settings = _best_machine(x, y, x_val, val.scores, steps)
    return Baseline(trees, machine, centre, scale, units, train.low, train.high, tree_settings | machine_settings)


def require_sklearn() -> None:
    """Check that scikit-learn can be imported. Raises UserError, which says how to install it."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        wanted = 'the hand-crafted baseline needs scikit-learn: pip install "polyscale-iqa[baseline]"'
        raise UserError(wanted) from error


@dataclass
class _Steps:
    """Counts the regressors fitted."""

    total: int
    progress: Progress | None
    done: int = 0

    def step(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress("choosing settings", self.done, self.total)


def _best_trees(
    x: Features, y: Values, x_val: Features, truth: Values, steps: _Steps, seed: int
) -> tuple[Any, dict[str, Any]]:
    """Leaves and number of trees by validation: one long fit for each count of leaves, then the best again, cut off."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    def trees(leaves: int, rounds: int) -> Any:
        settings: dict[str, Any] = {"learning_rate": 0.05, "l2_regularization": 1.0, "min_samples_leaf": 20}
        settings |= {"max_features": 0.3, "early_stopping": False, "random_state": seed}
        return HistGradientBoostingRegressor(max_leaf_nodes=leaves, max_iter=rounds, **settings).fit(x, y)

    best, chosen = -np.inf, (_LEAVES[0], 1)
    for leaves in _LEAVES:
        for rounds, predicted in enumerate(trees(leaves, _ROUNDS).staged_predict(x_val), start=1):
            reached = _srcc(predicted, truth) if rounds % 20 == 0 else -np.inf
            if reached > best:
                best, chosen = reached, (leaves, rounds)
        steps.step()
    return trees(*chosen), {"leaves": chosen[0], "trees": chosen[1], "val_SRCC_trees": best}


def _best_machine(x: Features, y: Values, x_val: Features, truth: Values, steps: _Steps) -> tuple[Any, dict[str, Any]]:
    from sklearn.svm import SVR

    best, kept, chosen = -np.inf, None, {}
    for cost, width in product(_COSTS, _WIDTHS):
        machine = SVR(C=cost, gamma=width / x.shape[1], epsilon=0.1, cache_size=500).fit(x, y)
        reached = _srcc(machine.predict(x_val), truth)
        if kept is None or reached > best:
            best, kept, chosen = reached, machine, {"C": cost, "gamma": width / x.shape[1]}
        steps.step()
    return kept, {**chosen, "val_SRCC_machine": best}


def _srcc(predicted: Values, truth: Values) -> float:
    """SRCC, the lowest there is for predictions that are all equal."""
    return -1.0 if np.ptp(predicted) == 0 else float(spearmanr(predicted, truth).statistic)
