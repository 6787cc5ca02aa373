"""Videos: MP4 through PyAV, an extra; GIF through Pillow."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from event_det.formats.writing import replace_when_done
from polyscale.errors import UserError, foreign

SHORTEST_MS = 20
"""Viewers show GIF frames of less than this too slowly."""


def require_av(path: Path) -> Any:
    """Return PyAV.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise UserError(
            f"{path}: videos need PyAV; install it with: pip install 'polyscale-event-det[video]'"
        ) from None
    return av


@contextlib.contextmanager
def mp4_writer(path: Path, frame_ms: float) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Give what appends one image, uint8 [H, W, 3], to an MP4 (H.264); sides are cut to even numbers.

    Args:
        path: The file; it appears when it is complete.
        frame_ms: How long an image is shown.

    Raises:
        UserError: PyAV is not installed.
    """
    av = require_av(path)
    with replace_when_done(path) as part, av.open(str(part), "w", format="mp4") as container:
        stream: Any = None

        def add(image: NDArray[np.uint8]) -> None:
            nonlocal stream
            height, width = (side - side % 2 for side in image.shape[:2])
            if stream is None:
                rate = Fraction(1000 / frame_ms).limit_denominator(1000)
                stream = container.add_stream("libx264", rate=rate)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.options = {"crf": "20", "preset": "veryfast"}
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
            container.mux(stream.encode(frame))

        yield add
        if stream is not None:
            container.mux(stream.encode(None))


def write_gif(path: Path, images: Iterable[Image.Image], frame_ms: float) -> None:
    """Write an animated GIF that repeats for ever; images are taken one after another."""
    iterator = iter(images)
    first = next(iterator, None)
    if first is None:
        raise UserError(f"{path}: there is nothing to draw")
    duration = max(round(frame_ms), SHORTEST_MS)
    with replace_when_done(path) as part:
        first.save(part, "GIF", save_all=True, append_images=iterator, duration=duration, loop=0, optimize=False)


def read_video(path: Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (time in microseconds, grey image uint8 [H, W]) for each frame of a video.

    Raises:
        UserError: PyAV is not installed, or the file is no video.
    """
    av = require_av(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with foreign(path, "a video"), av.open(str(path)) as container:
        if not container.streams.video:
            raise UserError(f"{path}: holds no video")
        stream = container.streams.video[0]
        for number, frame in enumerate(container.decode(stream)):
            seconds = frame.time if frame.time is not None else number / float(stream.average_rate or 30)
            yield round(seconds * 1e6), frame.to_ndarray(format="gray")
