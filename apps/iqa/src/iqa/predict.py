"""Scores of any image: one in, one result out, or a stream of files.

The image is brought to the network's size exactly as in training (`data.resize`), never cropped and never
squeezed, so that the same image always gets the same score. Nothing here needs torch where the model is an ONNX file.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iqa.data.resize import network_pixels, read_network_pixels
from iqa.predict_map import draw_quality, map_quality
from polyscale.data.images import MAX_ASPECT, PREDICTION_PIXELS, ImageSource, image_size, read_image, resize_map
from polyscale.errors import UserError
from polyscale.inference.network import Network, find_exported, resolve_runtime
from polyscale.inference.predictor import Predictor as BasePredictor

if TYPE_CHECKING:
    import torch
    from torch import nn

WEIGHTS = Path(__file__).parent / "weights"
MAX_SIZE = 8192  # pixels a side of the network's input


class ScoreRange(NamedTuple):
    """Lowest and highest score; higher is better."""

    low: float
    high: float

    @property
    def decimals(self) -> int:
        """Decimals that show a thousandth of the range: 1 for 0 to 100, 3 for 0 to 1."""
        return max(0, 3 - math.floor(math.log10(self.high - self.low)))

    def is_valid(self) -> bool:
        """Return whether both ends are finite numbers, the lower one first."""
        return all(isinstance(x, int | float) and math.isfinite(x) for x in self) and self.low < self.high

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
        model: a shipped name, folder or hub id of a QualityNet, an ONNX file of `iqa export`, or a QualityNet, which is
            moved to the device and set to eval in place.
        device: "auto" takes CUDA or MPS where there is one; onnxruntime runs on "cpu".
        precision: see polyscale.inference.precision; fp32 by default, because users compare scores.
        runtime: "torch", "onnx" (the model.onnx of a saved model, without torch) or "auto": see
            polyscale.inference.network.resolve_runtime.

    Raises:
        UserError: a model that cannot be loaded, a device, precision or runtime that is not there.
    """

    def __init__(
        self,
        model: nn.Module | str | Path = "nano",
        device: str | torch.device = "auto",
        precision: str = "fp32",
        runtime: str = "auto",
    ) -> None:
        self.network = _open(model, device, precision, runtime)
        about = self.network.about
        self.size: int = about.get("input_size", 0)
        self.score_range = ScoreRange(about.get("low", 0.0), about.get("high", 0.0))
        if not isinstance(self.size, int) or not 1 <= self.size <= MAX_SIZE or not self.score_range.is_valid():
            raise UserError(f"{model}: its size {self.size} or range {tuple(self.score_range)} is not that of a model")

    def read(self, source: ImageSource) -> _Item:
        """Read an image, at the network's size."""
        return _Item(read_network_pixels(source, self.size), *image_size(source))

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return score and std, float32 [B, 2]."""
        outputs = self.network(images)
        return np.stack([outputs["score"], outputs["spread"]], 1)

    def result(self, name: str, path: Path | None, item: _Item, output: NDArray[np.float32]) -> Prediction:
        """Make the Prediction of one image."""
        if not np.isfinite(output).all():
            raise UserError(f"{path or name}: the model's output is not finite (NaN or infinite)")
        score, std = output.tolist()
        return Prediction(name, score, std, *self.score_range, item.width, item.height, path)

    def map(self, source: ImageSource) -> NDArray[np.float32]:
        """Compute local quality float32 [H, W] in the score's units, at the image's own size."""
        return resize_map(map_quality(self.infer, read_network_pixels(source, self.size)), image_size(source))

    def draw_map(self, source: ImageSource) -> NDArray[np.uint8]:
        """Draw the image next to its local quality, uint8 [h, w, 3]: dark where it is worst, light where it is best."""
        image = read_image(
            source, max_pixels=PREDICTION_PIXELS, max_aspect=MAX_ASPECT, min_pixels=4 * self.size * self.size
        )
        return draw_quality(image, map_quality(self.infer, network_pixels(image, self.size)), self.score_range)


def _open(model: nn.Module | str | Path, device: str | torch.device, precision: str, runtime: str) -> Network:
    if resolve_runtime(model, runtime, "iqa") == "onnx":
        from polyscale.inference.onnx_network import OnnxNetwork

        assert isinstance(model, str | os.PathLike)
        return OnnxNetwork(find_exported(model, WEIGHTS, "iqa"), "iqa.QualityNet", device, precision)
    from iqa.model.scored import ScoredImages
    from polyscale.inference.torch_network import TorchNetwork

    return TorchNetwork(lambda: ScoredImages(load_model(model)), device, precision)


def load_model(model: nn.Module | str | Path) -> nn.Module:
    """Load the QualityNet of a shipped name, folder or hub id; a module is returned as it is."""
    from iqa.model import QualityNet

    return QualityNet.from_pretrained(model) if isinstance(model, str | os.PathLike) else model
