"""Captions and boxes of any image: one in, one result out, or a stream of files.

Nothing here needs torch where the model is a folder that `caption-det export` wrote.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from caption_det.config import SHIPPED, THRESHOLD
from caption_det.describer import Decoding, Described, Describer
from caption_det.pixels import squeeze
from caption_det.predict_map import WordMap, draw_words
from polyscale.data.images import MAX_ASPECT, PREDICTION_PIXELS, ImageSource, read_image, replace_file
from polyscale.errors import UserError
from polyscale.inference.network import resolve_runtime
from polyscale.inference.predictor import Predictor as BasePredictor
from polyscale.models.sources import CONFIG, find
from polyscale.report.drawing import draw_boxes

if TYPE_CHECKING:
    import torch

    from caption_det.model import CaptionDetModel

FILE_ENDING, MAP_ENDING = "_boxes.jpg", "_words.jpg"
MAX_JPEG_SIDE = 65_500  # pixels, libjpeg's limit


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model says of one image.

    Attributes:
        name: unique within its stream; saved files begin with it.
        image: uint8 [H, W, 3], upright.
        captions: the most likely first; empty for a model without captions.
        boxes: float64 [D, 4] (x1, y1, x2, y2) in pixels of the image, the best score first.
        scores: float64 [D] in [0, 1].
        labels: names of the categories.
        source: the file, None for anything else.
    """

    name: str
    image: NDArray[np.uint8] = field(repr=False)
    captions: tuple[str, ...] = ()
    boxes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)), repr=False)
    scores: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), repr=False)
    labels: tuple[str, ...] = ()
    source: Path | None = None

    @property
    def caption(self) -> str | None:
        """The most likely caption."""
        return self.captions[0] if self.captions else None

    def drawn(self) -> NDArray[np.uint8]:
        """The image with its boxes."""
        return draw_boxes(self.image, self.boxes, list(self.labels), self.scores.tolist())

    def save(self, folder: str | Path) -> list[Path]:
        """Write NAME_boxes.jpg and return its path; an image with a side above MAX_JPEG_SIDE gets none.

        Raises:
            UserError: the file cannot be written, or is the image itself.
        """
        if max(self.image.shape) > MAX_JPEG_SIDE:
            return []
        (path,) = output_files(folder, self.name)
        if self.source is not None and self.source.resolve() == path.resolve():
            raise UserError(f"{self.source}: would be overwritten by its own result; choose another output folder")
        return [save_jpeg(path, self.drawn())]

    def to_dict(self) -> dict[str, Any]:
        """What JSON and CSV can hold: name, file, size, captions, and the objects with box, score and label."""
        height, width = self.image.shape[:2]
        objects = [
            {"label": label, "score": round(float(score), 4), "box": [round(float(x), 1) for x in box]}
            for label, score, box in zip(self.labels, self.scores, self.boxes, strict=True)
        ]
        return {
            "name": self.name,
            "file": None if self.source is None else str(self.source),
            "width": width,
            "height": height,
            "caption": self.caption,
            "captions": list(self.captions),
            "objects": objects,
        }


def output_files(folder: str | Path, name: str, maps: bool = False) -> list[Path]:
    """The path that `Prediction.save` writes for a prediction of this name, and that of the maps of its words."""
    return [Path(folder) / f"{name}{ending}" for ending in (FILE_ENDING, *((MAP_ENDING,) if maps else ()))]


def save_jpeg(path: Path, image: NDArray[np.uint8]) -> Path:
    """Write uint8 [H, W, 3] whole or not at all. Raises UserError where it cannot be written."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=92)
    return replace_file(path, buffer.getvalue())


@dataclass(frozen=True, eq=False)
class _Item:
    image: NDArray[np.uint8]
    pixels: NDArray[np.uint8]


class Predictor(BasePredictor[_Item, Prediction]):
    """A model ready for images: `Predictor("runs/a")("photo.jpg").caption`.

    Args:
        model: a folder, hub id or shipped name, a folder of `caption-det export`, or a CaptionDetModel, which is moved
            to the device and set to eval in place.
        device: "auto" takes CUDA or MPS where there is one; onnxruntime runs on "cpu".
        precision: see polyscale.inference.precision; onnxruntime computes in fp32.
        decoding: how captions are searched; an exported model writes greedy ones.
        threshold: lowest score of the boxes, in (0, 1).
        runtime: "torch", "onnx" (an exported folder, without torch) or "auto": see
            polyscale.inference.network.resolve_runtime.

    Raises:
        UserError: a model that cannot be loaded, a device, precision or runtime that is not there, a bad threshold, or
            a search that an exported model does not do.
    """

    def __init__(
        self,
        model: CaptionDetModel | str | Path,
        device: str | torch.device = "auto",
        precision: str = "fp32",
        decoding: Decoding | None = None,
        threshold: float = THRESHOLD,
        runtime: str = "auto",
    ) -> None:
        if not 0 < threshold < 1:
            raise UserError(f"threshold is {threshold}; a number between 0 and 1 is needed", exit_code=2)
        self.describer = _open(model, device, precision, decoding or Decoding(), threshold, runtime)

    def read(self, source: ImageSource) -> _Item:
        """Read an image, keep it, and squeeze a copy to the network's size."""
        image = read_image(source, max_pixels=PREDICTION_PIXELS, max_aspect=MAX_ASPECT)
        return _Item(image, squeeze(image, self.describer.image_size))

    def infer(self, images: NDArray[np.uint8]) -> list[Described]:
        """Return captions and boxes of images uint8 [B, 3, S, S]."""
        return self.describer(images)

    def result(self, name: str, path: Path | None, item: _Item, output: Described) -> Prediction:
        """Bring the boxes to the image's own pixels."""
        if not (np.isfinite(output.boxes).all() and np.isfinite(output.scores).all()):
            raise UserError(f"{path or name}: the model's output is not finite (NaN or infinite)")
        height, width = item.image.shape[:2]
        boxes = output.boxes.astype(np.float64) * np.array([width, height, width, height])
        labels = tuple(self.describer.categories[number] for number in output.labels.tolist())
        return Prediction(
            name, item.image, tuple(output.captions), boxes, output.scores.astype(np.float64), labels, path
        )

    def map_words(self, image: ImageSource, caption: str) -> list[WordMap]:
        """Compute where the model looks for each word of a caption, its own or any other.

        Raises:
            UserError: an image that cannot be read, a model without captions, or an exported one.
        """
        map_words = getattr(self.describer, "map_words", None)
        if map_words is None:
            raise UserError("an exported model does not say where it looks; take the model that it was made from")
        maps: list[WordMap] = map_words(self.read(image).pixels, caption)
        return maps

    def draw_words(self, prediction: Prediction) -> NDArray[np.uint8]:
        """Draw where each word of a prediction's caption looked: uint8 [h, w, 3]."""
        return draw_words(prediction.image, self.map_words(prediction.image, prediction.caption or ""))


def _open(
    model: CaptionDetModel | str | Path,
    device: str | torch.device,
    precision: str,
    decoding: Decoding,
    threshold: float,
    runtime: str,
) -> Describer:
    from caption_det.onnx import DECODER, ENCODER, EXPORTED, TOKENIZER, OnnxDescriber

    named: Any = model
    if isinstance(model, str | os.PathLike):
        folder = Path(model)
        if os.path.isfile(folder / ENCODER) and not os.path.lexists(folder / CONFIG):  # noqa: PTH113
            named = folder / ENCODER
    if resolve_runtime(named, runtime, "caption-det") == "onnx":
        if named is model:  # a saved one
            files = (CONFIG, *(f"{EXPORTED}/{name}" for name in (ENCODER, DECODER, TOKENIZER)))
            folder = find(model, shipped=SHIPPED, files=files) / EXPORTED
        return OnnxDescriber(folder, device, precision, decoding, threshold)
    from caption_det.describe import TorchDescriber
    from caption_det.model import CaptionDetModel, load

    network = model if isinstance(model, CaptionDetModel) else load(model)
    return TorchDescriber(network, device, precision, decoding, threshold)
