"""COCO's average precision of boxes in frames, through faster-coco-eval, with an interval over recordings.

What differs from calling the library: arrays in, no annotation files and no printing; undefined values are NaN; the
precision can be computed again on other frames without matching boxes again, which is what the intervals need.

    F frames, K classes, T = 10 overlaps from .5 to .95, R = 101 recalls, A areas
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polyscale.errors import UserError

SIZES = ("all", "S", "M", "L")  # below 32^2, to 96^2, above: square pixels of the frame
MAX_BOXES = 100  # of a class in a frame, the best by score: COCO's
GROUPS = 20  # of the jackknife


class Truth(NamedTuple):
    """The boxes of a frame that somebody drew.

    Attributes:
        boxes: float32 [n, 4], (x1, y1, x2, y2) in pixels.
        labels: int64 [n].
        standing: bool [n], or None where it is not known.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    standing: NDArray[np.bool_] | None = None


class Found(NamedTuple):
    """The boxes of a frame that a predictor found.

    Attributes:
        boxes: float32 [n, 4].
        scores: float32 [n], by which they are ranked.
        labels: int64 [n].
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]


class AveragePrecision:
    """Matched boxes of F frames, whose precision can be asked for any of them.

    Args:
        truth: of each frame.
        found: of each frame.
        classes: K.
        only: bool [n] of each frame, which true boxes to look for; the others are neither asked for nor an error, and
            sizes are not told apart.
    """

    def __init__(
        self,
        truth: Sequence[Truth],
        found: Sequence[Found],
        classes: int,
        only: Sequence[NDArray[np.bool_]] | None = None,
    ) -> None:
        self.frames, self.classes = len(truth), classes
        self.empty = not any(len(frame.boxes) for frame in truth)
        if not self.empty:
            self._coco, self._matched = _match(truth, found, classes, only)

    def precision(self, frames: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Precision float64 [T, R, K, A] on `frames`, all by default; NaN where there is no true box."""
        if self.empty:
            return np.full((10, 101, self.classes, len(SIZES)), np.nan)
        chosen = np.arange(self.frames) if frames is None else np.asarray(frames)
        self._coco._evalImgs_cpp = self._matched[:, :, chosen].ravel().tolist()
        self._coco._paramsEval.imgIds = list(range(len(chosen)))
        self._coco.accumulate()
        table: NDArray[np.float64] = np.asarray(self._coco.eval["precision"])[..., 0]
        return np.where(table < 0, np.nan, table)

    def mean(self, frames: NDArray[np.int64] | None = None) -> float:
        """AP: the mean over classes and overlaps, on `frames`."""
        return _mean(self.precision(frames)[..., 0])

    def summary(self, names: Sequence[str]) -> dict[str, float]:
        """AP, AP50, AP75, by size, and of each class by name."""
        table = self.precision()
        summary = {"AP": _mean(table[..., 0]), "AP50": _mean(table[0, ..., 0]), "AP75": _mean(table[5, ..., 0])}
        summary |= {f"AP_{size}": _mean(table[..., i]) for i, size in enumerate(SIZES) if i and i < table.shape[-1]}
        return summary | {f"AP {name}": _mean(table[:, :, i, 0]) for i, name in enumerate(names)}


def jackknife_groups(recordings: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Frames to leave out together: whole recordings where there are at least 10, else consecutive parts of them.

    Args:
        recordings: int64 [F], the recording of each frame.

    Returns:
        At most GROUPS arrays of indices of frames.
    """
    units = [np.flatnonzero(recordings == number) for number in np.unique(recordings)]
    if len(units) < 10:
        parts = -(-10 // len(units))
        units = [part for unit in units for part in np.array_split(unit, parts) if len(part)]
    return [np.concatenate(units[i::GROUPS]) for i in range(min(GROUPS, len(units)))]


def jackknife(values: NDArray[np.float64], value: float) -> tuple[float, float]:
    """The 95 % interval of `value` from those without each of G groups, [G]: the delete-a-group jackknife."""
    from scipy.stats import t

    values = values[np.isfinite(values)]
    count = len(values)
    if count < 2:
        return float("nan"), float("nan")
    error = np.sqrt((count - 1) / count * ((values - values.mean()) ** 2).sum())
    half = float(t.ppf(0.975, count - 1) * error)
    return value - half, value + half


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _match(
    truth: Sequence[Truth], found: Sequence[Found], classes: int, only: Sequence[NDArray[np.bool_]] | None
) -> tuple[Any, NDArray[Any]]:
    """COCO's evaluator after its matching, and what it matched as objects [K, A, F]."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ModuleNotFoundError as error:
        raise UserError("evaluation needs faster-coco-eval: pip install faster-coco-eval") from error

    def silent(*_: object) -> None:
        """Print nothing."""

    about = {
        "images": [{"id": i} for i in range(len(truth))],
        "categories": [{"id": i, "name": str(i)} for i in range(classes)],
        "info": {},
    }
    wanted = [_rows(i, frame.boxes, frame.labels) for i, frame in enumerate(truth)]
    guesses = [_rows(i, frame.boxes, frame.labels, frame.scores) for i, frame in enumerate(found)]
    if only is not None:  # the library leaves out by area: 1 is looked for, 3 is not
        for rows, chosen in zip(wanted, only, strict=True):
            for row, is_chosen in zip(rows, chosen, strict=True):
                row["area"] = 1.0 if is_chosen else 3.0
        for rows in guesses:
            for row in rows:
                row["area"] = 1.0
    sides = [COCO({**about, "annotations": _numbered(rows)}, print_function=silent) for rows in (wanted, guesses)]
    coco = COCOeval_faster(*sides, iouType="bbox", print_function=silent, separate_eval=True)
    coco.params.maxDets = [MAX_BOXES]
    if only is not None:
        coco.params.areaRng, coco.params.areaRngLbl = [[0.0, 2.0]], ["all"]
    coco.evaluate()
    matched = np.empty(len(coco._evalImgs_cpp), object)
    matched[:] = coco._evalImgs_cpp
    return coco, matched.reshape(classes, -1, len(truth))


def _rows(
    frame: int, boxes: NDArray[np.float32], labels: NDArray[np.int64], scores: NDArray[np.float32] | None = None
) -> list[dict[str, Any]]:
    corners, sides = boxes[:, :2].tolist(), (boxes[:, 2:] - boxes[:, :2]).tolist()
    rows = [
        {"image_id": frame, "category_id": label, "bbox": [*corner, *side], "area": side[0] * side[1], "iscrowd": 0}
        for corner, side, label in zip(corners, sides, labels.tolist(), strict=True)
    ]
    if scores is not None:
        for row, score in zip(rows, scores.tolist(), strict=True):
            row["score"] = score
    return rows


def _numbered(frames: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    rows = [row for frame in frames for row in frame]
    for number, row in enumerate(rows, start=1):
        row["id"] = number
    return rows
