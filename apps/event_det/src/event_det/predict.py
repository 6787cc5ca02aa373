"""Detection in a recording: window after window, the network's memory going on, in bounded memory.

Windows are those of training: 50 ms, both of their ends included, as the stacked histogram with its cutoff. A network
that was made for half the sensor (1 Mpx) gets half-size histograms, and its boxes are brought back to the sensor.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from event_det.formats.events import Events, Sensor
from event_det.formats.recording import Recording
from event_det.representations.histogram import stacked_histogram
from polyscale.errors import UserError
from polyscale.inference import autocast, resolve_device, resolve_precision


@dataclass(frozen=True, eq=False)
class Detected:
    """What is found at the end of a window.

    Attributes:
        time: End of the window in microseconds.
        boxes: float32 [N, 4], xyxy in pixels of the sensor, best score first.
        scores: float32 [N] in [0, 1].
        labels: int64 [N].
        events: The events of the window.
    """

    time: int
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    events: Events

    def to_dict(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Return time, number of events, and the boxes with class names and scores, for JSON; rounded as in the CSV."""
        boxes = [[round(side, 2) for side in box] for box in self.boxes.tolist()]
        found = zip(boxes, [round(score, 4) for score in self.scores.tolist()], self.labels.tolist(), strict=True)
        return {
            "t": self.time,
            "events": len(self.events),
            "boxes": [{"box": box, "class": classes[label], "score": score} for box, score, label in found],
        }


class Predictor:
    """A detector ready for recordings: `for found in Predictor("nano").stream(Recording("a.raw")): ...`.

    Args:
        model: What `event_det.build.load_model` takes, or a detector, which is moved to the device and set to eval.
        device: "auto" takes CUDA or MPS where there is one.
        precision: See polyscale.inference.precision.
        threshold: Least score.
        window: Microseconds of a window, those of training.
        cutoff: Largest count of a cell, that of training.
        batch_size: Windows per forward pass; the results do not depend on it.

    Raises:
        UserError: a model that cannot be loaded, a device, precision or number that is not there.
    """

    def __init__(
        self,
        model: nn.Module | str | Path = "nano",
        device: str | torch.device = "auto",
        precision: str = "fp32",
        *,
        threshold: float = 0.3,
        window: int = 50_000,
        cutoff: int = 10,
        batch_size: int = 8,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise UserError(f"threshold is {threshold}; a number between 0 and 1 is needed", exit_code=2)
        if window < 1 or batch_size < 1:
            raise UserError(f"window {window}, batch_size {batch_size}: at least 1 is needed", exit_code=2)
        self.device = resolve_device(device)
        resolve_precision(precision, self.device)
        network: Any = model if isinstance(model, nn.Module) else _load(model)
        self.model: Any = network.to(self.device).eval()
        self.classes: tuple[str, ...] = tuple(network.classes)
        self.size: tuple[int, int] = tuple(network.size)
        self.bins = network.arguments["in_channels"] // 2
        self.precision, self.threshold, self.batch_size = precision, threshold, batch_size
        self.window, self.cutoff = window, cutoff

    def stream(self, recording: Recording, start: int | None = None, end: int | None = None) -> Iterator[Detected]:
        """Yield what is found at the end of every window.

        Args:
            recording: The recording; it states the size of its sensor.
            start: Time at which the first window begins, in microseconds; None for the first event.
            end: Time to stop before; None for the last event.

        Raises:
            UserError: the size of the sensor is not known.
        """
        sensor = recording.sensor
        if sensor is None:
            raise UserError(f"{recording.path}: states no sensor size; give it with --sensor WxH")
        half = sensor == (2 * self.size[1], 2 * self.size[0])
        state: Any = None
        group: list[tuple[int, Events]] = []
        for item in inclusive_windows(recording, self.window, start, end):
            group.append(item)
            if len(group) == self.batch_size:
                found, state = self._detect(group, sensor, half, state)
                yield from found
                group = []
        if group:
            yield from self._detect(group, sensor, half, state)[0]

    @torch.inference_mode()
    def _detect(
        self, group: list[tuple[int, Events]], sensor: Sensor, half: bool, state: Any
    ) -> tuple[list[Detected], Any]:
        frames = np.stack([self.histogram(events, sensor, half) for _, events in group])
        with autocast(self.precision, self.device):
            steps, state = self.model.detect(
                torch.from_numpy(frames)[:, None].to(self.device), state, threshold=self.threshold
            )
        scale = 2.0 if half else 1.0
        results = []
        for (time, events), (found,) in zip(group, steps, strict=True):
            boxes, scores, labels = (_numpy(part) for part in found[:3])
            if not np.isfinite(boxes).all() or not np.isfinite(scores).all():
                raise UserError(f"the model's output at {time} us is not finite (NaN or infinite)")
            results.append(Detected(time, boxes * np.float32(scale), scores, labels, events))
        return results, state

    def histogram(self, events: Events, sensor: Sensor, half: bool) -> NDArray[np.uint8]:
        """Return what the network sees of a window, uint8 [2 * bins, H, W]."""
        width, height = sensor
        return stacked_histogram(events, height, width, bins=self.bins, cutoff=self.cutoff, wrap=True, half=half)


def inclusive_windows(
    recording: Recording, window: int, start: int | None = None, end: int | None = None
) -> Iterator[tuple[int, Events]]:
    """Yield (end of the window, its events) as training has them: an event at the edge of two windows is in both."""
    held: tuple[int, Events] | None = None
    for begin, events in recording.windows(window, start, end):
        if held is not None:
            yield begin, Events.concatenate([held[1], events.between(None, begin + 1)])
        held = begin, events
    if held is not None:
        yield held[0] + window, held[1]


def _numpy(values: Tensor) -> NDArray[Any]:
    values = values.float() if values.is_floating_point() else values
    return values.cpu().numpy()


def _load(model: str | Path) -> nn.Module:
    from event_det.build import load_model  # type: ignore[import-not-found, unused-ignore]

    return load_model(model)
