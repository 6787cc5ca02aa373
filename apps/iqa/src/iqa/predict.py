"""Scores of any image: one in, one result out, or a stream of files.

The image is brought to the network's size exactly as in training (`data.read_network_image`), never cropped and never
squeezed, so that the same image always gets the same score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from iqa.data import network_image, read_network_image
from iqa.predict_map import TILE, draw_quality
from polyscale.data.images import MAX_ASPECT, PREDICTION_PIXELS, ImageSource, image_size, read_image, resize_map
from polyscale.errors import UserError
from polyscale.inference import Predictor as BasePredictor
from polyscale.inference import autocast, resolve_device, resolve_precision


class ScoreRange(NamedTuple):
    """Lowest and highest score; higher is better."""

    low: float
    high: float

    @property
    def decimals(self) -> int:
        """Decimals that show a thousandth of the range: 1 for 0 to 100, 3 for 0 to 1."""
        return max(0, 3 - math.floor(math.log10(self.high - self.low)))

    def describe(self) -> str:
        """Say what a user needs to read a score."""
        return f"{self.low:g} to {self.high:g}, higher is better"


@dataclass(frozen=True)
class Prediction:
    """The quality of one image.

    Attributes:
        name: unique within its stream.
        score: estimate of the MOS, within [low, high], higher is better.
        spread: standard deviation of the MOS around the score that the model expects, same units.
        low: lowest possible score.
        high: highest possible score.
        width: of the upright image, in pixels.
        height: of the upright image, in pixels.
        source: the file, None for anything else.
        lower_better: False.
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

    @property
    def score_range(self) -> ScoreRange:
        """The range of the score."""
        return ScoreRange(self.low, self.high)

    def to_dict(self) -> dict[str, Any]:
        """What JSON and CSV can hold; score and spread have the digits that do not depend on the batch."""
        return {
            "name": self.name,
            "file": None if self.source is None else str(self.source),
            "score": round(self.score, self.score_range.decimals + 1),
            "spread": round(self.spread, self.score_range.decimals + 1),
            "low": self.low,
            "high": self.high,
            "lower_better": self.lower_better,
            "width": self.width,
            "height": self.height,
        }

    def row(self) -> dict[str, Any]:
        """What a table shows below a line that names the range."""
        return {key: value for key, value in self.to_dict().items() if key not in ("low", "high", "lower_better")}

    def __str__(self) -> str:
        """Score, spread and range on one line."""
        digits = self.score_range.decimals
        return f"{self.name}: {self.score:.{digits}f} ± {self.spread:.{digits}f} ({self.score_range.describe()})"


@dataclass(frozen=True, eq=False)
class _Item:
    pixels: NDArray[np.uint8]
    height: int
    width: int


class Predictor(BasePredictor[_Item, Prediction]):
    """A model ready for images: `Predictor("nano")("photo.jpg").score`.

    Args:
        model: a shipped name, folder or hub id for QualityNet.from_pretrained, or a QualityNet, which is moved to the
            device and set to eval in place.
        device: "auto" takes CUDA or MPS where there is one.
        precision: see polyscale.inference.precision; fp32 by default, because users compare scores.

    Raises:
        UserError: a model that cannot be loaded, a device or precision that is not there.
    """

    def __init__(
        self, model: nn.Module | str | Path = "nano", device: str | torch.device = "auto", precision: str = "fp32"
    ) -> None:
        self.device, self.precision = resolve_device(device), precision
        resolve_precision(precision, self.device)
        self.model: Any = load_model(model).to(self.device).eval()

    @property
    def score_range(self) -> ScoreRange:
        """(low, high) of the scores."""
        return ScoreRange(float(self.model.low), float(self.model.high))

    def read(self, source: ImageSource) -> _Item:
        """Read an image, at the network's size."""
        return _Item(read_network_image(source, self.model.input_size).numpy(), *image_size(source))

    @torch.inference_mode()
    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return score and std, float32 [B, 2]."""
        with autocast(self.precision, self.device):
            scores, stds = self.model.score_with_spread(self._to_device(torch.from_numpy(images)))
        return torch.stack([scores.float(), stds.float()], 1).cpu().numpy()

    def result(self, name: str, path: Path | None, item: _Item, output: NDArray[np.float32]) -> Prediction:
        """Make the Prediction of one image."""
        if not np.isfinite(output).all():
            raise UserError(f"{path or name}: the model's output is not finite (NaN or infinite)")
        score, std = output.tolist()
        return Prediction(name, score, std, *self.score_range, item.width, item.height, path)

    def map(self, source: ImageSource) -> NDArray[np.float32]:
        """Compute local quality float32 [H, W] in the score's units, at the image's own size."""
        return resize_map(self._quality_map(read_network_image(source, self.model.input_size)), image_size(source))

    def draw_map(self, source: ImageSource) -> NDArray[np.uint8]:
        """Draw the image next to its local quality, uint8 [h, w, 3]: dark where it is worst, light where it is best."""
        image = read_image(
            source, max_pixels=PREDICTION_PIXELS, max_aspect=MAX_ASPECT, min_pixels=4 * self.model.input_size**2
        )
        return draw_quality(image, self._quality_map(network_image(image, self.model.input_size)), self.score_range)

    @torch.inference_mode()
    def _quality_map(self, pixels: torch.Tensor) -> NDArray[np.float32]:
        with autocast(self.precision, self.device):
            quality: NDArray[np.float32] = (
                self.model.quality_map(self._to_device(pixels[None]), TILE)[0].float().cpu().numpy()
            )
        return quality

    def _to_device(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.to(self.device).float().div_(255)


def load_model(model: nn.Module | str | Path) -> nn.Module:
    """Load the QualityNet of a shipped name, folder or hub id; a module is returned as it is."""
    from iqa.model import QualityNet

    return model if isinstance(model, nn.Module) else QualityNet.from_pretrained(model)
