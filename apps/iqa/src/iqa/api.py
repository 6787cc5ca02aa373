"""A model as a metric inside other programs, with the calls of pyiqa and of torchmetrics.

`create_metric` takes what pyiqa's takes for a blind metric, a path, PIL image or tensors in [0, 1], and gives [N, 1].
What differs: 16-bit, transparent and rotated images are read as a viewer shows them, a tensor with another range than
[0, 1] is an error, and a score never depends on the other images of the batch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa.data import network_size, read_network_image
from iqa.predict import ScoreRange, load_model
from polyscale.data.images import ImageSource
from polyscale.errors import UserError
from polyscale.inference.precision import resolve_device


class QualityMetric(nn.Module):
    """A QualityNet as a blind metric; higher is better.

    Args:
        network: a QualityNet.
        as_loss: let gradients flow from the scores to the tensor; scores may then leave the range a little.

    Attributes:
        score_range: (low, high).
        lower_better: False.
        metric_mode: "NR", no reference.
    """

    lower_better = False
    metric_mode = "NR"
    score_range: ScoreRange

    def __init__(self, network: nn.Module, as_loss: bool = False) -> None:
        super().__init__()
        measured: Any = network.eval()
        self.network, self.as_loss, self.score_range = measured, as_loss, ScoreRange(measured.low, measured.high)

    def forward(self, image: ImageSource) -> Tensor:
        """Score images.

        Args:
            image: a path, PIL image, bytes, or a tensor [N, 3, H, W] in [0, 1].

        Returns:
            Scores [N, 1] in the units of the MOS.

        Raises:
            UserError: a file that cannot be read.
            ValueError: a tensor of another shape or range.
        """
        images = self._validate(image) if isinstance(image, Tensor) else self._read(image)
        with torch.set_grad_enabled(self.as_loss and torch.is_grad_enabled()):
            images = shrink(images, self.network.input_size)
            if not self.as_loss:
                scores: Tensor = self.network.score(images)
                return scores[:, None]
            low, high = self.score_range
            return low + (high - low) * self.network(images)[:, None]

    def train(self, mode: bool = True) -> QualityMetric:
        """Stay in eval mode: a metric does not change, also as part of a model in training."""
        return super().train(False)

    def _read(self, image: ImageSource) -> Tensor:
        return read_network_image(image, self.network.input_size)[None].to(self._device).float().div(255)

    def _validate(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            wrong = f"{images.dtype} {list(images.shape)}"
            raise ValueError(f"image: a floating point tensor [N, 3, H, W] in [0, 1] is needed, given {wrong}")
        low, high = images.detach().aminmax() if images.numel() else (torch.zeros(()), torch.zeros(()))
        if not (low >= 0 and high <= 1):
            raise ValueError(f"image: values from {low:g} to {high:g} given, [0, 1] accepted")
        return images.to(self._device, torch.float32)

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


class QualityScore:
    """The mean quality of all images seen, with the calls of torchmetrics: update, compute, reset, to.

    `QualityScore("nano")`, then `update` with tensors [N, 3, H, W] in [0, 1] (from a generator or a codec), and
    `compute`. Images are counted in this process alone; add up `total` and `count` over several.
    """

    higher_is_better = True

    def __init__(self, model: nn.Module | str | Path = "nano", device: str | torch.device = "auto") -> None:
        self.metric = create_metric(model, device)
        self.reset()

    def update(self, images: Tensor) -> None:
        """Score a batch [N, 3, H, W] in [0, 1]."""
        self(images)

    def __call__(self, images: Tensor) -> Tensor:
        """Score a batch and return its own mean, a float64 scalar (NaN where it is empty)."""
        scores = self.metric(images).double()
        self.total += float(scores.sum())
        self.count += len(scores)
        return scores.mean().cpu()

    def to(self, device: str | torch.device) -> QualityScore:
        """Move the model to another device; the count stays."""
        self.metric.to(resolve_device(device))
        return self

    def compute(self) -> Tensor:
        """Return the mean score so far, a float64 scalar. Raises UserError where no image was seen."""
        if not self.count:
            raise UserError("compute: no image seen yet; call update first")
        return torch.tensor(self.total / self.count, dtype=torch.float64)

    def reset(self) -> None:
        """Forget all images."""
        self.total, self.count = 0.0, 0


def create_metric(
    model: nn.Module | str | Path = "nano", device: str | torch.device = "auto", as_loss: bool = False
) -> QualityMetric:
    """Make a QualityMetric on `device` of a shipped name, folder, hub id or QualityNet."""
    network = load_model(model)
    if network is not model:
        network.requires_grad_(False)
    return QualityMetric(network, as_loss).to(resolve_device(device))


def list_models() -> list[str]:
    """Return the names of the models that come with the package; folders and hub ids are accepted too."""
    from iqa.model.network import QualityNet

    return QualityNet.shipped_names()


def shrink(images: Tensor, size: int) -> Tensor:
    """Downscale [N, 3, H, W] in [0, 1] to at most `size` squared pixels, as `data.network_image` but differentiable.

    The result is rounded to 8 bits, as a file would be, so that both score alike. Gradients pass the rounding.
    """
    target = network_size(images.shape[-2], images.shape[-1], size)
    if target == tuple(images.shape[-2:]):
        return images
    small = F.interpolate(images, target, mode="bicubic", antialias=True).clamp(0, 1)
    return small + ((255 * small).round() / 255 - small).detach()
