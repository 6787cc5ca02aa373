"""PyramidNetwork: a small feature pyramid network from scratch (Neurenix; top-down path of FPN, Lin et al. 2017).

What differs from FPN: the bottom-up path is part of it and starts at the full size, the top-down path enlarges
bilinearly to the very size of the next level (so odd sizes work), and there is one output map, at the full size.
`get_features()` after a forward pass works as in Neurenix and keeps nothing alive; use `get_features(x)` in networks,
DDP and torch.compile.
"""

from torch import Tensor, nn

from polyscale.blocks._checks import check_count, check_map
from polyscale.blocks._layers import ConvNormAct
from polyscale.blocks.checkpointing import run_checkpointed
from polyscale.blocks.pyramids._last_features import LastFeatures
from polyscale.blocks.scales.transforms import resize


class PyramidNetwork(nn.Module):
    """[B, in_channels, H, W] -> [B, out_channels, H, W], no norm or activation on the output.

    Level i has base_channels * 2^i channels at stride 2^i (odd sides rounded up).

    Args:
        in_channels, out_channels: channels of input and output.
        num_levels: number of levels; both sides of the input need at least 2^(num_levels - 1) pixels.
        base_channels: channels of level 0 and of the top-down path.

    Stages run under `enable_gradient_checkpointing`. Raises ValueError for counts below 1, a wrong channel count and
    images smaller than the pyramid needs.
    """

    def __init__(self, in_channels: int, out_channels: int, num_levels: int = 3, base_channels: int = 64) -> None:
        super().__init__()
        check_count("in_channels", in_channels)
        check_count("out_channels", out_channels)
        check_count("num_levels", num_levels)
        check_count("base_channels", base_channels)
        self.in_channels = in_channels
        self.channels = [base_channels * 2**level for level in range(num_levels)]
        self.strides = [2**level for level in range(num_levels)]
        self.stages = nn.ModuleList(
            nn.Sequential(ConvNormAct(before, width, stride=1 if level == 0 else 2), ConvNormAct(width, width))
            for level, (before, width) in enumerate(zip([in_channels, *self.channels], self.channels, strict=False))
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, base_channels, 1) for width in self.channels)
        self.head = nn.Conv2d(base_channels, out_channels, 3, padding=1)
        self._last = LastFeatures()

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, out_channels, H, W] for [B, in_channels, H, W]."""
        features = self._bottom_up(x)
        top = self.lateral[-1](features[-1])
        for lateral, feature in zip(self.lateral[-2::-1], features[-2::-1], strict=True):
            top = lateral(feature) + resize(top, feature.shape[-2:])
        out = self.head(top)
        self._last.keep(features, out)
        return out

    def get_features(self, x: Tensor | None = None) -> list[Tensor]:
        """Bottom-up features [B, base_channels * 2^i, ceil(H / 2^i), ceil(W / 2^i)], finest first.

        With x they are computed, without the top-down path. Without x they are those of the last eager forward pass,
        as long as its output is alive; ValueError otherwise.
        """
        return self._last.get("get_features(x)")[:-1] if x is None else self._bottom_up(x)

    def _bottom_up(self, x: Tensor) -> list[Tensor]:
        check_map(x, self.in_channels, smallest=self.strides[-1])
        features: list[Tensor] = []
        for stage in self.stages:
            x = run_checkpointed(stage, x)
            features.append(x)
        return features
