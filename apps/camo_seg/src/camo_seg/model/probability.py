"""The network as it predicts, the sigmoid taken in float32: what a Predictor runs and an ONNX file holds."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from polyscale.inference import autocast
from polyscale.inference.torch_network import Exportable


class ProbabilityMaps(Exportable):
    """Images [B, 3, H, W] in [0, 1] -> probabilities float32 [B, 1, H, W].

    Args:
        network: maps the same images to logits [B, 1, H, W].
        size: side in pixels that images are squeezed to.
    """

    outputs = ("probability",)
    memory_format = torch.channels_last

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__(network, {"input_size": size, "size_policy": "squeezed to a square, bilinear, anti-aliased"})

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """Return a tuple of one: the probabilities."""
        return (self.network(image).float().sigmoid(),)


@torch.inference_mode()
def probability_maps(model: nn.Module, images: Tensor, device: torch.device, precision: str) -> NDArray[np.float32]:
    """Map float32 [B, 3, H, W] in [0, 1] to probabilities float32 [B, H, W]."""
    images = images.to(device, memory_format=torch.channels_last)
    with autocast(precision, device):
        logits = model(images)
    return logits[:, 0].float().sigmoid().cpu().numpy()
