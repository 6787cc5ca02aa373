"""MultiScaleModel: one network at several scales of its input, the outputs fused (Neurenix).

What differs from Neurenix, which is abstract there: the scales share `base_model`; shrinking is antialiased; outputs
are aligned to that of scale 1.0. No parameter belongs to a scale, so add_scale and remove_scale leave weights,
optimizer and state_dict as they are. "attention" is that of Chen et al. 2016 (Attention to Scale) with one scoring
head for all scales; "concat" changes its channel count with the number of scales, as in Neurenix.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from polyscale.blocks._checks import check_choice, check_count, check_map, check_scale, check_scales
from polyscale.blocks.checkpointing import run_checkpointed
from polyscale.blocks.scales.fusion import METHODS, reference_index, total, weighted_sum
from polyscale.blocks.scales.transforms import resize, scaled_size


class MultiScaleModel(nn.Module):
    """[B, C_in, H, W] -> [B, n * C, h, w] for "concat" of n scales, [B, C, h, w] for "sum" and "attention".

    [C, h, w] is what base_model gives at scale 1.0, or at the largest scale where 1.0 is none of them; maps of other
    scales are resized to it bilinearly. A base_model that gives vectors [B, C] is fused without resizing.

    Args:
        scales: numbers above 0, all different; channels of "concat" follow their order.
        base_model: module from [B, C_in, H, W] to [B, C, h, w] or [B, C]; None fuses the rescaled images themselves.
        fusion_method: "concat", "sum", or "attention": per pixel a softmax over the scales weights their outputs.
        channels: C, used by "attention" only; None reads it from the last convolution, linear or batch norm layer.

    base_model runs under `enable_gradient_checkpointing`. Raises ValueError for an empty or wrong `scales`, an unknown
    method, an image that vanishes at a scale, and for an output of base_model that cannot be fused.
    """

    def __init__(
        self,
        scales: Sequence[float] = (1.0, 0.5, 0.25),
        base_model: nn.Module | None = None,
        fusion_method: str = "concat",
        channels: int | None = None,
    ) -> None:
        super().__init__()
        check_scales(scales)
        check_choice("fusion_method", fusion_method, METHODS)
        self.scales = [float(scale) for scale in scales]
        self.base_model = nn.Identity() if base_model is None else base_model
        self.fusion_method = fusion_method
        if fusion_method == "attention":
            channels = _output_channels(self.base_model) if channels is None else channels
            check_count("channels", channels)
            width = max(1, channels // 8)
            self.score = nn.Sequential(
                nn.Conv2d(channels, width, 1), nn.ReLU(inplace=True), nn.Conv2d(width, 1, 1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Run base_model at every scale and fuse its outputs; shapes as above."""
        check_map(x)
        outs = [
            self._checked(run_checkpointed(self.base_model, resize(x, scaled_size(x.shape[-2:], scale))))
            for scale in self.scales
        ]
        vectors = outs[0].ndim == 2
        fused = self._fuse([out[..., None, None] if vectors else out for out in outs])
        return fused.flatten(1) if vectors else fused

    def add_scale(self, scale: float) -> None:
        """Add `scale` behind the others: existing channels of "concat" keep their place. No parameter changes."""
        check_scale("scale", scale)
        if float(scale) in self.scales:
            raise ValueError(f"scale must be a new one, got {scale} and have {self.scales}")
        self.scales.append(float(scale))

    def remove_scale(self, scale: float) -> None:
        """Remove `scale`, which must be one of several. No parameter changes."""
        if scale not in self.scales:
            raise ValueError(f"scale must be one of {self.scales}, got {scale!r}")
        if len(self.scales) == 1:
            raise ValueError(f"scale {scale} is the only one left: a model needs at least one")
        self.scales.remove(float(scale))

    def extra_repr(self) -> str:
        """Return the arguments that printing the module shows."""
        return f"scales={self.scales}, fusion_method={self.fusion_method!r}"

    def _checked(self, out: Tensor) -> Tensor:
        if not isinstance(out, Tensor) or out.ndim not in (2, 4):
            got = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(f"base_model must return a tensor [B, C, h, w] or [B, C], got {got}")
        if self.fusion_method == "attention" and out.shape[1] != self.score[0].in_channels:
            expected = self.score[0].in_channels
            raise ValueError(f"channels must be {out.shape[1]}, the channels base_model returns, got {expected}")
        return out

    def _fuse(self, maps: Sequence[Tensor]) -> Tensor:
        size = maps[reference_index(self.scales)].shape[-2:]
        aligned = (resize(item, size) for item in maps)
        if self.fusion_method == "concat":
            return torch.cat(list(aligned), dim=1)
        if self.fusion_method == "sum":
            return total(aligned)
        scores = torch.cat([resize(self.score(item), size) for item in maps], dim=1)
        return weighted_sum(aligned, scores.softmax(dim=1))


def _output_channels(model: nn.Module) -> int:
    """Channels that the last layer of `model` (in order of registration) gives."""
    for layer in reversed(list(model.modules())):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            return layer.out_channels
        if isinstance(layer, nn.Linear):
            return layer.out_features
        if isinstance(layer, nn.BatchNorm2d):
            return layer.num_features
    raise ValueError('channels must be given for fusion_method "attention": base_model has no layer that tells it')
