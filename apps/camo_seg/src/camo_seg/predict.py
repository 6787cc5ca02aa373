"""Prediction on any image: one in, one result out, or a stream of files that outlives a broken one.

The image is brought to the network's size exactly as in training (`data.network_image`) and the probability map
back to the image's own size.
"""

from __future__ import annotations

import io
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from camo_seg.data import network_image
from polyscale.data.images import ImageSource, read_image, replace_file, resize_map, save_png
from polyscale.data.naming import unique_names
from polyscale.data.prefetch import prefetch
from polyscale.errors import UserError
from polyscale.inference.precision import autocast, resolve_device, resolve_precision
from polyscale.report.drawing import overlay as draw_overlay

SMALLEST_SIZE = 32
JPEG_LIMIT = 65_500  # pixels a side, libjpeg's


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model sees in one image.

    probability: float32 [H, W] in [0, 1] at the image's own size; image: the image, uint8 [H, W, 3], upright;
    name: unique within its stream, what saved files are called by; source: the file, None for what is not one; inputs:
    the files of its stream, which `save` never overwrites.
    """

    name: str
    probability: NDArray[np.float32] = field(repr=False)
    image: NDArray[np.uint8] = field(repr=False)
    threshold: float = 0.5
    source: Path | None = None
    inputs: frozenset[Path] = field(default=frozenset(), repr=False)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """bool [H, W]: probability at or above the threshold."""
        return self.probability >= self.threshold

    @property
    def area(self) -> float:
        """The mask's share of the image, in [0, 1]."""
        return float(self.mask.mean())

    def save(self, folder: str | Path, overlay: bool = True) -> list[Path]:
        """Write NAME_probability.png (8 bit), NAME_mask.png (0/255) and NAME_overlay.jpg; returns their paths.

        Earlier results are replaced. Raises UserError where a file cannot be written or is one of the inputs.
        """
        base = Path(folder) / self.name
        probability, mask, drawn = (
            base.with_name(base.name + end) for end in ("_probability.png", "_mask.png", "_overlay.jpg")
        )
        paths = [probability, mask, *([drawn] if overlay else [])]
        for path in paths:
            if path.resolve() in self.inputs:
                raise UserError(f"{path}: is one of the inputs and would be overwritten; choose another output folder")
        if overlay and max(self.image.shape) > JPEG_LIMIT:
            raise UserError(f"{self.source or self.name}: too long for a JPEG overlay; leave the overlay out")
        save_png(probability, self.probability)
        save_png(mask, self.mask)
        if overlay:
            buffer = io.BytesIO()
            Image.fromarray(draw_overlay(self.image, self.probability, threshold=self.threshold)).save(
                buffer, "JPEG", quality=92
            )
            replace_file(drawn, buffer.getvalue())
        return paths

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold: name, file, size, threshold, area, the highest probability and the mask's box.

        `box` is [left, top, right, bottom] in pixels, right and bottom exclusive, or None for an empty mask.
        """
        height, width = self.probability.shape
        return {
            "name": self.name,
            "file": None if self.source is None else str(self.source),
            "width": width,
            "height": height,
            "threshold": self.threshold,
            "area": self.area,
            "max_probability": float(self.probability.max()),
            "box": _box(self.mask),
        }


@dataclass(frozen=True)
class Failure:
    """A file that could not be predicted, in its place in the stream; `error` is one line that names it."""

    name: str
    error: str
    source: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """name, file and error, for JSON."""
        return {"name": self.name, "file": None if self.source is None else str(self.source), "error": self.error}


@dataclass(frozen=True, eq=False)
class _Loaded:
    name: str
    source: Path | None
    image: NDArray[np.uint8]
    pixels: Tensor


class Predictor:
    """A model ready for images: `Predictor("runs/a/best")("photo.jpg").save("out")`.

    model: a folder, hub id or shipped name for CamoSegmenter.from_pretrained, or a module mapping images
    [B, 3, S, S] in [0, 1] to logits [B, 1, S, S], which is moved to the device, laid out channels_last and
    set to eval in place.
    device: "auto" takes CUDA or MPS where there is one. precision: see polyscale.inference. size: the side S, the
    model's own `input_size` by default. threshold: at or above it a pixel belongs to the mask.

    Raises UserError for a model that cannot be loaded, a device or precision that is not there, a bad size or
    threshold.
    """

    def __init__(
        self,
        model: nn.Module | str | Path,
        device: str | torch.device = "auto",
        precision: str = "auto",
        size: int | None = None,
        threshold: float = 0.5,
    ) -> None:
        if not 0 < threshold < 1:
            raise UserError(f"threshold is {threshold}; a number between 0 and 1 is needed", exit_code=2)
        self.device = resolve_device(device)
        resolve_precision(precision, self.device)
        network = model if isinstance(model, nn.Module) else _load(model)
        self.size = _size(network, size)
        self.precision, self.threshold = precision, threshold
        self.model = network.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @overload
    def __call__(self, source: list[ImageSource] | tuple[ImageSource, ...]) -> list[Prediction]: ...
    @overload
    def __call__(self, source: ImageSource) -> Prediction: ...
    def __call__(self, source: ImageSource) -> Prediction | list[Prediction]:
        """Predict one image, or each of a list (which keeps all results in memory; `stream` does not).

        An image is what polyscale.data.images.read_image takes: a path, encoded bytes, a PIL image, an array [H, W],
        [H, W, 1|3|4] or a tensor [H, W], [1|3|4, H, W]; arrays and tensors hold bool, uint8, uint16 or floats in
        [0, 1]. Raises UserError (ImageError) for the first that cannot be read.
        """
        many = isinstance(source, list | tuple)
        sources = list(source) if many else [source]
        results = []
        for result in self._stream(sources, 4 if many else 1, 2 if many else 0):
            if isinstance(result, Failure):
                raise UserError(result.error)
            results.append(result)
        return results if many else results[0]

    def stream(
        self, paths: str | os.PathLike[str] | Iterable[ImageSource], batch_size: int = 4, workers: int = 2
    ) -> Iterator[Prediction | Failure]:
        """A result for each of `paths`, in order; a file that cannot be read gives a Failure and the rest goes on.

        Files are read by `workers` threads ahead of the model. At most 2 * batch_size + workers + 1 decoded images
        are in memory, and one probability map at full size. Names are the stems of the files, told apart by suffix or
        folder where two are the same.
        """
        if batch_size < 1 or workers < 0:
            raise UserError(f"batch_size is {batch_size} and workers {workers}; at least 1 and 0", exit_code=2)
        sources = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        return self._stream(sources, batch_size, workers)

    def _stream(
        self, sources: Sequence[ImageSource], batch_size: int, workers: int
    ) -> Generator[Prediction | Failure, None, None]:
        inputs = frozenset(source.resolve() for source in map(_path, sources) if source is not None)
        names = unique_names([_path(source) for source in sources])
        loaded = prefetch(self._load, zip(names, sources, strict=True), workers=workers, ahead=batch_size + workers)
        waiting: list[_Loaded | Failure] = []
        pictures = 0
        for item in loaded:
            waiting.append(item)
            pictures += isinstance(item, _Loaded)
            if pictures in (0, batch_size):
                yield from self._predict(waiting, inputs)
                waiting, pictures = [], 0
        yield from self._predict(waiting, inputs)

    def _load(self, named: tuple[str, ImageSource]) -> _Loaded | Failure:
        name, source = named
        try:
            image = read_image(source)
        except UserError as error:
            return Failure(name, str(error), _path(source))
        return _Loaded(name, _path(source), image, network_image(image, self.size))

    def _predict(self, items: Sequence[_Loaded | Failure], inputs: frozenset[Path]) -> Iterator[Prediction | Failure]:
        pixels = [item.pixels for item in items if isinstance(item, _Loaded)]
        maps = iter(self._maps(pixels) if pixels else ())
        for item in items:
            if isinstance(item, Failure):
                yield item
                continue
            small: NDArray[np.float32] = next(maps)
            if not np.isfinite(small).all():
                error = f"{item.source or item.name}: the model's output is not finite (NaN or infinite)"
                yield Failure(item.name, error, item.source)
                continue
            probability = resize_map(small, item.image.shape[:2])
            yield Prediction(item.name, probability, item.image, self.threshold, item.source, inputs)

    def _maps(self, pixels: Sequence[Tensor]) -> NDArray[np.float32]:
        return probability_maps(self.model, torch.stack(list(pixels)).float() / 255, self.device, self.precision)


@torch.inference_mode()
def probability_maps(model: nn.Module, images: Tensor, device: torch.device, precision: str) -> NDArray[np.float32]:
    """float32 [B, 3, H, W] in [0, 1] -> probabilities float32 [B, H, W]; the sigmoid is taken in float32."""
    images = images.to(device, memory_format=torch.channels_last)
    with autocast(precision, device):
        logits = model(images)
    return logits[:, 0].float().sigmoid().cpu().numpy()


def _load(model: str | Path) -> nn.Module:
    from camo_seg.model.network import CamoSegmenter

    return CamoSegmenter.from_pretrained(model)


def _size(model: nn.Module, size: int | None) -> int:
    size = getattr(model, "input_size", None) if size is None else size
    if not isinstance(size, int) or size < SMALLEST_SIZE:
        raise UserError(f"size is {size}; the network's input needs at least {SMALLEST_SIZE} pixels", exit_code=2)
    return size


def _path(source: ImageSource) -> Path | None:
    return Path(source) if isinstance(source, str | os.PathLike) else None


def _box(mask: NDArray[np.bool_]) -> list[int] | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
