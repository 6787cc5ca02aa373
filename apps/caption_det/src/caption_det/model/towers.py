"""Vision towers: normalised images in, a list of feature maps out, finest first.

What differs from transformers' CLIP: images of any size (positions are interpolated, sides padded to whole patches),
and the patch map has a layer norm of its own, because CLIP's last one serves the class token only.

    B images, C channels, h and w sides of a map
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from polyscale.blocks import FPN, SimpleFeaturePyramid
from polyscale.errors import UserError
from polyscale.models.backbones import create_backbone
from polyscale.models.hub import hub
from polyscale.models.options import Source

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
STRIDES = (8, 16, 32)


class TimmTower(nn.Module):
    """The levels at strides 8, 16 and 32 of a timm network: images [B, 3, H, W] -> list of [B, C_l, h_l, w_l]."""

    def __init__(self, name: str, pretrained: Source = "none", checkpoint_activations: bool = False) -> None:
        super().__init__()
        self.net = create_backbone(name, pretrained, checkpoint_activations=checkpoint_activations)
        self.name = name
        self.channels, self.strides = self.net.channels[1:], self.net.strides[1:]
        self.mean, self.std = self.net.mean, self.net.std
        self.map_level = 2

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return three maps."""
        return self.net(images)[1:]

    def make_neck(self, width: int) -> nn.Module:
        """Return the network that brings the maps to `width` channels: a feature pyramid network."""
        return FPN(self.channels, width)


class ClipTower(nn.Module):
    """The last patch map of a CLIP vision tower: images [B, 3, H, W] -> [[B, C, ceil(H / patch), ceil(W / patch)]]."""

    mean, std = CLIP_MEAN, CLIP_STD

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.net = CLIPVisionModel(config)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.patch = int(config.patch_size)
        self.channels, self.strides = [int(config.hidden_size)], [self.patch]
        self.pyramid_strides = STRIDES if self.patch in STRIDES else (self.patch, 2 * self.patch, 4 * self.patch)
        self.map_level = self.pyramid_strides.index(self.patch)
        self.freeze_unused()

    @classmethod
    def from_hub(cls, name: str) -> "ClipTower":
        """Return the tower with the weights of the hub's CLIP model `name`.

        Raises:
            UserError: the weights are neither cached nor reachable.
        """
        try:
            with hub():
                net = CLIPVisionModel.from_pretrained(name)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"{name}: CLIP's weights cannot be loaded ({reason}); fill the cache where there is a "
                            "network and point HF_HOME to it, or choose a backbone") from error  # fmt: skip
        with torch.device("meta"):
            tower = cls(net.config)
        tower.net, tower.norm = net, nn.LayerNorm(net.config.hidden_size)
        tower.freeze_unused()
        return tower

    def freeze_unused(self) -> None:
        """Take the last norm, which only the class token passes, out of training: it never gets a gradient."""
        for name, module in self.net.named_modules():
            if name.endswith("post_layernorm"):
                module.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return one map."""
        height, width = (-(-side // self.patch) for side in images.shape[-2:])
        below, right = height * self.patch - images.shape[-2], width * self.patch - images.shape[-1]
        if below or right:
            images = F.pad(images, (0, right, 0, below), mode="replicate")
        hidden = self.net(pixel_values=images, interpolate_pos_encoding=True).last_hidden_state[:, 1:]
        return [self.norm(hidden).transpose(1, 2).unflatten(-1, (height, width))]

    def make_neck(self, width: int) -> nn.Module:
        """Return the network that makes three levels of `width` channels out of the map: ViTDet's simple pyramid."""
        return _FromLast(SimpleFeaturePyramid(self.channels[0], width, self.pyramid_strides, self.patch))


class _FromLast(nn.Module):
    def __init__(self, pyramid: SimpleFeaturePyramid) -> None:
        super().__init__()
        self.pyramid = pyramid

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return self.pyramid(maps[-1])


def create_tower(backbone: str | None, vision_config: CLIPVisionConfig | None) -> TimmTower | ClipTower:
    """Return a tower with fresh weights: timm's `backbone`, or CLIP's as `vision_config` describes it."""
    if vision_config is not None:
        return ClipTower(vision_config)
    if backbone is None:
        raise UserError("the model's configuration names neither a backbone nor a vision_config")
    return TimmTower(backbone)
