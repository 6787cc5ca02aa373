"""How long a step takes, part by part, at batch 1: from events to boxes, as a camera would need it."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from event_det.formats.events import Events
from event_det.model.detections import detect
from event_det.model.head import Cells
from event_det.model.network import EventDetector, State
from event_det.representations.histogram import stacked_histogram
from polyscale.inference.precision import autocast

PARTS = ("histogram", "backbone", "pyramid", "head", "boxes")
WINDOW = 50_000  # microseconds


@torch.no_grad()
def measure_latency(
    model: EventDetector,
    *,
    events: int = 20_000,
    repeats: int = 30,
    precision: str = "fp32",
    cutoff: int = 10,
    threshold: float = 0.1,
) -> dict[str, list[float]]:
    """Milliseconds of each part of `repeats` steps, and of the whole under "step"; a few steps before do not count.

    Args:
        model: in eval mode, where it is to run.
        events: of a window of 50 ms, drawn evenly over the frame.
        repeats: steps that are timed.
        precision: see polyscale.inference.precision.
        cutoff: of the histogram.
        threshold: least score of a box.
    """
    device = next(model.parameters()).device
    rng = np.random.default_rng(0)
    bins = model.in_channels // 2
    window = _window(rng, events, model.size)
    times: dict[str, list[float]] = {part: [] for part in (*PARTS, "step")}

    def timed(part: str, work: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter()
        result = work(*arguments)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times[part].append(1000 * (time.perf_counter() - start))
        return result

    def boxes(cells: Cells) -> object:
        return [[tensor.cpu() for tensor in found] for found in detect(cells, model.size, threshold)]

    def backbone(frame: NDArray[np.uint8], state: State | None) -> tuple[list[Tensor], State]:
        return model.backbone_features(torch.from_numpy(frame)[None, None].to(device), state)

    state = None
    for _ in range(repeats + 3):
        start = time.perf_counter()
        frame = timed("histogram", partial(stacked_histogram, bins=bins, cutoff=cutoff), window, *model.size)
        with autocast(precision, device):
            features, after = timed("backbone", backbone, frame, state)
            levels, after["attention"] = timed("pyramid", model.pyramid, features, state)
            cells = timed("head", model.head, levels)
        timed("boxes", boxes, cells)
        state = after
        times["step"].append(1000 * (time.perf_counter() - start))
    return {part: values[3:] for part, values in times.items()}


def latency_rows(times: dict[str, list[float]]) -> list[dict[str, Any]]:
    """One row per part: median and 95th percentile in milliseconds."""
    return [
        {"part": part, "p50_ms": float(np.median(values)), "p95_ms": float(np.percentile(values, 95))}
        for part, values in times.items()
    ]


def _window(rng: np.random.Generator, count: int, size: tuple[int, int]) -> Events:
    return Events(
        t=np.sort(rng.integers(0, WINDOW, count)),
        x=rng.integers(0, size[1], count).astype(np.uint16),
        y=rng.integers(0, size[0], count).astype(np.uint16),
        p=rng.integers(0, 2, count).astype(np.uint8),
    )
