"""Drawing events: one image for each window of time, as an animated GIF, an MP4, or a strip in a PNG."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from event_det.formats.events import Events, Sensor
from event_det.formats.recording import Recording
from event_det.formats.writing import replace_when_done
from event_det.representations.drawing import PALETTE, draw_events
from event_det.video import mp4_writer, write_gif
from polyscale.terminal import Bar

STRIP_GAP = 4


class Plan(NamedTuple):
    """What is drawn.

    Attributes:
        sensor: Width and height in pixels.
        start: Time of the first window in microseconds.
        window: Length of a window in microseconds.
        windows: Number of windows until the end.
    """

    sensor: Sensor
    start: int
    window: int
    windows: int


def plan_windows(
    recording: Recording, *, window: int | None, parts: int, start: int | None, end: int | None, bar: Bar | None = None
) -> Plan:
    """Read the part to be drawn once, to know its span and the pixels that fire.

    Args:
        recording: The recording.
        window: Length of a window in microseconds; None for 40 ms, or less where that gives fewer than `parts` windows.
        parts: See `window`.
        start: Earliest time in microseconds, None for the first event.
        end: Time to stop before, None for the last event.
        bar: A progress bar that counts events.

    Raises:
        UserError: there is no event in the part.
    """
    first = last = None
    width = height = 0
    for events in recording.chunks(start, end):
        first = int(events.t[0]) if first is None else first
        last = int(events.t[-1])
        width, height = max(width, int(events.x.max()) + 1), max(height, int(events.y.max()) + 1)
        if bar is not None:
            bar.advance(len(events))
    if first is None or last is None:
        raise recording.without_events(start, end)
    begin = first if start is None else start
    span = last - begin + 1
    if window is None:
        window = min(40_000, max(-(-span // parts), 1))
    return Plan(recording.sensor or (width, height), begin, window, -(-span // window))


def _image(indices: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(indices)
    image.putpalette([value for colour in PALETTE for value in colour])
    return image


def _draw_windows(recording: Recording, plan: Plan, count: int, bar: Bar | None) -> Iterator[Image.Image]:
    windows = recording.windows(plan.window, plan.start, plan.start + plan.window * count)
    drawn = itertools.chain((events for _, events in windows), itertools.repeat(Events.allocate(0)))
    for events in itertools.islice(drawn, count):
        yield _image(draw_events(events, plan.sensor))
        if bar is not None:
            bar.advance()


def write_video(
    path: Path, recording: Recording, plan: Plan, *, frames: int, frame_ms: int = 40, bar: Bar | None = None
) -> int:
    """Write an animated GIF that repeats for ever, or an MP4, by the suffix.

    Args:
        path: The file.
        recording: The recording.
        plan: What is drawn.
        frames: The most frames.
        frame_ms: How long a frame is shown.
        bar: A progress bar that counts frames.

    Returns:
        The number of frames.
    """
    count = min(frames, plan.windows)
    images = _draw_windows(recording, plan, count, bar)
    if path.suffix.lower() == ".gif":
        write_gif(path, images, frame_ms)
    else:
        with mp4_writer(path, frame_ms) as show:
            for image in images:
                show(np.asarray(image.convert("RGB")))
    return count


def write_strip(path: Path, recording: Recording, plan: Plan, *, frames: int, bar: Bar | None = None) -> int:
    """Write a PNG with up to `frames` windows next to each other, evenly spaced in time; return their number."""
    count = min(frames, plan.windows)
    chosen = [plan.windows * index // count for index in range(count)]
    tiles: list[Image.Image] = []
    for index in chosen:
        begin = plan.start + index * plan.window
        tiles.append(_image(draw_events(recording.read(begin, begin + plan.window), plan.sensor)).convert("RGB"))
        if bar is not None:
            bar.advance()
    width, height = tiles[0].size
    strip = Image.new("RGB", ((width + STRIP_GAP) * count - STRIP_GAP, height), (255, 255, 255))
    for index, tile in enumerate(tiles):
        strip.paste(tile, (index * (width + STRIP_GAP), 0))
    with replace_when_done(path) as part:
        strip.save(part, "PNG")
    return count
