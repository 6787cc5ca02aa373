"""Time of scoring one image: our measures and those of pysodmetrics, in turns in one process, equal to 1e-6.

python tools/bench/camo_seg_metrics.py [ROUNDS]; needs pysodmetrics (it is in the test group).
"""

import statistics
import sys
import time

import numpy as np
import py_sod_metrics as psm
from numpy.typing import NDArray
from scipy import ndimage

from camo_seg.evaluation import measures

SIZES = {(321, 481): 0.19, (768, 1024): 0.05, (2048, 3072): 0.05}  # height, width: share of the object


def ours(scored: NDArray[np.uint8], mask: NDArray[np.bool_]) -> list[float]:
    """Return S, wF, MAE, IoU, adaptive E and F, mean E and F."""
    counts = measures.count_levels(scored, mask)
    (e, e_curve), (f, f_curve) = measures.e_measure(counts), measures.f_measure(counts)
    values = [measures.s_measure(counts), measures.weighted_f(scored, mask), measures.mean_absolute_error(counts)]
    return [*values, measures.iou(counts), e, f, float(e_curve.mean()), float(f_curve.mean())]


def peer(scored: NDArray[np.uint8], mask: NDArray[np.bool_]) -> list[float]:
    """Return the same from pysodmetrics, which normalises to floats first."""
    f = psm.FmeasureHandler(with_dynamic=True, with_adaptive=True)
    overlap = psm.IOUHandler(with_dynamic=False, with_adaptive=False, with_binary=True)
    s, w, e, m = psm.Smeasure(), psm.WeightedFmeasure(), psm.Emeasure(), psm.MAE()
    for metric in (s, w, e, m, psm.FmeasureV2({"f": f, "iou": overlap})):
        metric.step(scored / 255, mask, normalize=False)
    values = [s.sms[0], w.weighted_fms[0], m.maes[0], overlap.binary_results[0], e.adaptive_ems[0]]
    return [*values, f.adaptive_results[0], e.changeable_ems[0].mean(), f.dynamic_results[0].mean()]


def main(rounds: int = 15) -> None:
    """Print one line for each size."""
    rng = np.random.default_rng(0)
    for size, share in SIZES.items():
        field = ndimage.gaussian_filter(rng.normal(size=size), min(size) / 12)
        mask = field > np.quantile(field, 1 - share)
        noisy = ndimage.gaussian_filter(mask + rng.normal(0, 0.3, size), 3)
        scored = np.round(np.clip(noisy, 0, 1) * 255).astype(np.uint8)
        difference = np.abs(np.subtract(ours(scored, mask), peer(scored, mask))).max()
        assert difference <= 1e-6, difference
        seconds: dict[str, list[float]] = {"ours": [], "peer": []}
        for turn in range(rounds):
            for name in ("ours", "peer") if turn % 2 else ("peer", "ours"):
                start = time.process_time()
                (ours if name == "ours" else peer)(scored, mask)
                seconds[name].append(time.process_time() - start)
        low, middle, high = statistics.quantiles((a / b for a, b in zip(*seconds.values(), strict=True)), n=4)
        times = {name: f"{1e3 * statistics.median(taken):.1f} ms" for name, taken in seconds.items()}
        print(f"{size[0]} x {size[1]}: {times}, ratio {middle:.2f} ({low:.2f}..{high:.2f}), equal to {difference:.0e}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
