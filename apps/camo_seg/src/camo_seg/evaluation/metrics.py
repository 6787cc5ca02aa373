"""Metrics of camouflaged object detection by the field's protocol, from images to the summary of a data set.

Per image: the probability map is resized bilinearly to the mask's own size (the mask is never resized), stretched to
[0, 1] by its minimum and maximum, and quantised to uint8; the mask is `GT > 128`. Then S, weighted F (beta^2 = 1),
E, F (beta^2 = .3), MAE and IoU (see measures.py). E and F are curves over 256 thresholds: their mean and maximum are
taken on the mean curve of the set, not per image.

What the protocol implies: a perfect map gets E_mean .997 and F_mean .996 or so (threshold 0 marks everything), an
all-zero map S of about .47; IoU is of the stretched map at > .5, per image, then averaged. An image whose mask is
empty (NonCAM of COD10K-v3) is scored without the stretch, which would blow up a nearly empty map, and reported apart.

An image's scores are one row of fixed length, so that rows can be gathered over processes; see `COLUMNS`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from camo_seg.evaluation import measures
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
    """Return the uint8 map that is scored.

    It has the size of the mask, is stretched to [0, 1] unless the mask is empty, and multiplied by 255.
    """
    resized = resize_map(probability, (mask.shape[0], mask.shape[1])).astype(np.float64)
    low, high = resized.min(), resized.max()
    if mask.any() and high > low:
        resized = (resized - low) / (high - low)
    return np.round(resized * 255).astype(np.uint8)


def score_image(probability: NDArray[np.floating], mask: NDArray[np.bool_], *, fast: bool = False) -> Row:
    """Score one image.

    Args:
        probability: floating point [h, w] of any size, values in [0, 1].
        mask: bool [H, W].
        fast: Compute S, wF, MAE and IoU only and leave E and F NaN.

    Returns:
        float64 [ROW_LENGTH]: COLUMNS, the E curve, the F curve. `area` is the mask's share of the image,
        `predicted_area` the share of the unstretched map above .5. The curves run from the highest threshold to the
        lowest.

    Raises:
        ValueError: a wrong shape or type, or values that are not in [0, 1].
    """
    _check(probability, mask)
    scored = prepare(probability, mask)
    counts = measures.count_levels(scored, mask)
    row = np.full(ROW_LENGTH, np.nan)
    scores = {
        "S": measures.s_measure(counts),
        "wF": measures.weighted_f(scored, mask),
        "MAE": measures.mean_absolute_error(counts),
        "IoU": measures.iou(counts),
        "area": float(mask.mean()),
        "predicted_area": float(np.mean(probability > 0.5)),
    }
    if not fast:
        scores["E_adp"], row[_E_CURVE] = measures.e_measure(counts)
        scores["F_adp"], row[_F_CURVE] = measures.f_measure(counts)
    for name, score in scores.items():
        row[COLUMNS.index(name)] = score
    return row


def summarise(rows: NDArray[np.float64]) -> dict[str, float]:
    """Summarise a data set from its rows [N, ROW_LENGTH]; their order does not matter, to the last bit.

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
    summary["images"] = len(filled)
    if len(empty):
        summary["empty_MAE"] = _mean(column(empty, "MAE"))
        summary["empty_area"] = _mean(column(empty, "predicted_area"))
        summary["empty_images"] = len(empty)
    return summary


def column(rows: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Return one of COLUMNS out of rows [N, ROW_LENGTH]: float64 [N]."""
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
        got = f"{probability.dtype} {list(probability.shape)}"
        raise ValueError(f"probability must be floating point [h, w], got {got}")
    if mask.ndim != 2 or mask.dtype != np.bool_ or mask.size == 0:
        raise ValueError(f"mask must be bool [H, W], got {mask.dtype} {list(mask.shape)}")
    low, high = float(probability.min()), float(probability.max())
    if not (low >= 0 and high <= 1):  # NaN fails as well
        raise ValueError(f"probability must be in [0, 1], got values from {low:.3g} to {high:.3g}")
