"""Prediction on any image, at its own size."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app_name.data.dataset import network_pixels
from app_name.model import Segmenter
from polyscale.data.images import ImageSource, read_image, resize_map, save_png
from polyscale.errors import UserError
from polyscale.inference import Predictor as BasePredictor
from polyscale.inference import autocast, resolve_device, resolve_precision
from polyscale.report import overlay


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model finds in one image.

    Attributes:
        name: unique within its stream; saved files begin with it.
        probability: float32 [H, W] in [0, 1] at the image's own size.
        image: uint8 [H, W, 3].
        source: the file, None for anything else.
    """

    name: str
    probability: NDArray[np.float32] = field(repr=False)
    image: NDArray[np.uint8] = field(repr=False)
    source: Path | None = None

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Bool [H, W]: probability of at least one half."""
        return self.probability >= 0.5

    @property
    def area(self) -> float:
        """The mask's share of the image, in [0, 1]."""
        return float(self.mask.mean())

    def save(self, folder: str | Path) -> list[Path]:
        """Write NAME_mask.png (0/255) and NAME_overlay.png; returns their paths."""
        images = (self.mask, overlay(self.image, self.probability))
        return [save_png(path, image) for path, image in zip(output_files(folder, self.name), images, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """What JSON and CSV can hold: name, file, size, the mask's share of the image, the highest probability."""
        height, width = self.mask.shape
        file, highest = None if self.source is None else str(self.source), float(self.probability.max())
        size = {"width": width, "height": height}
        return {"name": self.name, "file": file, **size, "area": self.area, "max_probability": highest}


def output_files(folder: str | Path, name: str) -> list[Path]:
    """The paths that `Prediction.save` writes for a prediction of this name."""
    return [Path(folder) / f"{name}_{kind}.png" for kind in ("mask", "overlay")]


@dataclass(frozen=True, eq=False)
class _Item:
    image: NDArray[np.uint8]
    pixels: NDArray[np.uint8]


class Predictor(BasePredictor[_Item, Prediction]):
    """A model ready for images: `Predictor("runs/a")("photo.jpg").save("out")`.

    Args:
        model: a folder, hub id or shipped name for Segmenter.from_pretrained, or a Segmenter.
        device: "auto" takes CUDA or MPS where there is one.
        precision: see polyscale.inference.precision.

    Raises:
        UserError: a model that cannot be loaded, a device or precision that is not there.
    """

    def __init__(
        self, model: Segmenter | str | Path, device: str | torch.device = "auto", precision: str = "fp32"
    ) -> None:
        self.device, self.precision = resolve_device(device), precision
        resolve_precision(precision, self.device)
        network = model if isinstance(model, Segmenter) else Segmenter.from_pretrained(model)
        self.model = network.to(self.device).eval()

    def read(self, source: ImageSource) -> _Item:
        """Read an image, keep it, and squeeze a copy to the network's size."""
        image = read_image(source)
        return _Item(image, network_pixels(image, self.model.input_size))

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities float32 [B, S, S]."""
        probability = predict_maps(self.model, torch.from_numpy(images).float() / 255, self.device, self.precision)
        return probability[:, 0].numpy()

    def result(self, name: str, path: Path | None, item: _Item, output: NDArray[np.float32]) -> Prediction:
        """Bring the map to the image's own size."""
        if not np.isfinite(output).all():
            raise UserError(f"{path or name}: the model's output is not finite (NaN or infinite)")
        return Prediction(name, resize_map(output, item.image.shape[:2]), item.image, path)


@torch.inference_mode()
def predict_maps(model: nn.Module, images: Tensor, device: torch.device, precision: str) -> Tensor:
    """Map images [B, 3, H, W] in [0, 1] to probabilities float32 [B, 1, H, W] on the CPU."""
    with autocast(precision, device):
        logits: Tensor = model(images.to(device))
    return logits.float().sigmoid().cpu()
