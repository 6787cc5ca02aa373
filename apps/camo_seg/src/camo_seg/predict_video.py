"""Segmentation of videos, frame by frame in flat memory. Needs PyAV (polyscale-camo-seg[video])."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camo_seg.outputs import Cutout
from camo_seg.predict import Prediction, Predictor
from polyscale.errors import UserError
from polyscale.report import overlay as draw_overlay

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg")
INSTALL = 'pip install "polyscale-camo-seg[video]"'
GREEN = (0, 177, 64)  # behind a cutout for which no colour is given: a video has no alpha

Pixels = NDArray[np.uint8]


def predict_video(
    predictor: Predictor,
    path: Path,
    folder: Path | None,
    *,
    overlay: bool = True,
    cutout: Cutout | None = None,
    batch_size: int = 4,
    limit: int | None = None,
    shape: tuple[int, int] | None = None,
) -> Iterator[Prediction]:
    """Yield the prediction of each frame in turn and write NAME_mask.mp4, NAME_overlay.mp4 and NAME_cutout.mp4.

    The call itself checks the video with `check_video`, unless its `shape` says that this was done. The
    videos appear when the last frame is done; they have the frames' size (made even, as the format asks for), the rate
    of the source and no sound. At most `batch_size` frames are held. Results are called NAME_000001 and so on.

    Args:
        predictor: what segments the frames.
        path: a video that FFmpeg reads.
        folder: of the results; None writes no videos.
        overlay: Write NAME_overlay.mp4.
        cutout: Write NAME_cutout.mp4 on its background, green by default; a crop is not possible.
        batch_size: frames per forward pass.
        limit: stop after so many frames.
        shape: (height, width) of the frames, as `check_video` returned it.

    Raises:
        UserError: PyAV is missing, the video cannot be read, has no frames, or changes its size.
    """
    shape = shape or check_video(path, cutout, limit)
    drawn = {} if folder is None else _drawings(overlay, cutout)
    return _predict(predictor, path, folder, shape, drawn, batch_size, limit)


def _predict(
    predictor: Predictor,
    path: Path,
    folder: Path | None,
    shape: tuple[int, int],
    drawn: dict[str, Callable[[Prediction], Pixels]],
    batch_size: int,
    limit: int | None,
) -> Iterator[Prediction]:
    with _Source(path) as source:
        frames = islice(source.frames(), limit)
        writers = {kind: _Writer(_target(folder, path, kind), shape, source.rate) for kind in drawn}
        try:
            for result in _results(predictor, path, frames, batch_size):
                for kind, draw in drawn.items():
                    writers[kind].write(draw(result))
                yield result
            for writer in writers.values():
                writer.finish()
        finally:
            for writer in writers.values():
                writer.discard()


def output_videos(folder: Path, path: Path, overlay: bool, cutout: bool) -> list[Path]:
    """The videos that `predict_video` writes."""
    kinds = ["mask", *(["overlay"] if overlay else []), *(["cutout"] if cutout else [])]
    return [_target(folder, path, kind) for kind in kinds]


def _target(folder: Path | None, path: Path, kind: str) -> Path:
    return (folder or Path()) / f"{path.stem}_{kind}.mp4"


def _drawings(overlay: bool, cutout: Cutout | None) -> dict[str, Callable[[Prediction], Pixels]]:
    drawn: dict[str, Callable[[Prediction], Pixels]] = {"mask": _draw_mask}
    if overlay:
        drawn["overlay"] = lambda result: draw_overlay(result.image, result.probability, threshold=result.threshold)
    if cutout is not None:
        on_colour = Cutout(cutout.background or GREEN)
        drawn["cutout"] = lambda result: on_colour.draw(result.image, result.probability, result.threshold)
    return drawn


def check_video(path: Path, cutout: Cutout | None = None, limit: int | None = None) -> tuple[int, int]:
    """Decode a video, a small part of what segmenting it takes, and return the (height, width) of its frames.

    Raises:
        UserError: see `predict_video`.
    """
    if cutout is not None and cutout.crop:
        raise UserError("crop: the frames of a video keep their size; leave --crop out", exit_code=2)
    with _Source(path) as source:
        shapes = islice(source.shapes(), limit)
        first = next(shapes, None)
        if first is None:
            raise UserError(f"{path}: a video without frames")
        for number, shape in enumerate(shapes, start=2):
            if shape != first:
                was, now = (f"{s[1]} x {s[0]}" for s in (first, shape))
                raise UserError(f"{path}: the size changes from {was} to {now} at frame {number}")
    return first


def _results(predictor: Predictor, path: Path, frames: Iterator[Pixels], batch_size: int) -> Iterator[Prediction]:
    number = 0
    while batch := list(islice(frames, batch_size)):
        items = [predictor.read(frame) for frame in batch]
        outputs = predictor.infer(np.stack([item.pixels for item in items]))
        for item, output in zip(items, outputs, strict=True):
            number += 1
            yield predictor.result(f"{path.stem}_{number:06}", path, item, output)


def _draw_mask(result: Prediction) -> Pixels:
    return np.repeat((result.mask * np.uint8(255))[..., None], 3, axis=2)


def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise UserError(f"videos need PyAV: {INSTALL}") from error
    return av


class _Source:
    """A video that is read frame by frame; `rate` in frames a second."""

    def __init__(self, path: Path) -> None:
        self.path, av = path, _pyav()
        try:
            self.container = av.open(str(path))
        except (av.FFmpegError, OSError) as error:
            raise UserError(f"{path}: cannot be read as a video: {_reason(error)}") from error
        if not self.container.streams.video:
            self.container.close()
            raise UserError(f"{path}: holds no video")
        self.stream = self.container.streams.video[0]
        self.stream.thread_type = "AUTO"
        self.rate = Fraction(self.stream.average_rate or 25).limit_denominator(1001)

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def frames(self) -> Iterator[Pixels]:
        """Yield frames as uint8 RGB [H, W, 3], turned upright."""
        for frame, turns in self._decode():
            pixels = frame.to_ndarray(format="rgb24")
            yield np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels

    def shapes(self) -> Iterator[tuple[int, int]]:
        """Yield the (height, width) of the frames, turned upright."""
        for frame, turns in self._decode():
            yield (frame.width, frame.height) if turns % 2 else (frame.height, frame.width)

    def _decode(self) -> Iterator[tuple[Any, int]]:
        """Yield PyAV's frames and how many quarter turns, anticlockwise, put them upright."""
        error_type = _pyav().FFmpegError
        try:
            for frame in self.container.decode(self.stream):
                yield frame, round(getattr(frame, "rotation", 0) / 90) % 4
        except error_type as error:
            raise UserError(f"{self.path}: damaged: {_reason(error)}") from error


class _Writer:
    """An mp4 file that appears whole or not at all."""

    def __init__(self, path: Path, shape: tuple[int, int], rate: Fraction) -> None:
        av = _pyav()
        self.path, self.part = path, path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.part.mp4")
        self.height, self.width = (side + side % 2 for side in shape)
        path.parent.mkdir(parents=True, exist_ok=True)
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        try:
            self.container = av.open(str(self.part), "w")
            self.stream = self.container.add_stream(codec, rate=rate)
        except (av.FFmpegError, OSError) as error:
            raise UserError(f"{path}: cannot be written: {_reason(error)}") from error
        self.stream.width, self.stream.height, self.stream.pix_fmt = self.width, self.height, "yuv420p"

    def write(self, pixels: Pixels) -> None:
        """Append a frame, uint8 [H, W, 3]."""
        odd = ((0, self.height - pixels.shape[0]), (0, self.width - pixels.shape[1]), (0, 0))
        frame = _pyav().VideoFrame.from_ndarray(np.pad(pixels, odd, mode="edge"), format="rgb24")
        self.container.mux(self.stream.encode(frame))

    def finish(self) -> None:
        """Write the end and move the file into place."""
        self.container.mux(self.stream.encode())
        self.container.close()
        os.replace(self.part, self.path)  # noqa: PTH105 - in one step

    def discard(self) -> None:
        """Remove what is not finished."""
        if self.part.exists():
            self.container.close()
            self.part.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
