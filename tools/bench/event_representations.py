"""The stacked histogram next to RVT's way (torch, one index an event): `python tools/bench/event_representations.py`.

Windows of 500,000 made-up events on 640 x 480 pixels, 10 bins, one thread; the two take turns of REPEATS windows. Both
must be equal.
"""

import statistics
import time

import numpy as np
import torch

from event_det import Events, stacked_histogram

COUNT, WIDTH, HEIGHT, BINS, ROUNDS, REPEATS = 500_000, 640, 480, 10, 21, 5


def rvt_histogram(t: torch.Tensor, x: torch.Tensor, y: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """Compute the histogram as StackedHistogram.construct of RVT does in its fast mode."""
    result = torch.zeros((2, BINS, HEIGHT, WIDTH), dtype=torch.uint8)
    first, last = int(t[0]), int(t[-1])
    index = torch.clamp(((t - first) / max(last - first, 1) * BINS).floor(), max=BINS - 1).long()
    flat = x.long() + WIDTH * y.long() + HEIGHT * WIDTH * index + BINS * HEIGHT * WIDTH * p.long()
    result.put_(flat, torch.ones_like(flat, dtype=torch.uint8), accumulate=True)
    return torch.clamp(result, min=0, max=10).reshape(-1, HEIGHT, WIDTH)


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x, y = (np.abs(np.cumsum(rng.integers(-3, 4, COUNT))) % side for side in (WIDTH, HEIGHT))
    t = np.sort(rng.integers(0, 50_000, COUNT))
    events = Events(t, x.astype(np.uint16), y.astype(np.uint16), rng.integers(0, 2, COUNT).astype(np.uint8))
    columns = [torch.from_numpy(getattr(events, name).astype(np.int64)) for name in "txyp"]
    out = stacked_histogram(events, HEIGHT, WIDTH, wrap=True)
    assert np.array_equal(out, rvt_histogram(*columns).numpy())
    ours, theirs = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(REPEATS):
            stacked_histogram(events, HEIGHT, WIDTH, out=out)
        half = time.perf_counter()
        for _ in range(REPEATS):
            rvt_histogram(*columns)
        ours.append((half - start) / REPEATS)
        theirs.append((time.perf_counter() - half) / REPEATS)
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    speeds = [COUNT / statistics.median(spent) / 1e6 for spent in (ours, theirs)]
    low, middle, high = (ratios[ROUNDS * part // 4] for part in (1, 2, 3))
    print(
        f"ours {speeds[0]:.0f}, torch {speeds[1]:.0f} M events/s; ours / torch {middle:.1f} ({low:.1f} to {high:.1f})"
    )


if __name__ == "__main__":
    main()
