"""Captions and boxes of any image: one in, one result out, or a stream of files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from caption_det.config import THRESHOLD
from caption_det.data.dataset import network_image
from caption_det.model import CaptionDetModel, ScoredBoxes, load
from caption_det.model.reading import read_tokens, split_words
from caption_det.predict_map import WordMap, draw_words
from polyscale.data.images import MAX_ASPECT, PREDICTION_PIXELS, ImageSource, read_image, replace_file
from polyscale.errors import UserError
from polyscale.inference import Predictor as BasePredictor
from polyscale.inference import autocast, resolve_device, resolve_precision
from polyscale.report import draw_boxes

FILE_ENDING, MAP_ENDING = "_boxes.jpg", "_words.jpg"
MAX_JPEG_SIDE = 65_500  # pixels, libjpeg's limit


@dataclass(frozen=True)
class Decoding:
    """How captions are searched; None leaves the model's own choice.

    Attributes:
        captions: of each image, the most likely first.
        beams: of beam search; 1 is greedy.
        temperature: draw words at random at this temperature instead.
        top_p: draw from the likeliest words of this probability together.
        max_tokens: longest caption.
    """

    captions: int = 1
    beams: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None

    def options(self, model: CaptionDetModel) -> dict[str, Any]:
        """Arguments of transformers' generate."""
        own = model.generation_config
        chosen: dict[str, Any] = {"max_new_tokens": self.max_tokens or own.max_new_tokens or 40}
        if self.temperature is not None or self.top_p is not None:
            chosen |= {"do_sample": True, "num_beams": 1, "temperature": self.temperature or 1.0, "top_k": 0}
            chosen["top_p"] = self.top_p or 1.0
        else:
            beams = self.beams or own.num_beams or 1
            chosen |= {"do_sample": False, "num_beams": max(beams, self.captions)}
        return chosen | {"num_return_sequences": self.captions}


@torch.inference_mode()
def describe(
    model: CaptionDetModel,
    pixel_values: Tensor | None = None,
    decoding: Decoding | None = None,
    *,
    features: Sequence[Tensor] | None = None,
    precision: str = "auto",
    threshold: float = THRESHOLD,
) -> list[tuple[list[str], ScoredBoxes]]:
    """Return captions and scored boxes of some images; one pass of the encoder serves both.

    A model without captions gives none, one without boxes no boxes.

    Args:
        model: in eval mode.
        pixel_values: the images, [B, 3, H, W] in [0, 1].
        decoding: how captions are searched.
        features: the maps of the model's tower in place of the images.
        precision: see polyscale.inference.precision.
        threshold: lowest score of the boxes.
    """
    decoding = decoding or Decoding()
    if pixel_values is not None:
        pixel_values = pixel_values.to(model.device)
    if features is not None:
        features = [level.to(model.device) for level in features]
    with autocast(precision, model.device):
        encoded = model.encoder(pixel_values, features)
        boxes = model.detect(encoded, threshold=threshold)
        texts: list[list[str]] = [[] for _ in boxes]
        if model.decoder is not None and model.tokenizer is not None:
            ids = model.generate(encoder_outputs=encoded, **decoding.options(model))
            flat = [text.strip() for text in model.tokenizer.batch_decode(ids, skip_special_tokens=True)]
            texts = [flat[i * decoding.captions : (i + 1) * decoding.captions] for i in range(len(boxes))]
    return list(zip(texts, boxes, strict=True))


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


_Output = tuple[list[str], ScoredBoxes]


class Predictor(BasePredictor[_Item, Prediction]):
    """A model ready for images: `Predictor("runs/a")("photo.jpg").caption`.

    Args:
        model: a folder, hub id or shipped name, or a CaptionDetModel.
        device: "auto" takes CUDA or MPS where there is one.
        precision: see polyscale.inference.precision.
        decoding: how captions are searched.
        threshold: lowest score of the boxes, in (0, 1).

    Raises:
        UserError: a model that cannot be loaded, a device or precision that is not there, a bad threshold.
    """

    def __init__(
        self,
        model: CaptionDetModel | str | Path,
        device: str | torch.device = "auto",
        precision: str = "auto",
        decoding: Decoding | None = None,
        threshold: float = THRESHOLD,
    ) -> None:
        if not 0 < threshold < 1:
            raise UserError(f"threshold is {threshold}; a number between 0 and 1 is needed", exit_code=2)
        self.device, self.precision = resolve_device(device), precision
        resolve_precision(precision, self.device)
        network = model if isinstance(model, CaptionDetModel) else load(model)
        self.model = network.to(self.device).eval()
        self.decoding, self.threshold = decoding or Decoding(), threshold

    def read(self, source: ImageSource) -> _Item:
        """Read an image, keep it, and squeeze a copy to the network's size."""
        image = read_image(source, max_pixels=PREDICTION_PIXELS, max_aspect=MAX_ASPECT)
        return _Item(image, network_image(image, self.model.config.image_size).numpy())

    def infer(self, images: NDArray[np.uint8]) -> list[_Output]:
        """Return captions and boxes of images uint8 [B, 3, S, S]."""
        pixels = torch.from_numpy(images).float() / 255
        return describe(self.model, pixels, self.decoding, precision=self.precision, threshold=self.threshold)

    def result(self, name: str, path: Path | None, item: _Item, output: _Output) -> Prediction:
        """Bring the boxes to the image's own pixels."""
        captions, found = output
        if not (found.boxes.isfinite().all() and found.scores.isfinite().all()):
            raise UserError(f"{path or name}: the model's output is not finite (NaN or infinite)")
        height, width = item.image.shape[:2]
        boxes = found.boxes.double().numpy() * np.array([width, height, width, height])
        labels = tuple(self.model.config.categories[number] for number in found.labels.tolist())
        return Prediction(name, item.image, tuple(captions), boxes, found.scores.double().numpy(), labels, path)

    def map_words(self, image: ImageSource, caption: str) -> list[WordMap]:
        """Compute where the model looks for each word of a caption, its own or any other.

        Raises:
            UserError: an image that cannot be read, or a model without captions.
        """
        if self.model.decoder is None or self.model.tokenizer is None:
            raise UserError("the model writes no captions, so that no word has a place")
        ids, words = split_words(self.model.tokenizer, caption)
        ids = ids[: self.model.config.max_tokens]
        pixels = torch.from_numpy(self.read(image).pixels)[None].to(self.device).float() / 255
        places = read_tokens(self.model, pixels, torch.tensor([ids], device=self.device)).cpu().numpy()
        return [WordMap(word, places[tokens].mean(0)) for word, tokens in words if tokens[-1] < len(ids)]

    def draw_words(self, prediction: Prediction) -> NDArray[np.uint8]:
        """Draw where each word of a prediction's caption looked: uint8 [h, w, 3]."""
        return draw_words(prediction.image, self.map_words(prediction.image, prediction.caption or ""))
