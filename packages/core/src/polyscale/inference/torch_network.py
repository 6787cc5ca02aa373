"""A network in torch, run on uint8 batches; the same module is what an ONNX file is written from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from polyscale.inference.precision import autocast, resolve_device, resolve_precision


class Exportable(nn.Module):
    """A network as it predicts: RGB in [0, 1] [B, 3, H, W] -> float32 outputs [B, ...], in the order of `outputs`.

    Subclasses give `forward` and the attributes.

    Args:
        network: the trained network.
        about: what a predictor has to know of it (size of the input, range of the outputs), as JSON values.

    Attributes:
        outputs: names of the outputs.
        span: range of the outputs, of which an exported file may be off by EXPORT_TOLERANCE.
        memory_format: of weights and images.
    """

    outputs: ClassVar[tuple[str, ...]]
    span: float = 1.0
    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format

    def __init__(self, network: nn.Module, about: Mapping[str, Any]) -> None:
        super().__init__()
        self.network: Any = network
        self.about = dict(about)


class TorchNetwork:
    """An Exportable on a device; it is moved there and set to eval in place.

    Args:
        load: builds it; called once the device and the precision are known to be there.
        device: "auto" takes CUDA or MPS where there is one.
        precision: see polyscale.inference.precision.

    Raises:
        UserError: a device or precision that is not there, or a model that cannot be loaded.
    """

    def __init__(self, load: Callable[[], Exportable], device: str | torch.device, precision: str) -> None:
        self.device, self.precision = resolve_device(device), precision
        resolve_precision(precision, self.device)
        module = load()
        self.module = module.to(self.device, memory_format=module.memory_format).eval()  # type: ignore[call-overload]
        self.about: Mapping[str, Any] = module.about

    @property
    def model(self) -> Any:
        """The trained network."""
        return self.module.network

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Map uint8 [B, 3, H, W] to outputs by name."""
        x = torch.from_numpy(images).to(self.device, memory_format=self.module.memory_format).float().div_(255)
        with autocast(self.precision, self.device):
            outputs: tuple[Tensor, ...] = self.module(x)
        return {name: o.float().cpu().numpy() for name, o in zip(self.module.outputs, outputs, strict=True)}
