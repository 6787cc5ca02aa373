"""Prediction on any image, at its own size."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from app_name.model import Segmenter
from polyscale.data.images import ImageSource, read_image, resize_map, save_png, to_tensor
from polyscale.inference.precision import resolve_device
from polyscale.report.drawing import overlay


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model sees in one image: probability float32 [H, W] in [0, 1], image uint8 [H, W, 3]."""

    name: str
    probability: NDArray[np.float32] = field(repr=False)
    image: NDArray[np.uint8] = field(repr=False)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """bool [H, W]: probability of at least one half."""
        return self.probability >= 0.5

    def save(self, folder: str | Path) -> list[Path]:
        """Write NAME_mask.png (0/255) and NAME_overlay.png; returns their paths."""
        pictures = {"mask": self.mask, "overlay": overlay(self.image, self.probability)}
        return [save_png(Path(folder) / f"{self.name}_{kind}.png", picture) for kind, picture in pictures.items()]

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold: name, size, the mask's share of the image, the highest probability."""
        height, width = self.mask.shape
        area, highest = float(self.mask.mean()), float(self.probability.max())
        return {"name": self.name, "width": width, "height": height, "area": area, "max_probability": highest}


class Predictor:
    """A model ready for images: `Predictor("runs/a")("photo.jpg", "photo").save("out")`.

    model: a folder or hub id for Segmenter.from_pretrained, or a Segmenter. Raises UserError where it cannot be loaded.
    """

    def __init__(self, model: Segmenter | str | Path, device: str = "auto") -> None:
        network = model if isinstance(model, Segmenter) else Segmenter.from_pretrained(model)
        self.device = resolve_device(device)
        self.model = network.to(self.device).eval()

    @torch.inference_mode()
    def __call__(self, source: ImageSource, name: str = "image") -> Prediction:
        """Predict what polyscale.data.images.read_image takes: a path, bytes, PIL image, array or tensor.

        Raises UserError naming a file that cannot be read.
        """
        image = read_image(source)
        size = (self.model.input_size, self.model.input_size)
        pixels = F.interpolate(to_tensor(image)[None].to(self.device), size, mode="bilinear", antialias=True)
        probability = self.model(pixels)[0, 0].sigmoid().cpu().numpy()
        return Prediction(name, resize_map(probability, image.shape[:2]), image)
