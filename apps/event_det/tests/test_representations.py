"""Kernels against their references in NumPy, and the histogram against RVT's formula in torch."""

import numpy as np
import pytest
import torch
from event_recordings import SENSOR, make_events

from event_det import Events, stacked_histogram, time_surface, voxel_grid
from event_det.representations.histogram import bin_starts, reference_histogram, time_bins
from event_det.representations.time_surface import reference_surface
from event_det.representations.voxel_grid import reference_grid

WIDTH, HEIGHT = SENSOR
CASES = [make_events(20_000, 0), make_events(5000, 1, sensor=(4, 3)), make_events(1), Events.allocate(0)]


def rvt_histogram(events: Events, bins: int, cutoff: int, fast: bool) -> np.ndarray:
    """Compute the histogram as RVT's StackedHistogram.construct does (data/utils/representations.py)."""
    t, x, y, p = (torch.from_numpy(getattr(events, name).astype(np.int64)) for name in "txyp")
    result = torch.zeros((2, bins, HEIGHT, WIDTH), dtype=torch.uint8 if fast else torch.int16)
    if len(events):
        first, last = int(t[0]), int(t[-1])
        index = torch.clamp(((t - first) / max(last - first, 1) * bins).floor(), max=bins - 1).long()
        flat = x + WIDTH * y + HEIGHT * WIDTH * index + bins * HEIGHT * WIDTH * p
        result.put_(flat, torch.ones_like(flat, dtype=result.dtype), accumulate=True)
    return torch.clamp(result, min=0, max=cutoff).to(torch.uint8).reshape(-1, HEIGHT, WIDTH).numpy()


@pytest.mark.parametrize("events", CASES, ids=len)
@pytest.mark.parametrize(("bins", "cutoff"), [(10, 10), (7, 3), (1, 255)])
def test_the_histogram_is_rvts(events: Events, bins: int, cutoff: int) -> None:
    ours = stacked_histogram(events, HEIGHT, WIDTH, bins=bins, cutoff=cutoff)
    assert np.array_equal(ours, rvt_histogram(events, bins, cutoff, fast=False))
    assert np.array_equal(ours, reference_histogram(events, HEIGHT, WIDTH, bins=bins, cutoff=cutoff))
    wrapped = stacked_histogram(events, HEIGHT, WIDTH, bins=bins, cutoff=cutoff, wrap=True, out=np.ones_like(ours))
    assert np.array_equal(wrapped, rvt_histogram(events, bins, cutoff, fast=True))


def test_the_fast_mode_of_rvt_wraps() -> None:
    count = 300
    events = Events(np.arange(count), *(np.zeros(count, kind) for kind in (np.uint16, np.uint16, np.uint8)))
    counts = [int(stacked_histogram(events, 1, 1, bins=1, cutoff=100, wrap=wrap)[0, 0, 0]) for wrap in (False, True)]
    assert counts == [100, count - 256]


@pytest.mark.parametrize("span", [0, 1, 7, 49_999, 50_000, 16_777_217, 3_000_000_019])
def test_bin_starts_are_those_of_the_float32_formula(span: int) -> None:
    rng = np.random.default_rng(0)
    elapsed = np.unique(np.concatenate([rng.integers(0, span + 1, 2000), [0, span]]))
    for bins in (1, 3, 10, 20):
        found = np.searchsorted(bin_starts(span, bins), elapsed, side="right") - 1
        assert np.array_equal(found, time_bins(elapsed, span, bins))


@pytest.mark.parametrize("events", CASES, ids=len)
@pytest.mark.parametrize("bins", [1, 5])
def test_the_voxel_grid_equals_its_reference(events: Events, bins: int) -> None:
    grid = voxel_grid(events, HEIGHT, WIDTH, bins=bins)
    assert np.array_equal(grid, reference_grid(events, HEIGHT, WIDTH, bins=bins))
    signed = events.p.astype(int).sum() * 2 - len(events)
    assert grid.sum(dtype=np.float64) == pytest.approx(signed, abs=1e-2)


@pytest.mark.parametrize("events", CASES, ids=len)
def test_the_time_surface_equals_its_reference(events: Events) -> None:
    surface = time_surface(events, HEIGHT, WIDTH, tau=1000.0)
    assert np.array_equal(surface, reference_surface(events, HEIGHT, WIDTH, tau=1000.0))
    if len(events):
        assert surface[events.p[-1], events.y[-1], events.x[-1]] == 1
        with pytest.raises(ValueError, match="earlier than its last event"):
            time_surface(events, HEIGHT, WIDTH, at=int(events.t[-1]) - 1)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="cutoff"):
        stacked_histogram(CASES[0], HEIGHT, WIDTH, cutoff=300)
    with pytest.raises(ValueError, match="uint8 array of shape"):
        stacked_histogram(CASES[0], HEIGHT, WIDTH, out=np.zeros((20, 3, 3), np.uint8))
