"""Captions and boxes of batches of images by a model in torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from caption_det.config import THRESHOLD
from caption_det.describer import Decoding, Described
from caption_det.model import CaptionDetModel, ScoredBoxes
from caption_det.model.reading import read_tokens, split_words
from caption_det.predict_map import WordMap
from polyscale.errors import UserError
from polyscale.inference import autocast, resolve_device, resolve_precision


@torch.inference_mode()
def describe(
    model: CaptionDetModel,
    pixel_values: Tensor | None = None,
    decoding: Decoding | None = None,
    *,
    features: Sequence[Tensor] | None = None,
    precision: str = "fp32",
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


class TorchDescriber:
    """A model ready for images, see caption_det.describer.Describer.

    Args:
        model: is moved to the device and set to eval in place.
        device, precision: see polyscale.inference.precision.
        decoding: how captions are searched.
        threshold: lowest score of the boxes.

    Raises:
        UserError: a device or precision that is not there.
    """

    def __init__(
        self, model: CaptionDetModel, device: str | torch.device, precision: str, decoding: Decoding, threshold: float
    ) -> None:
        self.device, self.precision = resolve_device(device), precision
        resolve_precision(precision, self.device)
        self.model = model.to(self.device).eval()
        self.decoding, self.threshold = decoding, threshold
        self.image_size: int = model.config.image_size
        self.categories: list[str] = model.config.categories
        self.speaks = model.decoder is not None

    def __call__(self, images: NDArray[np.uint8]) -> list[Described]:
        """Describe images uint8 [B, 3, S, S]."""
        described = describe(
            self.model, self._pixels(images), self.decoding, precision=self.precision, threshold=self.threshold
        )
        return [Described(captions, *(part.numpy() for part in found)) for captions, found in described]

    def map_words(self, image: NDArray[np.uint8], caption: str) -> list[WordMap]:
        """Compute where the model looks in an image uint8 [3, S, S] for each word of a caption.

        Raises:
            UserError: a model without captions.
        """
        if self.model.decoder is None or self.model.tokenizer is None:
            raise UserError("the model writes no captions, so that no word has a place")
        ids, words = split_words(self.model.tokenizer, caption)
        ids = ids[: self.model.config.max_tokens]
        tokens = torch.tensor([ids], device=self.device)
        places = read_tokens(self.model, self._pixels(image[None]), tokens).cpu().numpy()
        return [WordMap(word, places[own].mean(0)) for word, own in words if own[-1] < len(ids)]

    def _pixels(self, images: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(images).to(self.device).float() / 255
