"""The camouflage segmenter: a hierarchical backbone seen at several input scales, and a lean top-down decoder.

Source: camoXpert's MultiScaleProcessor and ZoomNeXt (Pang et al., TPAMI 2024) for the three input scales. What
differs: the fused features keep the backbone's channels and cost a few per cent of its parameters, and the decoder
works at one width on strides 4 to 32 (ZoomNeXt's costs more than one pass of its backbone). In the decoder's place a
mixture of decoders can stand: camoXpert's ModelLevelMoE.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camo_seg.config import MAX_SCALE, MAX_SCALES
from camo_seg.model.decoder import Decoder
from camo_seg.model.freezing import keep_frozen
from camo_seg.model.mixture import MixtureDecoder, Routing
from camo_seg.model.window import FineWindow
from polyscale.blocks import MultiScaleInputProcessor
from polyscale.models.backbones import create_backbone
from polyscale.models.options import Source
from polyscale.models.weights import Pretrained

Fusion = Literal["hierarchical", "absi", "window"]
MIN_SIZE, MAX_SIZE = 32, 8192  # pixels a side


class TrainingOutput(NamedTuple):
    """What the losses read.

    Attributes:
        logits: [B, 1, H, W].
        scales: logits [B, 1, h, w] of each input scale alone; none where they were not asked for. With a window, of
            the whole image, and of the window in its place there, without a gradient around it.
        levels: logits [B, 1, h, w] of the decoder's coarser levels; none without deep heads.
        routing: of the mixture of experts; None without one.
    """

    logits: Tensor
    scales: list[Tensor]
    levels: list[Tensor]
    routing: Routing | None


class CamoSegmenter(Pretrained):
    """Foreground logits of camouflaged objects.

    forward: images [B, 3, H, W], RGB in [0, 1], any H and W -> logits [B, 1, H, W]. With `return_loss_inputs` given
    the result is a TrainingOutput, with the logits of each input scale where it is True.

    The attribute `backbone` may be replaced by a MultiScaleInputProcessor around it; the model is then saved as one of
    those scales.

    Args:
        backbone: any hierarchical timm model.
        scales: input scales; (1.0,) is the single-scale model.
        fusion: how the scales are joined; "window" sees the whole image at scale 1.0 and one window at a finer one.
        width: channels of the decoder.
        image_size: side in pixels of scale 1.0. The attribute `input_size` is the side of the images that it is
            trained and used with: the same, but for fusion "window" that of the finer scale.
        scale_heads: build the heads that predict at each scale.
        pretrained: source of the backbone's weights.
        checkpoint_activations: recompute activations in the backward pass.
        experts: decoders of the mixture, 2 or more; 0 is one plain decoder.
        top_k: experts that decode an image.
        deep_heads: build the heads that predict at the decoder's coarser levels.

    Raises:
        ValueError: scales, size or experts out of range.
        UserError: a backbone that cannot be used.
    """

    shipped = Path(__file__).parents[1] / "weights"
    title = "Camouflaged object segmentation (camo-seg)"
    task = "image-segmentation"
    tags = ("camouflaged-object-detection", "segmentation")

    def __init__(
        self,
        backbone: str = "pvt_v2_b0",
        scales: Sequence[float] = (0.5, 1.0, 1.5),
        fusion: Fusion = "hierarchical",
        width: int = 64,
        image_size: int = 384,
        scale_heads: bool = True,
        pretrained: Source | bool = False,
        checkpoint_activations: bool = False,
        experts: int = 0,
        top_k: int = 2,
        deep_heads: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= len(scales) <= MAX_SCALES or not all(0 < scale <= MAX_SCALE for scale in scales):
            raise ValueError(f"scales must be 1 to {MAX_SCALES} numbers above 0 and up to {MAX_SCALE}")
        if not MIN_SIZE <= image_size <= MAX_SIZE:
            raise ValueError(f"image_size must be {MIN_SIZE} to {MAX_SIZE}, got {image_size}")
        network = create_backbone(backbone, pretrained=pretrained, checkpoint_activations=checkpoint_activations)
        self.input_size = image_size
        self.backbone: nn.Module = network
        self.window: FineWindow | None = None
        if len(scales) > 1 and fusion == "window":
            if len(scales) != 2 or scales[0] != 1 or scales[1] <= 1:
                raise ValueError(f"scales must be 1.0 and a finer one for fusion window, got {tuple(scales)}")
            self.window = FineWindow(network.channels, scales[1])
            self.input_size = round(image_size * scales[1])
        elif len(scales) > 1:
            self.backbone = MultiScaleInputProcessor(
                network, scales=list(scales), use_hierarchical=fusion == "hierarchical", supervise=scale_heads
            )
        self.decoder: Decoder | MixtureDecoder = (
            MixtureDecoder(network.channels, width, experts, top_k, deep_heads)
            if experts
            else Decoder(network.channels, width, deep_heads)
        )

    @property
    def multiscale(self) -> bool:
        """Whether the backbone sees several scales."""
        return isinstance(self.backbone, MultiScaleInputProcessor)

    def forward(self, images: Tensor, return_loss_inputs: bool | None = None) -> Tensor | TrainingOutput:
        """Return logits [B, 1, H, W] of images [B, 3, H, W] in [0, 1], or a TrainingOutput as the class describes."""
        supervised = bool(return_loss_inputs)
        found = self._see_whole(images, supervised) if self.window is None else self._see_window(images, supervised)
        found = found._replace(logits=F.interpolate(found.logits, images.shape[-2:], mode="bilinear"))
        return found.logits if return_loss_inputs is None else found

    def _see_whole(self, images: Tensor, supervised: bool) -> TrainingOutput:
        features, scales = self._encode(images, supervised)
        (logits, *levels), routing = self.decoder(features, return_loss_inputs=True)
        return TrainingOutput(logits, scales, levels, routing)

    def _see_window(self, images: Tensor, supervised: bool) -> TrainingOutput:
        assert self.window is not None
        features, _ = self._encode(self.window.shrink(images), False)
        (coarse, *levels), routing = self.decoder(features, return_loss_inputs=True)
        window = self.window.choose(coarse, images.shape[-2:])
        fine, _ = self._encode(window.crop(images), False)
        (detail, *_), again = self.decoder(self.window(features, fine, window), return_loss_inputs=True)
        if routing is not None:
            routing = Routing(*(torch.cat(pair) for pair in zip(routing, again, strict=True)))
        scales = [coarse, window.paste(coarse.detach(), detail, rim=0)] if supervised else []
        return TrainingOutput(window.paste(coarse, detail), scales, levels, routing)

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; frozen parts of the backbone stay in evaluation."""
        super().train(mode)
        keep_frozen(self)
        return self

    def _encode(self, images: Tensor, supervised: bool) -> tuple[list[Tensor], list[Tensor]]:
        """Return the features and, where `supervised`, the logits of each scale."""
        network: Any = self.backbone.backbone if self.multiscale else self.backbone
        x = network.normalise(images)
        if supervised and self.multiscale:
            features, scales = self.backbone(x, return_loss_inputs=True)
            return features, scales
        return self.backbone(x), []

    def save_pretrained(
        self, folder: Path | str, *, dtype: torch.dtype | None = None, about: Mapping[str, Any] | None = None
    ) -> None:
        """Write the model into `folder`, see Pretrained; with the scales of a backbone that was put in place."""
        if isinstance(self.backbone, MultiScaleInputProcessor):
            processor = self.backbone
            fusion = "absi" if hasattr(processor.integration[0], "qkv") else "hierarchical"
            heads = len(processor.heads) > 0
            self.arguments |= {"scales": list(processor.scales), "fusion": fusion, "scale_heads": heads}
        super().save_pretrained(folder, dtype=dtype, about=about)


def ModelLevelMoE(  # noqa: N802 - camoXpert's name and arguments
    backbone: str = "pvt_v2_b2",
    num_experts: int = 4,
    top_k: int = 2,
    pretrained: Source | bool = False,
    **arguments: Any,
) -> CamoSegmenter:
    """Make a CamoSegmenter that is a mixture of experts, by the name and the arguments that camoXpert gives it.

    One input scale unless `scales` says otherwise; `arguments` are those of CamoSegmenter. Its backbone may be wrapped
    afterwards: `moe.backbone = MultiScaleInputProcessor(moe.backbone)`.

    Raises:
        ValueError: fewer than two experts, a top_k that they do not have.
    """
    if num_experts < 2:
        raise ValueError(f"num_experts must be 2 or more, got {num_experts}")
    arguments = {"scales": (1.0,), **arguments}
    return CamoSegmenter(backbone, experts=num_experts, top_k=top_k, pretrained=pretrained, **arguments)
