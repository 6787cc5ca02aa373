"""The metrics of camouflaged object detection, computed by pysodmetrics with the field's conventions.

Per image: the probability map is resized bilinearly to the mask's own size (the mask is never resized), stretched to
[0, 1] by its minimum and maximum, and quantised to uint8; the mask is `GT > 128`. Then S (Fan, ICCV 2017), weighted F
(Margolin, CVPR 2014, beta^2 = 1), E (Fan, IJCAI 2018), F (beta^2 = .3), MAE and IoU. E and F are curves over 256
thresholds: their mean and maximum are taken on the mean curve of the set, as the toolbox does, not per image.

What the conventions imply: a perfect map gets E_mean .997 and F_mean .996 or so (threshold 0 marks everything), an
all-zero map S of about .47; IoU is of the stretched map at > .5, per image, then averaged. An image whose mask is
empty (NonCAM of COD10K-v3) is scored without the stretch, which would blow up a nearly empty map, and reported apart.

An image's scores are one row of fixed length, so that rows can be gathered over processes; see `COLUMNS`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from py_sod_metrics import MAE, Emeasure, FmeasureHandler, FmeasureV2, IOUHandler, Smeasure, WeightedFmeasure

from polyscale.data.images import resize_map

Row = NDArray[np.float64]

COLUMNS = ("S", "wF", "MAE", "IoU", "E_adp", "F_adp", "area", "predicted_area")
THRESHOLDS = 256
ROW_LENGTH = len(COLUMNS) + 2 * THRESHOLDS

_E_CURVE = slice(len(COLUMNS), len(COLUMNS) + THRESHOLDS)
_F_CURVE = slice(_E_CURVE.stop, ROW_LENGTH)
_FAST = ("S", "wF", "MAE", "IoU")
_BINS = {"small": (0.0, 0.01), "medium": (0.01, 0.05), "large": (0.05, math.inf)}  # [from, to) of the image's area

LOWER_IS_BETTER = frozenset({"MAE", "empty_MAE", "empty_area"})


def prepare(probability: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The uint8 map that is scored: resized to the mask, stretched to [0, 1] unless the mask is empty, times 255."""
    resized = resize_map(probability, (mask.shape[0], mask.shape[1])).astype(np.float64)
    low, high = resized.min(), resized.max()
    if mask.any() and high > low:
        resized = (resized - low) / (high - low)
    return np.round(resized * 255).astype(np.uint8)


def score_image(probability: NDArray[np.floating], mask: NDArray[np.bool_], *, fast: bool = False) -> Row:
    """The scores of one image: float64 [ROW_LENGTH] = COLUMNS, the E curve, the F curve.

    `probability`: floating point [h, w] of any size with values in [0, 1]; `mask`: bool [H, W]. `area` is the mask's
    share of the image, `predicted_area` the share that the unstretched map puts above .5. The curves run from the
    highest threshold to the lowest. `fast` computes S, wF, MAE, IoU only and leaves the rest of E and F NaN: at
    321 x 481 that is 28 ms instead of 40 ms, of which weighted F is 24 (its distance transform and its indexing).

    Raises ValueError for a wrong shape or type and for values that are not in [0, 1].
    """
    _check(probability, mask)
    scored = prepare(probability, mask)
    # pysodmetrics would stretch every map, each metric again; the map is stretched already or must not be
    normal = scored / 255
    row = np.full(ROW_LENGTH, np.nan)
    row[COLUMNS.index("area")] = mask.mean()
    row[COLUMNS.index("predicted_area")] = np.mean(probability > 0.5)

    structure, weighted, absolute = Smeasure(), WeightedFmeasure(), MAE()
    handlers = {"iou": IOUHandler(with_dynamic=False, with_adaptive=False, with_binary=True)}
    if not fast:
        handlers["f"] = FmeasureHandler(with_dynamic=True, with_adaptive=True)
    counted = FmeasureV2(handlers)
    for metric in (structure, weighted, absolute, counted):
        metric.step(normal, mask, normalize=False)
    row[: len(_FAST)] = structure.sms[0], weighted.weighted_fms[0], absolute.maes[0], handlers["iou"].binary_results[0]
    if not fast:
        aligned = Emeasure()
        aligned.step(normal, mask, normalize=False)
        row[COLUMNS.index("E_adp")] = aligned.adaptive_ems[0]
        row[COLUMNS.index("F_adp")] = handlers["f"].adaptive_results[0]
        row[_E_CURVE] = aligned.changeable_ems[0]
        if mask.size == 1:  # E divides by N - 1 + eps
            row[_E_CURVE] *= np.spacing(1)
            row[COLUMNS.index("E_adp")] *= np.spacing(1)
        row[_F_CURVE] = handlers["f"].dynamic_results[0]
    return row


def summarise(rows: NDArray[np.float64]) -> dict[str, float]:
    """The set's metrics from its rows [N, ROW_LENGTH]; the order of the rows does not matter, to the last bit.

    Keys: S, wF, MAE, IoU, E_mean, E_max, E_adp, F_mean, F_max, F_adp, wF_small, wF_medium, wF_large (objects below
    1 %, 1 to 5 %, from 5 % of the image) and images: all over images with an object. Images without one add empty_MAE,
    empty_area (the share of pixels above .5, wrongly) and empty_images. A key that no image defines is absent: no
    image in the size bin, no empty mask, or E and F of rows scored with `fast`.
    """
    rows = np.asarray(rows, dtype=np.float64).reshape(-1, ROW_LENGTH)
    area = column(rows, "area")
    filled, empty = rows[area > 0], rows[area == 0]
    summary: dict[str, float] = {}
    if len(filled):
        summary |= {name: _mean(column(filled, name)) for name in _FAST}
        if not np.isnan(column(filled, "E_adp")).any():
            summary |= _curves(filled)
        for name, (low, high) in _BINS.items():
            inside = filled[(column(filled, "area") >= low) & (column(filled, "area") < high)]
            if len(inside):
                summary[f"wF_{name}"] = _mean(column(inside, "wF"))
    summary["images"] = float(len(filled))
    if len(empty):
        summary["empty_MAE"] = _mean(column(empty, "MAE"))
        summary["empty_area"] = _mean(column(empty, "predicted_area"))
        summary["empty_images"] = float(len(empty))
    return summary


def column(rows: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """One of COLUMNS out of rows [N, ROW_LENGTH]: float64 [N]."""
    return rows[:, COLUMNS.index(name)]


def _curves(rows: NDArray[np.float64]) -> dict[str, float]:
    summary = {}
    for letter, where in (("E", _E_CURVE), ("F", _F_CURVE)):
        curve = [_mean(values) for values in rows[:, where].T]
        summary[f"{letter}_mean"] = _mean(np.asarray(curve))
        summary[f"{letter}_max"] = max(curve)
        summary[f"{letter}_adp"] = _mean(column(rows, f"{letter}_adp"))
    return summary


def _mean(values: NDArray[np.float64]) -> float:
    return math.fsum(values) / len(values)  # exactly rounded, hence the same in any order


def _check(probability: NDArray[np.floating], mask: NDArray[np.bool_]) -> None:
    if probability.ndim != 2 or not np.issubdtype(probability.dtype, np.floating) or probability.size == 0:
        raise ValueError(f"probability is {probability.dtype} {probability.shape}; a floating point [h, w] is needed")
    if mask.ndim != 2 or mask.dtype != np.bool_ or mask.size == 0:
        raise ValueError(f"mask is {mask.dtype} {mask.shape}; a bool [H, W] is needed")
    low, high = float(probability.min()), float(probability.max())
    if not (low >= 0 and high <= 1):  # NaN fails as well
        raise ValueError(f"probability holds values from {low:.3g} to {high:.3g}; [0, 1] is needed")
