"""The network: a hierarchical backbone, its levels fused to one map, a head that gives one logit per pixel."""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks import FeatureFusion
from polyscale.models.backbones import create_backbone
from polyscale.models.options import Source
from polyscale.models.weights import Pretrained


class Segmenter(Pretrained):
    """Foreground logits.

    Args:
        backbone: any hierarchical timm model.
        width: channels of the fused map.
        image_size: side in pixels that it is trained and used at.
        pretrained: source of the backbone's first weights, as in `create_backbone`.
    """

    shipped = Path(__file__).parents[1] / "weights"
    title = "APP_ABOUT"
    task = "image-segmentation"

    def __init__(
        self, backbone: str = "test_resnet", width: int = 32, image_size: int = 64, pretrained: Source | bool = False
    ) -> None:
        super().__init__()
        self.input_size = image_size
        self.backbone = create_backbone(backbone, pretrained=pretrained)
        self.fusion = FeatureFusion(self.backbone.channels, width, "attention")
        self.head = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.GELU(), nn.Conv2d(width, 1, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images [B, 3, H, W], RGB in [0, 1], any H and W, to logits [B, 1, H, W]."""
        features = self.backbone(self.backbone.normalise(images))
        logits: Tensor = self.head(self.fusion(features))
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)
