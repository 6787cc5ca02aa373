"""One shared backbone over several scales of the image, fused to one pyramid.

From camoXpert: MultiScaleInputProcessor. What differs: only the chosen integration is built, the scales are exact,
fused features start as those of the plain backbone, the per-scale predictions read all levels (there only the
stride-4 map), and the heads can be left out, so that nothing is without a gradient under DDP.
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks._checks import check_count, check_features, check_map
from polyscale.blocks.checkpointing import run_checkpointed
from polyscale.blocks.scales.integration import AttentionBasedScaleIntegrationUnit, HierarchicalScaleIntegration
from polyscale.blocks.scales.transforms import MultiScaleInputGenerator
from polyscale.losses.scale_aware import ScaleAwareLoss

STRIDES = (4, 8, 16, 32)


class MultiScaleInputProcessor(nn.Module):
    """Looks like its backbone from outside: image in, the levels at the image's own scale out, each made of all scales.

    Args:
        backbone: image -> list of [B, C_i, h_i, w_i]; `polyscale.create_backbone` or any module of that kind.
        channels_list: C_i; taken from `backbone.channels` where it has them.
        scales: strictly increasing and with 1.0 among them: its sizes are those of the output.
        use_hierarchical: True for HierarchicalScaleIntegration, False for the attention of ABSI.
        scale_weights: of `compute_loss`; 1 for scale 1.0 and 0.5 for the others by default.
        supervise: build a prediction head for each scale. Without heads, or with heads whose predictions enter the
            loss at every step, every parameter gets a gradient (DDP needs no find_unused_parameters).
        checkpoint_activations: keep no activations inside the backbone; backward computes each scale's pass again. See
                `enable_gradient_checkpointing`.

    Attributes: `channels` and `strides` as the backbone's, `scales`, `reference` (the index of 1.0), and the
    backbone's `mean`, `std` and `in_chans` where it has them.

    Raises:
        ValueError: unusable scales, channels that are missing or are not the backbone's, weights of another count.
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels_list: Sequence[int] | None = None,
        scales: Sequence[float] = (0.5, 1.0, 1.5),
        use_hierarchical: bool = True,
        scale_weights: Sequence[float] | None = None,
        supervise: bool = True,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        self.generator = MultiScaleInputGenerator(scales)
        self.scales = tuple(self.generator.scales)
        if len(self.scales) < 2 or sorted(self.scales) != list(self.scales) or 1.0 not in self.scales:
            raise ValueError(f"scales must be two or more, increasing, with 1.0 among them, got {list(scales)}")
        self.reference = self.scales.index(1.0)
        self.backbone = backbone
        self.channels = _channels(backbone, channels_list)
        self.strides: list[int] = list(getattr(backbone, "strides", STRIDES[: len(self.channels)]))
        for name in ("mean", "std", "in_chans"):
            if hasattr(backbone, name):
                setattr(self, name, getattr(backbone, name))
        self.checkpoint_activations = checkpoint_activations
        unit = HierarchicalScaleIntegration if use_hierarchical else AttentionBasedScaleIntegrationUnit
        self.integration = nn.ModuleList(
            unit(c, num_scales=len(self.scales), reference=self.reference) for c in self.channels
        )
        heads = [ScalePredictionHead(self.channels) for _ in self.scales if supervise]
        self.heads = nn.ModuleList(heads)
        if scale_weights is None:
            scale_weights = [1.0 if scale == 1.0 else 0.5 for scale in self.scales]
        if len(scale_weights) != len(self.scales):
            raise ValueError(f"scale_weights must hold one for each of {len(self.scales)} scales, got {scale_weights}")
        self.loss = ScaleAwareLoss(scale_weights)

    def forward(
        self, images_BCHW: Tensor, return_loss_inputs: bool = False
    ) -> list[Tensor] | tuple[list[Tensor], list[Tensor]]:
        """[B, C, H, W], normalised as the backbone wants it -> features [B, channels[i], H_i, W_i] at scale 1.0.

        With `return_loss_inputs` also the logits of each scale alone, [B, 1, H_s, W_s] at the stride of the first
        level, in the order of `scales`: what `compute_loss` takes.
        """
        if return_loss_inputs and not self.heads:
            raise ValueError("return_loss_inputs needs the prediction heads: build with supervise=True")
        levels_of_scale = self._levels(images_BCHW)
        features = [unit(scales) for unit, scales in zip(self.integration, _by_level(levels_of_scale), strict=True)]
        if not return_loss_inputs:
            return features
        return features, [head(levels) for head, levels in zip(self.heads, levels_of_scale, strict=True)]

    def compute_loss(
        self, scale_preds: Sequence[Tensor], masks: Tensor, criterion: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum over the scales of criterion(prediction at the masks' size, masks), and its parts.

        The parts are named after the scales ("scale_0.5"), not weighted and detached.
        """
        total, parts = self.loss(scale_preds, masks, criterion)
        indexed = {f"scale_{index}": f"scale_{scale:g}" for index, scale in enumerate(self.scales)}
        return total, {indexed[name]: part for name, part in parts.items()}

    def scale_attention(self, images_BCHW: Tensor) -> list[Tensor]:
        """How much each scale counts where: for each level [B, heads, scales, H_i, W_i], summing to 1 over the scales.

        Raises ValueError where the integration is hierarchical: it has no such weights.
        """
        units = list(self.integration)
        if not all(isinstance(unit, AttentionBasedScaleIntegrationUnit) for unit in units):
            raise ValueError("scale_attention needs the attention of ABSI: build with use_hierarchical=False")
        by_level = _by_level(self._levels(images_BCHW))
        return [unit(scales, return_weights=True)[1] for unit, scales in zip(units, by_level, strict=True)]

    def _levels(self, images: Tensor) -> list[list[Tensor]]:
        check_map(images, name="images")
        levels_of_scale = [
            list(run_checkpointed(self.backbone, image, always=self.checkpoint_activations))
            for image in self.generator(images)
        ]
        for levels in levels_of_scale:
            check_features(levels, self.channels, "the backbone's levels")
        return levels_of_scale

    def extra_repr(self) -> str:
        """Return the arguments that printing the module shows."""
        return f"scales={self.scales}, channels={self.channels}"


class ScalePredictionHead(nn.Module):
    """Levels of one scale -> logits [B, 1, H_0, W_0]: a 1x1 convolution each, summed upwards, then a 3x3.

    Args:
        channels: of the levels, finest first.
        width: of the sum.
    """

    def __init__(self, channels: Sequence[int], width: int = 32) -> None:
        super().__init__()
        check_count("width", width)
        self.channels = list(channels)
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.out = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return logits [B, 1, H_0, W_0] at the size of the first level."""
        check_features(levels, self.channels, "levels")
        x = self.lateral[-1](levels[-1])
        for conv, level in zip(reversed(self.lateral[:-1]), reversed(levels[:-1]), strict=True):
            x = conv(level) + F.interpolate(x, level.shape[-2:], mode="bilinear", align_corners=False)
        return self.out(F.gelu(x))


def _by_level(levels_of_scale: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    return [list(scales) for scales in zip(*levels_of_scale, strict=True)]


def _channels(backbone: nn.Module, given: Sequence[int] | None) -> list[int]:
    own = getattr(backbone, "channels", None)
    if given is None and own is None:
        raise ValueError("channels_list is needed: the backbone has no attribute `channels`")
    if given is not None and own is not None and list(given) != list(own):
        raise ValueError(f"channels_list must be the backbone's {list(own)}, got {list(given)}")
    return list(own if given is None else given)  # type: ignore[arg-type]
