"""Segmentation of any image: one in, one result out, or a stream of files.

The image is brought to the network's size exactly as in training (`data.resize`), and the probability map back to the
image's own size. Nothing here needs torch where the model is an ONNX file.
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

from camo_seg.data.resize import network_pixels
from camo_seg.outputs import Cutout, bounding_box, segmentation_of
from camo_seg.tta import TTA
from polyscale.data.images import (
    MAX_ASPECT,
    PREDICTION_PIXELS,
    ImageSource,
    read_image,
    replace_file,
    resize_map,
    save_png,
)
from polyscale.errors import UserError
from polyscale.inference.network import Network, find_exported, resolve_runtime
from polyscale.inference.predictor import Predictor as BasePredictor
from polyscale.report.drawing import overlay as draw_overlay

if TYPE_CHECKING:
    import torch
    from torch import nn

MIN_SIZE, MAX_SIZE = 32, 8192  # pixels a side of the network's input
MAX_JPEG_SIDE = 65_500  # pixels, libjpeg's limit

WEIGHTS = Path(__file__).parent / "weights"
FILE_ENDINGS = ("_probability.png", "_mask.png", "_overlay.jpg")
CUTOUT_ENDING = "_cutout.png"


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model finds in one image.

    Attributes:
        name: unique within its stream; saved files begin with it.
        probability: float32 [H, W] in [0, 1] at the image's own size.
        image: uint8 [H, W, 3], upright.
        threshold: probability from which a pixel belongs to the mask.
        source: the file, None for anything else.
        segmentation: how `to_dict` gives the mask: "none", or as COCO's "rle" or "polygons".
    """

    name: str
    probability: NDArray[np.float32] = field(repr=False)
    image: NDArray[np.uint8] = field(repr=False)
    threshold: float = 0.5
    source: Path | None = None
    segmentation: str = "none"

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Bool [H, W]: probability at or above the threshold."""
        return self.probability >= self.threshold

    @property
    def area(self) -> float:
        """The mask's share of the image, in [0, 1]."""
        return float(self.mask.mean())

    def save(self, folder: str | Path, overlay: bool = True, cutout: Cutout | None = None) -> list[Path]:
        """Write NAME_probability.png (8 bit), NAME_mask.png (0/255) and NAME_overlay.jpg; returns their paths.

        Earlier results are replaced. An image with a side above MAX_JPEG_SIDE gets no overlay. With `cutout`,
        NAME_cutout.png is written too.

        Raises:
            UserError: a file cannot be written, or is the image itself.
        """
        overlay = overlay and max(self.image.shape) <= MAX_JPEG_SIDE
        paths = output_files(folder, self.name, overlay, cutout is not None)
        if self.source is not None and self.source.resolve() in [path.resolve() for path in paths]:
            raise UserError(f"{self.source}: would be overwritten by its own result; choose another output folder")
        save_png(paths[0], self.probability)
        save_png(paths[1], self.mask)
        if overlay:
            buffer = io.BytesIO()
            drawn = draw_overlay(self.image, self.probability, threshold=self.threshold)
            Image.fromarray(drawn).save(buffer, "JPEG", quality=92)
            replace_file(paths[2], buffer.getvalue())
        if cutout is not None:
            save_png(paths[-1], cutout.draw(self.image, self.probability, self.threshold))
        return paths

    def to_dict(self) -> dict[str, Any]:
        """What JSON and CSV can hold: name, file, size, threshold, area, highest probability and the mask's box.

        `box` is [left, top, right, bottom] in pixels, right and bottom exclusive, or None for an empty mask. Where
        `segmentation` is not "none", the mask is there too, under COCO's key.
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
            "box": bounding_box(self.mask),
        } | ({"segmentation": segmentation_of(self.mask, self.segmentation)} if self.segmentation != "none" else {})


def output_files(folder: str | Path, name: str, overlay: bool = True, cutout: bool = False) -> list[Path]:
    """The paths that `Prediction.save` writes for a prediction of this name."""
    endings = [*(FILE_ENDINGS if overlay else FILE_ENDINGS[:2]), *([CUTOUT_ENDING] if cutout else [])]
    return [Path(folder) / f"{name}{ending}" for ending in endings]


@dataclass(frozen=True, eq=False)
class _Item:
    image: NDArray[np.uint8]
    pixels: NDArray[np.uint8]


class Predictor(BasePredictor[_Item, Prediction]):
    """A model ready for images: `Predictor("nano")("photo.jpg").save("out")`.

    Args:
        model: a folder, hub id or shipped name of a CamoSegmenter, an ONNX file of `camo-seg export`, or a module that
            maps images [B, 3, S, S] in [0, 1] to logits [B, 1, S, S]; it is moved to the device and set to eval in
            place.
        device: "auto" takes CUDA or MPS where there is one; onnxruntime runs on "cpu".
        precision: see polyscale.inference.precision; onnxruntime computes in fp32.
        size: the side S; the model's own `input_size` by default.
        threshold: probability from which a pixel belongs to the mask.
        segmentation: how the results' `to_dict` gives the mask: "none", "rle" or "polygons".
        runtime: "torch", "onnx" (the model.onnx of a saved model, without torch) or "auto": see
            polyscale.inference.network.resolve_runtime.
        tta: average the maps of the image mirrored and at several sizes.

    Raises:
        UserError: a model that cannot be loaded, a device, precision or runtime that is not there, a bad size or
            threshold.
    """

    batch_size = 4

    def __init__(
        self,
        model: nn.Module | str | Path = "nano",
        device: str | torch.device = "auto",
        precision: str = "fp32",
        size: int | None = None,
        threshold: float = 0.5,
        segmentation: str = "none",
        runtime: str = "auto",
        tta: TTA | None = None,
    ) -> None:
        if segmentation not in ("none", "rle", "polygons"):
            raise UserError(f"segmentation is {segmentation}; none, rle or polygons are accepted", exit_code=2)
        self.segmentation = segmentation
        if not 0 < threshold < 1:
            raise UserError(f"threshold is {threshold}; a number between 0 and 1 is needed", exit_code=2)
        self.threshold, self.tta = threshold, tta
        self.network = _open(model, device, precision, size, runtime)
        self.size = _checked_size(self.network.about.get("input_size") if size is None else size)

    def read(self, source: ImageSource) -> _Item:
        """Read an image, keep it, and squeeze a copy to the network's size."""
        image = read_image(source, max_pixels=PREDICTION_PIXELS, max_aspect=MAX_ASPECT)
        return _Item(image, network_pixels(image, self.size))

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities float32 [B, S, S]."""
        return self._maps(images) if self.tta is None else self.tta(self._maps, images)

    def _maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.network(images)["probability"].reshape(len(images), *images.shape[2:])

    def result(self, name: str, path: Path | None, item: _Item, output: NDArray[np.float32]) -> Prediction:
        """Bring the map to the image's own size."""
        if not np.isfinite(output).all():
            raise UserError(f"{path or name}: the model's output is not finite (NaN or infinite)")
        probability = resize_map(output, item.image.shape[:2])
        return Prediction(name, probability, item.image, self.threshold, path, self.segmentation)


def _open(
    model: nn.Module | str | Path, device: str | torch.device, precision: str, size: int | None, runtime: str
) -> Network:
    if resolve_runtime(model, runtime, "camo-seg") == "onnx":
        from polyscale.inference.onnx_network import OnnxNetwork

        assert isinstance(model, str | os.PathLike)
        return OnnxNetwork(find_exported(model, WEIGHTS, "camo-seg"), "camo_seg.CamoSegmenter", device, precision)
    from camo_seg.model.network import CamoSegmenter
    from camo_seg.model.probability import ProbabilityMaps
    from polyscale.inference.torch_network import TorchNetwork

    def load() -> ProbabilityMaps:
        network = CamoSegmenter.from_pretrained(model) if isinstance(model, str | os.PathLike) else model
        return ProbabilityMaps(network, _checked_size(getattr(network, "input_size", None) if size is None else size))

    return TorchNetwork(load, device, precision)


def _checked_size(size: object) -> int:
    if not isinstance(size, int) or not MIN_SIZE <= size <= MAX_SIZE:
        raise UserError(f"size is {size}; the network's input needs {MIN_SIZE} to {MAX_SIZE} pixels", exit_code=2)
    return size
