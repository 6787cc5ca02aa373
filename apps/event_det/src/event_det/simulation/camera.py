"""A model of an event camera: images of a known brightness in, events out.

Each pixel compares the logarithm of its brightness with the level at its last event. Where the difference reaches a
threshold, it fires at the time of the crossing, found by linear interpolation between two images (as in ESIM, Rebecq et
al. 2018). What real pixels add is taken from v2e (Hu et al. 2021): thresholds differ by pixel, the level leaks so that
a still pixel fires ON now and then, shot noise fires at random, and after an event a pixel is held in reset for the
refractory time. The logarithm is linear near black.

Unlike v2e, each crossing has its own time, an integer number of microseconds, and the noise of a pixel does not depend
on how often images are taken.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_det.compiled import compiled
from event_det.formats.events import Events

DARK = 0.08
"""Brightness below which the response is linear, as a share of white."""
NEVER = 1 << 62


@dataclass(frozen=True)
class CameraModel:
    """What kind of camera it is.

    Attributes:
        threshold: Mean change of log brightness that fires a pixel; ON and OFF.
        mismatch: Standard deviation of the thresholds over the pixels.
        refractory: Microseconds after an event in which a pixel does not fire.
        leak: ON events per second of a pixel that sees no change.
        shot: Noise events per second and pixel, half of them ON.
    """

    threshold: float = 0.2
    mismatch: float = 0.03
    refractory: int = 500
    leak: float = 0.1
    shot: float = 0.2


class EventCamera:
    """Turns images into events, one interval at a time.

    Args:
        model: The camera.
        size: Rows and columns.
        seed: Of thresholds and noise; equal seeds and images give equal events.
    """

    def __init__(self, model: CameraModel, size: tuple[int, int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.size, self.model = size, model
        least = model.threshold / 10
        self._on, self._off = (
            np.maximum(rng.normal(model.threshold, model.mismatch, size), least).ravel() for _ in range(2)
        )
        self._slope = self._on * (model.leak / 1e6)
        # a pixel that leaks has been at it for some time
        self._leaked = self._on * rng.random(self._on.size) * (model.leak > 0)
        self._image = np.zeros(size[0] * size[1])
        self._level = np.zeros(size[0] * size[1])
        self._reference = np.zeros(size[0] * size[1])
        self._held = np.full(size[0] * size[1], -NEVER)
        self._random = rng.integers(0, 1 << 63, size[0] * size[1]).astype(np.uint64)
        self._shot_at = np.full(size[0] * size[1], NEVER)
        self._time: int | None = None

    def expose(self, image: NDArray[Any], time: int) -> Events:
        """Return the events since the image before, sorted by time; none for the first image.

        Args:
            image: [rows, columns], linear brightness from 0 (black) to 1 (white).
            time: When it is seen, in microseconds; later than the image before.
        """
        pixels = np.ascontiguousarray(image, np.float64).ravel()
        if image.shape != self.size:
            raise ValueError(f"image must be of shape {self.size}, got {image.shape}")
        if self._time is None:
            self._image[:] = pixels
            _respond(pixels, self._level)
            self._reference[:] = self._level - self._leaked
            if self.model.shot > 0:
                _schedule(self._random, self._shot_at, time, 1e6 / self.model.shot)
            self._time = time
            return Events.allocate(0)
        if time <= self._time:
            raise ValueError(f"time must grow: {time} us after {self._time} us")
        t, at, p, count = _fire(
            pixels, self._image, self._level, self._reference, self._held, self._shot_at, self._random,
            self._on, self._off, self._slope, self._time, time, self.model.refractory,
            1e6 / self.model.shot if self.model.shot > 0 else 0.0,
        )  # fmt: skip
        self._time = time
        order = np.argsort(t[:count], kind="stable")
        y, x = np.divmod(at[order], self.size[1])
        return Events(t[order], x.astype(np.uint16), y.astype(np.uint16), p[order])


@compiled
def _response(brightness: float) -> float:
    if brightness < DARK:
        return math.log(DARK) + (brightness - DARK) / DARK
    return math.log(brightness)


@compiled
def _respond(image: NDArray[Any], level: NDArray[Any]) -> None:
    for i in range(image.size):
        level[i] = _response(image[i])


@compiled
def _uniform(random: NDArray[Any], i: int) -> float:
    """Draw from (0, 1]: splitmix64 with one state for each pixel."""
    random[i] += np.uint64(0x9E3779B97F4A7C15)
    z = random[i]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (np.float64(z >> np.uint64(11)) + 1) / 9007199254740992.0


@compiled
def _schedule(random: NDArray[Any], shot_at: NDArray[Any], time: int, mean: float) -> None:
    for i in range(shot_at.size):
        shot_at[i] = time + 1 + np.int64(-math.log(_uniform(random, i)) * mean)


@compiled
def _fire(
    image: NDArray[Any],
    seen: NDArray[Any],
    level: NDArray[Any],
    reference: NDArray[Any],
    held: NDArray[Any],
    shot_at: NDArray[Any],
    random: NDArray[Any],
    on: NDArray[Any],
    off: NDArray[Any],
    slope: NDArray[Any],
    start: int,
    end: int,
    refractory: int,
    shot_every: float,
) -> tuple[Any, Any, Any, int]:
    """Fire all pixels between two images; returns times, pixel numbers, polarities and how many of each are set."""
    t, at, p = np.empty(4096, np.int64), np.empty(4096, np.int64), np.empty(4096, np.uint8)
    count, span = 0, end - start
    for i in range(image.size):
        before = level[i]
        after = before + slope[i] * span
        if image[i] != seen[i]:
            after += _response(image[i]) - _response(seen[i])
            seen[i] = image[i]
        level[i] = after
        rate = (after - before) / span
        if held[i] > end:
            continue
        now: Any = start
        if held[i] > start:
            now = held[i]
            reference[i] = before + rate * (now - start)
        while True:
            time: Any = NEVER
            polarity = 0
            up, down = reference[i] + on[i], reference[i] - off[i]
            if rate > 0 and after >= up:
                time, polarity = start + np.int64(math.ceil((up - before) / rate)), 1
            elif rate < 0 and after <= down:
                time = start + np.int64(math.ceil((down - before) / rate))
            while shot_at[i] <= now and shot_every > 0:  # while it was held
                shot_at[i] += 1 + np.int64(-math.log(_uniform(random, i)) * shot_every)
            noise = shot_at[i] < min(time, end + 1)
            if noise:
                time, polarity = shot_at[i], 1 if _uniform(random, i) > 0.5 else 0
            elif time == NEVER:
                break
            time = min(max(time, now), end)
            if count == t.size:
                t, at, p = _grow(t), _grow(at), _grow(p)
            t[count], at[count], p[count] = time, i, polarity
            count += 1
            if refractory == 0 and not noise:
                reference[i] = up if polarity else down
            else:
                reference[i] = before + rate * (min(time + refractory, end) - start)
            held[i] = now = time + refractory
            if now > end:
                break
    return t, at, p, count


@compiled
def _grow(values: Any) -> Any:
    larger = np.empty(2 * values.size, values.dtype)
    larger[: values.size] = values
    return larger
