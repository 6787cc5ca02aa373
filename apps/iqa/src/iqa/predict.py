"""Scores of any image: one in, one result out, or a stream of files that outlives a broken one.

The image is brought to the network's size exactly as in training (`data.read_network_image`), never cropped and never
squeezed, so that the same image always gets the same score.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from iqa.data import network_image, read_network_image
from iqa.predict_map import draw_quality
from iqa.units import decimals, said_range
from polyscale.data.images import (
    MAX_ASPECT,
    PREDICTION_PIXELS,
    ImageSource,
    image_size,
    read_image,
    resize_map,
)
from polyscale.data.naming import unique_names
from polyscale.data.prefetch import prefetch
from polyscale.errors import UserError
from polyscale.inference.precision import autocast, resolve_device, resolve_precision

LARGE = 1 << 25  # pixels; of files beyond this one at a time is decoded, however many threads there are
LOOK_AHEAD = 8  # batches that may be open at once while images of equal size are gathered


@dataclass(frozen=True)
class Prediction:
    """The quality of one image.

    score: in the opinions' units, within [low, high], higher is better. spread: the standard deviation of the opinion
    around the score that the model expects, same units. name: unique within its stream. source: the file, None for
    what is not one. width, height: of the image, upright, in pixels.
    """

    name: str
    score: float
    spread: float
    low: float
    high: float
    width: int
    height: int
    source: Path | None = None
    lower_better: bool = False

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold, score and spread to six digits: the fields of every output of `iqa predict`."""
        return {
            "name": self.name,
            "file": None if self.source is None else str(self.source),
            "score": float(f"{self.score:.6g}"),
            "spread": float(f"{self.spread:.6g}"),
            "low": self.low,
            "high": self.high,
            "lower_better": self.lower_better,
            "width": self.width,
            "height": self.height,
        }

    def row(self) -> dict[str, Any]:
        """What a table shows of it, below a line that names the range."""
        return {key: value for key, value in self.to_dict().items() if key not in ("low", "high", "lower_better")}

    def __str__(self) -> str:
        digits = decimals(self.low, self.high)
        return f"{self.name}: {self.score:.{digits}f} ± {self.spread:.{digits}f} ({said_range(self.low, self.high)})"


@dataclass(frozen=True)
class Failure:
    """A file that could not be scored, in its place in the stream; `error` is one line that names it."""

    name: str
    error: str
    source: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """name, file and error, for JSON."""
        return {"name": self.name, "file": None if self.source is None else str(self.source), "error": self.error}


@dataclass(eq=False)
class _Waiting:
    """An image at the network's size, uint8 [3, h, w], and its result once there is one."""

    name: str
    source: Path | None
    pixels: Tensor
    height: int
    width: int
    result: Prediction | Failure | None = None


class Predictor:
    """A model ready for images: `Predictor()("photo.jpg").score`.

    model: a shipped name, folder or hub id for QualityNet.from_pretrained, or a QualityNet, which is moved to the
    device and set to eval in place. device: "auto" takes CUDA or MPS where there is one. precision: see
    polyscale.inference.precision; fp32 by default, because users compare scores.

    Raises UserError for a model that cannot be loaded and for a device or precision that is not there.
    """

    def __init__(
        self, model: nn.Module | str | Path = "nano", device: str | torch.device = "auto", precision: str = "fp32"
    ) -> None:
        self.device, self.precision = resolve_device(device), precision
        resolve_precision(precision, self.device)
        self.model: Any = load(model).to(self.device).eval()
        self._one_large = threading.Lock()

    @overload
    def __call__(self, source: list[ImageSource] | tuple[ImageSource, ...]) -> list[Prediction]: ...
    @overload
    def __call__(self, source: ImageSource) -> Prediction: ...
    def __call__(self, source: ImageSource) -> Prediction | list[Prediction]:
        """Score one image, or each of a list.

        An image is what polyscale.data.images.read_image takes: a path, encoded bytes, a PIL image, an array [H, W],
        [H, W, 1|3|4] or a tensor [H, W], [1|3|4, H, W]; arrays and tensors hold bool, uint8, uint16 or floats in
        [0, 1]. Raises UserError (ImageError) for the first that cannot be read.
        """
        many = isinstance(source, list | tuple)
        results = []
        for result in self._stream(list(source) if many else [source], 8 if many else 1, 2 if many else 0):
            if isinstance(result, Failure):
                raise UserError(result.error)
            results.append(result)
        return results if many else results[0]

    def stream(
        self, paths: str | os.PathLike[str] | Iterable[ImageSource], batch_size: int = 8, workers: int = 2
    ) -> Iterator[Prediction | Failure]:
        """A result for each of `paths`, in order; a file that cannot be read gives a Failure and the rest goes on.

        Files are read by `workers` threads ahead of the model; images that have the same size for the network go
        through it together, up to `batch_size`. At most (LOOK_AHEAD + 1) * batch_size + workers images wait in
        memory, at the network's size. Names are the stems of the files, told apart by suffix or folder.
        """
        if batch_size < 1 or workers < 0:
            raise UserError(f"batch_size is {batch_size} and workers {workers}; at least 1 and 0", exit_code=2)
        sources = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        return self._stream(sources, batch_size, workers)

    def map(self, source: ImageSource) -> NDArray[np.float32]:
        """Local quality float32 [H, W] in the score's units at the image's own size, for what `__call__` takes."""
        return resize_map(self._quality_map(read_network_image(source, self.model.input_size)), image_size(source))

    def draw_map(self, source: ImageSource) -> NDArray[np.uint8]:
        """The image beside its local quality, uint8 [h, w, 3]: dark where it is worst, light where it is best."""
        image = read_image(
            source, max_pixels=PREDICTION_PIXELS, max_aspect=MAX_ASPECT, min_pixels=4 * self.model.input_size**2
        )
        return draw_quality(image, self._quality_map(network_image(image, self.model.input_size)), self.score_range)

    @property
    def score_range(self) -> tuple[float, float]:
        """(low, high) of the scores, higher is better."""
        return float(self.model.low), float(self.model.high)

    def _stream(
        self, sources: Sequence[ImageSource], batch_size: int, workers: int
    ) -> Generator[Prediction | Failure, None, None]:
        names = unique_names([_path(source) for source in sources])
        loaded = prefetch(self._load, zip(names, sources, strict=True), workers=workers, ahead=batch_size + workers)
        queue: deque[_Waiting | Failure] = deque()
        alike: dict[torch.Size, list[_Waiting]] = {}
        for item in loaded:
            queue.append(item)
            if isinstance(item, _Waiting):
                group = alike.setdefault(item.pixels.shape, [])
                group.append(item)
                if len(group) == batch_size:
                    self._score(alike.pop(item.pixels.shape))
            oldest = queue[0]
            if len(queue) == LOOK_AHEAD * batch_size and isinstance(oldest, _Waiting) and oldest.result is None:
                self._score(alike.pop(oldest.pixels.shape))
            yield from _finished(queue)
        for group in alike.values():
            self._score(group)
        yield from _finished(queue)

    def _load(self, named: tuple[str, ImageSource]) -> _Waiting | Failure:
        name, source = named
        try:
            height, width = image_size(source)
            with self._one_large if height * width > LARGE else contextlib.nullcontext():
                pixels = read_network_image(source, self.model.input_size)
        except UserError as error:
            return Failure(name, str(error), _path(source))
        return _Waiting(name, _path(source), pixels, height, width)

    def _score(self, group: Sequence[_Waiting]) -> None:
        scores, spreads = self._forward(torch.stack([item.pixels for item in group]))
        for item, score, spread in zip(group, scores.tolist(), spreads.tolist(), strict=True):
            if not (np.isfinite(score) and np.isfinite(spread)):
                error = f"{item.source or item.name}: the model's output is not finite (NaN or infinite)"
                item.result = Failure(item.name, error, item.source)
                continue
            item.result = Prediction(item.name, score, spread, *self.score_range, item.width, item.height, item.source)

    @torch.inference_mode()
    def _forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        with autocast(self.precision, self.device):
            scores, spreads = self.model.score_with_spread(_unit(pixels, self.device))
        return scores.float().cpu(), spreads.float().cpu()

    @torch.inference_mode()
    def _quality_map(self, pixels: Tensor) -> NDArray[np.float32]:
        with autocast(self.precision, self.device):
            quality: NDArray[np.float32] = (
                self.model.quality_map(_unit(pixels[None], self.device))[0].float().cpu().numpy()
            )
        return quality


def load(model: nn.Module | str | Path) -> nn.Module:
    """The QualityNet that a user means: a shipped name, a folder, a hub id, or itself."""
    from iqa.model.network import QualityNet

    return model if isinstance(model, nn.Module) else QualityNet.from_pretrained(model)


def _finished(queue: deque[_Waiting | Failure]) -> Iterator[Prediction | Failure]:
    """Takes from the front of `queue` what has a result."""
    while queue:
        result = queue[0] if isinstance(queue[0], Failure) else queue[0].result
        if result is None:
            return
        queue.popleft()
        yield result


def _unit(pixels: Tensor, device: torch.device) -> Tensor:
    return pixels.to(device).float().div_(255)


def _path(source: ImageSource) -> Path | None:
    return Path(source) if isinstance(source, str | os.PathLike) else None
