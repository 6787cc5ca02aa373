"""From a video to events: its frames through the model of an event camera.

Between two frames the brightness of a pixel changes along a straight line of its logarithm, so that events have times
of their own; motion of several pixels between two frames still leaves ghosts, as no frames are made up in between.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_det.formats.events import Events
from event_det.simulation.camera import CameraModel, EventCamera

GAMMA = 2.2
"""Of the grey values of videos."""


def film_frames(
    frames: Iterable[tuple[int, NDArray[Any]]], model: CameraModel, seed: int, *, slower: float = 1.0
) -> Iterator[Events]:
    """Yield the events between each two frames.

    Args:
        frames: (time in microseconds, grey image uint8 [H, W]), in order of time; a repeated time is passed over.
        model: The camera.
        seed: Of its thresholds and noise.
        slower: How many times slower than filmed it happens: for videos of high-speed cameras, below 1.
    """
    camera: EventCamera | None = None
    last = -1
    for time, image in frames:
        now = round(time * slower)
        if camera is None:
            camera = EventCamera(model, (image.shape[0], image.shape[1]), seed)
        elif now <= last:
            continue
        yield camera.expose((image.astype(np.float64) / 255) ** GAMMA, now)
        last = now
