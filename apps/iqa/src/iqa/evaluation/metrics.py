"""How well predicted scores follow mean opinion scores (MOS): the correlations of the field.

SRCC, PLCC and KRCC (tau-b) are scipy's. PLCC_fitted and RMSE are taken after the 4-parameter logistic of VQEG's reports
(2003), which forgives a scale that is bent but monotone: b2 + (b1 - b2) / (1 + exp(-(x - b3) / |b4|)). MAE is raw.

A value that the data do not define (constant predictions, fewer than 3 images, a fit that did not converge) is None,
and "note" gives the reason: nothing is filled in. Intervals are percentiles of a bootstrap over the images.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import curve_fit
from scipy.special import expit
from scipy.stats import kendalltau, pearsonr, rankdata, spearmanr

from polyscale.data.naming import plural
from polyscale.evaluation.bootstrap import Difference, Indices, Interval, bootstrap, interval

Values = NDArray[np.float64]

NAMES = ("SRCC", "PLCC", "PLCC_fitted", "KRCC", "RMSE", "MAE")
LOWER_IS_BETTER = frozenset({"RMSE", "MAE"})
MIN_IMAGES = 3  # for a correlation: of two it is always 1 or -1
MIN_TO_FIT = 20  # images, five for each parameter of the logistic: it goes through any five points
MIN_FOR_INTERVAL = 10

_STARTS = (0.3, 1.0, 3.0)  # widths |b4|, in deviations of the predictions, from a step to a line


class Logistic(NamedTuple):
    """The curve from predictions to MOS; b1 and b2 are its ends, b3 its middle, b4 > 0 its width."""

    b1: float
    b2: float
    b3: float
    b4: float

    def __call__(self, predicted: ArrayLike) -> Values:
        """Return the curve at `predicted`, float64 of its shape."""
        x = np.asarray(predicted, dtype=np.float64)
        return _logistic(x, *self)


def correlations(predicted: ArrayLike, truth: ArrayLike) -> dict[str, Any]:
    """Compute NAMES of predictions against MOS.

    Args:
        predicted: [N], N >= 1.
        truth: MOS [N]; RMSE and MAE have its units.

    Returns:
        Floats by name, None where undefined; "note" is the reason where any is.

    Raises:
        ValueError: unequal shapes, or a value that is not finite.
    """
    x, y = _pair(predicted, truth)
    values: dict[str, Any] = dict.fromkeys(NAMES)
    values["MAE"] = float(np.abs(x - y).mean())
    reason = _undefined(x, y)
    if reason:
        return values | {"note": f"{reason}: no correlations, no RMSE"}
    for name, correlation in (("SRCC", spearmanr), ("PLCC", pearsonr), ("KRCC", kendalltau)):
        values[name] = float(correlation(x, y).statistic)
    fit = fit_logistic(x, y)
    if fit is None:
        reason = plural(len(x), "image") if len(x) < MIN_TO_FIT else "the logistic fit did not converge"
        return values | {"note": f"{reason}: no PLCC_fitted, no RMSE"}
    mapped = fit(x)
    values["RMSE"] = float(np.sqrt(np.mean((mapped - y) ** 2)))
    if np.ptp(mapped) == 0:
        return values | {"note": "the logistic fit is a constant: no PLCC_fitted"}
    values["PLCC_fitted"] = float(pearsonr(mapped, y).statistic)
    return values


def fit_logistic(predicted: ArrayLike, truth: ArrayLike) -> Logistic | None:
    """Fit the 4-parameter logistic from `predicted` [N] to `truth` [N] by least squares.

    Both sides are fitted in standard deviations from their centre, so that their units do not matter.

    Returns:
        None where no start converged, for fewer than MIN_TO_FIT images, and where either side is constant.
    """
    x, y = _pair(predicted, truth)
    if len(x) < MIN_TO_FIT or _undefined(x, y):
        return None
    middle, width, mean, std = float(np.median(x)), float(x.std()), float(y.mean()), float(y.std())
    u, v = (x - middle) / width, (y - mean) / std
    best: tuple[float, Values] | None = None
    for b4 in _STARTS:
        slope, base = np.polyfit(expit(u / b4), v, 1)  # the best ends for this width
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the covariance, which nobody reads
            try:
                found, _ = curve_fit(_logistic, u, v, (base + slope, base, 0.0, b4), jac=_gradient, maxfev=3000)
            except RuntimeError:  # scipy's way of saying "did not converge"
                continue
        error = float(np.sum((_logistic(u, *found) - v) ** 2))
        if math.isfinite(error) and (best is None or error < best[0]):
            best = error, found
    if best is None:
        return None
    b1, b2, b3, b4 = map(float, best[1])
    return Logistic(b1 * std + mean, b2 * std + mean, b3 * width + middle, abs(b4) * width)


def intervals(predicted: ArrayLike, truth: ArrayLike, rounds: int = 1000, seed: int = 0) -> dict[str, Interval | None]:
    """Compute the 95 % bootstrap intervals of SRCC and PLCC over the images.

    Resamples in which one side is constant have no correlation and do not count.

    Returns:
        Interval by name; None where the correlation itself is undefined, and for fewer than MIN_FOR_INTERVAL images:
        of a handful the bootstrap is far too narrow.
    """
    x, y = _pair(predicted, truth)
    if _undefined(x, y) or len(x) < MIN_FOR_INTERVAL:
        return {"SRCC": None, "PLCC": None}
    drawn = _resample(x[None], y, rounds, seed)
    return {name: interval(values[0]) for name, values in drawn.items()}


def difference(
    a: ArrayLike, b: ArrayLike, truth: ArrayLike, rounds: int = 1000, seed: int = 0
) -> dict[str, Difference | None]:
    """Compute SRCC and PLCC of predictor `a` less those of `b` on the same images, with paired bootstrap intervals.

    Returns:
        Difference by name; None where `intervals` gives none for either.
    """
    (first, y), (second, _) = _pair(a, truth), _pair(b, truth)
    if _undefined(first, y) or _undefined(second, y) or len(y) < MIN_FOR_INTERVAL:
        return {"SRCC": None, "PLCC": None}
    drawn = _resample(np.stack([first, second]), y, rounds, seed)
    results: dict[str, Difference | None] = {}
    for name, correlation in (("SRCC", spearmanr), ("PLCC", pearsonr)):
        value = float(correlation(first, y).statistic - correlation(second, y).statistic)
        results[name] = Difference(value, *interval(drawn[name][0] - drawn[name][1]))
    return results


def by_subset(predicted: ArrayLike, truth: ArrayLike, subsets: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Compute `correlations` and "images" of each subset, by name in sorted order.

    Images without a subset ("") are left out; the result is empty where fewer than two subsets have a name.
    """
    x, y = _pair(predicted, truth)
    if len(subsets) != len(x):
        raise ValueError(f"{len(subsets)} subsets for {len(x)} images")
    of = np.asarray(subsets, dtype=object)
    names = sorted(set(subsets) - {""})
    if len(names) < 2:
        return {}
    return {name: {"images": int((of == name).sum()), **correlations(x[of == name], y[of == name])} for name in names}


def _resample(predictors: Values, truth: Values, rounds: int, seed: int) -> dict[str, Values]:
    """SRCC and PLCC of each predictor [P, N] in each of `rounds` resamples: float64 [P, rounds]."""

    def statistic(index: Indices) -> Values:
        drawn = truth[index]
        ranks = rankdata(drawn, axis=1)
        srcc = [_pearson(rankdata(p[index], axis=1), ranks) for p in predictors]
        return np.stack([srcc, [_pearson(p[index], drawn) for p in predictors]])

    srcc, plcc = bootstrap(statistic, len(truth), rounds=rounds, seed=seed)
    return {"SRCC": srcc, "PLCC": plcc}


def _pearson(a: Values, b: Values) -> Values:
    """Pearson's correlation of each row of [R, N] with the same row of the other: [R], NaN where a row is constant."""
    constant = (np.ptp(a, axis=1) == 0) | (np.ptp(b, axis=1) == 0)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    product, squares = _dots(a, b), _dots(a, a) * _dots(b, b)
    result: Values = np.where(constant, np.nan, product / np.sqrt(np.where(constant, 1.0, squares)))
    return result


def _dots(a: Values, b: Values) -> Values:
    products: Values = np.einsum("rn,rn->r", a, b)  # numpy.vecdot came with numpy 2
    return products


def _logistic(x: Values, b1: float, b2: float, b3: float, b4: float) -> Values:
    curve: Values = b2 + (b1 - b2) * expit((x - b3) / abs(b4))
    return curve


def _gradient(x: Values, b1: float, b2: float, b3: float, b4: float) -> Values:
    """Of _logistic by its parameters, [N, 4]: with differences instead, one small set in ten did not converge."""
    z = (x - b3) / abs(b4)
    rising = expit(z)
    slope = (b1 - b2) * rising * (1 - rising)
    return np.stack([rising, 1 - rising, -slope / abs(b4), -slope * z / b4], axis=1)


def _undefined(x: Values, y: Values) -> str:
    """Why no correlation of the two is defined; empty where it is."""
    if len(x) < MIN_IMAGES:
        return plural(len(x), "image")
    if np.ptp(x) == 0:
        return "the predictions are all equal"
    return "the MOS are all equal" if np.ptp(y) == 0 else ""


def _pair(predicted: ArrayLike, truth: ArrayLike) -> tuple[Values, Values]:
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) == 0:
        raise ValueError(f"predicted and truth are {x.shape} and {y.shape}; two vectors of the same images are needed")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("predicted or truth holds a value that is not finite")
    return x, y
