"""The measures of one map against its mask: S, weighted F, E, F, MAE and IoU.

S-measure: Fan et al., ICCV 2017. Weighted F: Margolin et al., CVPR 2014. E-measure: Fan et al., IJCAI 2018. F:
Achanta et al., CVPR 2009. The values are those of pysodmetrics 1.6 (itself checked against the authors' MATLAB code);
the tests hold them to 1e-6. What differs: all but weighted F need only the number of pixels of each level inside and
outside of the mask, in the four quadrants around the mask's centroid, so one pass counts them and exact integers do
the rest. Results do not depend on rounding: a constant quadrant is constant, and an empty one weighs nothing
(pysodmetrics gives NaN for an object in the last row or column).

Maps are uint8 [H, W] (level / 255 is the probability), masks bool [H, W].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Curve = NDArray[np.float64]
Counts = NDArray[np.int64]

LEVELS = np.arange(256)

_EPS = float(np.spacing(1))  # MATLAB's eps, which the definitions add to their denominators
_SETTLED = 200  # pixels from the object at which the weight of an error is 2 to 1e-12
_OFFSETS = np.arange(-3, 4)
_GAUSS = np.exp(-(_OFFSETS**2) / (2 * 5.0**2)) / np.exp(-(_OFFSETS**2) / (2 * 5.0**2)).sum()  # 7 pixels, sigma 5


def count_levels(scored: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Counts:
    """Count the pixels of every level, by quadrant and mask.

    Args:
        scored: uint8 map [H, W].
        mask: bool [H, W]; its rounded centroid belongs to the upper left quadrant.

    Returns:
        int64 [4, 2, 256]: quadrant (upper left, upper right, lower left, lower right), outside or inside, level.
    """
    height, width = mask.shape
    inside_y, inside_x = mask.sum(axis=1), mask.sum(axis=0)
    total = int(inside_y.sum())
    if total:
        y, x = (round(float(n @ np.arange(len(n)) / total)) + 1 for n in (inside_y, inside_x))
    else:
        y, x = height, width
    codes = scored.astype(np.intp)
    codes[mask] += 256
    quadrants = (codes[:y, :x], codes[:y, x:], codes[y:, :x], codes[y:, x:])
    return np.stack([np.bincount(part.ravel(), minlength=512) for part in quadrants]).reshape(4, 2, 256)


def s_measure(counts: Counts) -> float:
    """S-measure: half the similarity of object and background, half that of the four quadrants, in [0, 1]."""
    outside, inside = counts.sum(axis=0)
    total, area = int(counts.sum()), int(inside.sum())
    mean = int((outside + inside) @ LEVELS) / (255 * total)
    if area == 0:
        return 1 - mean
    if area == total:
        return mean
    objects = (_object(inside) * area + _object(outside[::-1]) * (total - area)) / total
    regions = sum(_ssim(part) * int(part.sum()) for part in counts if part.any()) / total
    return max(0.0, 0.5 * objects + 0.5 * regions)


def e_measure(counts: Counts) -> tuple[float, Curve]:
    """E-measure at the adaptive threshold, and at 256 thresholds from the highest level to the lowest."""
    hits, alarms, area, total = _binarise(counts)
    marked = hits + alarms
    if area == 0:
        aligned: Curve = (total - marked).astype(float)
    elif area == total:
        aligned = marked.astype(float)
    else:
        mean, mask_mean = marked / total, area / total
        parts = (hits, alarms, area - hits, total - marked - (area - hits))
        values = [(p, m) for p in (1 - mean, -mean) for m in (1 - mask_mean, -mask_mean)]
        aligned = sum(  # type: ignore[assignment]
            n * (2 * p * m / (p**2 + m**2 + _EPS) + 1) ** 2 / 4 for n, (p, m) in zip(parts, values, strict=True)
        )
    scores = aligned / max(total - 1, 1)
    return float(scores[-1]), scores[:-1]


def f_measure(counts: Counts, beta_squared: float = 0.3) -> tuple[float, Curve]:
    """F-measure at the adaptive threshold, and at 256 thresholds from the highest level to the lowest."""
    hits, alarms, area, _ = _binarise(counts)
    scores = (1 + beta_squared) * hits / np.maximum(beta_squared * area + hits + alarms, _EPS)
    return float(scores[-1]), scores[:-1]


def mean_absolute_error(counts: Counts) -> float:
    """Mean absolute difference of map and mask, in [0, 1]."""
    outside, inside = counts.sum(axis=0)
    return int(outside @ LEVELS + inside @ LEVELS[::-1]) / (255 * int(counts.sum()))


def iou(counts: Counts) -> float:
    """Intersection over union of the mask and the pixels above one half; 0 where both are empty."""
    outside, inside = counts.sum(axis=0)
    return float(inside[128:].sum() / max(int(inside.sum() + outside[128:].sum()), 1))


def weighted_f(scored: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    """Weighted F-measure (beta 1): errors next to each other count less, errors far from the object up to twice.

    The value is 0 for an empty mask.
    """
    area = int(np.count_nonzero(mask))
    if not area:
        return 0.0
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    near = tuple(slice(max(0, i[0] - _SETTLED), i[-1] + _SETTLED + 1) for i in (rows, columns))
    far = (int(scored.sum()) - int(scored[near].sum())) / 255
    scored, mask = scored[near], mask[near]
    distance, nearest = ndimage.distance_transform_edt(~mask, return_indices=True)
    error = np.where(mask, 255 - scored, scored) / 255
    # an error outside of the object is, for the smoothing, that of the nearest pixel of the object
    smoothed = error[nearest[0], nearest[1]]
    for axis in (0, 1):
        smoothed = ndimage.correlate1d(smoothed, _GAUSS, axis, mode="constant")
    hits = area - float(np.minimum(error, smoothed)[mask].sum())
    outside = ~mask
    alarms = float((error * (2 - np.exp2(distance / -5)))[outside].sum()) + 2 * far
    recall, precision = hits / area, hits / (hits + alarms + _EPS)
    return 2 * recall * precision / (recall + precision + _EPS)


def _object(counts: Counts) -> float:
    """Similarity of one region to 1: high mean, low deviation."""
    pixels, first, second = int(counts.sum()), int(counts @ LEVELS), int(counts @ LEVELS**2)
    mean = first / (255 * pixels)
    variance = (pixels * second - first**2) / (255**2 * pixels * max(pixels - 1, 1))
    return 2 * mean / (mean**2 + 1 + variance**0.5 + _EPS)


def _ssim(counts: Counts) -> float:
    """Structural similarity of map and mask in one quadrant, [2, 256]."""
    levels = counts.sum(axis=0)
    pixels, area = int(counts.sum()), int(counts[1].sum())
    first, second, shared = int(levels @ LEVELS), int(levels @ LEVELS**2), int(counts[1] @ LEVELS)
    x, y = first / (255 * pixels), area / pixels
    divisor = pixels * max(pixels - 1, 1)
    covariance = (pixels * shared - first * area) / (255 * divisor)
    variances = (pixels * second - first**2) / (255**2 * divisor) + area * (pixels - area) / divisor
    product, squares = 4 * x * y * covariance, (x**2 + y**2) * variances
    if product != 0:
        return product / (squares + _EPS)
    return 1.0 if squares == 0 else 0.0


def _binarise(counts: Counts) -> tuple[Counts, Counts, int, int]:
    """Pixels marked inside and outside of the mask, the mask's area and the image's.

    Marked is what reaches the threshold; [257] thresholds: 255 down to 0, then the adaptive one, twice the map's mean.
    """
    outside, inside = counts.sum(axis=0)
    total = int(counts.sum())
    reached = LEVELS * total >= min(2 * int((outside + inside) @ LEVELS), 255 * total)
    hits, alarms = (np.append(np.cumsum(part[::-1]), part[reached].sum()) for part in (inside, outside))
    return hits, alarms, int(inside.sum()), total
