"""UNet: encoder and decoder with skip connections (Neurenix; Ronneberger et al. 2015).

What differs from the paper: padded convolutions with batch norm, `features` are the channels of the levels with the
bottom one included, any input size (a level is brought to the very size of its skip, no crop), and the way up is a
1x1 convolution and bilinear enlargement instead of a transposed convolution, in the order that computes at the small
size: no checkerboard, and the two 3x3 convolutions of a level see 2 C channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks._checks import check_count, check_counts, check_map
from polyscale.blocks._layers import ConvNormAct
from polyscale.blocks.checkpointing import run_checkpointed
from polyscale.blocks.pyramids._last_features import LastFeatures
from polyscale.blocks.scales.transforms import resize


class Down(nn.Module):
    """[B, in, H, W] -> [B, out, ceil(H / 2), ceil(W / 2)]; the same size where `pool` is False."""

    def __init__(self, in_channels: int, out_channels: int, pool: bool = True) -> None:
        super().__init__()
        self.pool = pool
        self.convs = nn.Sequential(ConvNormAct(in_channels, out_channels), ConvNormAct(out_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Halve the sides where `pool` is True, then convolve twice."""
        return self.convs(F.max_pool2d(x, 2, ceil_mode=True) if self.pool else x)


class Up(nn.Module):
    """Map [B, in, h, w] and skip [B, out, H, W] -> [B, out, H, W]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, out_channels, 1)
        self.convs = nn.Sequential(ConvNormAct(2 * out_channels, out_channels), ConvNormAct(out_channels, out_channels))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Bring x to the size of `skip`, concatenate, convolve twice."""
        return self.convs(torch.cat([skip, resize(self.reduce(x), skip.shape[-2:])], dim=1))


class UNet(nn.Module):
    """[B, in_channels, H, W] -> logits [B, out_channels, H, W] for any H, W of at least 2^(len(features) - 1).

    Train with a loss on logits (BCEWithLogitsLoss; BCELoss on this output, as in Neurenix, is wrong).

    Args:
        in_channels, out_channels: channels of the image and of the logits.
        features: channels of each level, finest first; level i has stride 2^i (odd sides rounded up).

    Levels run under `enable_gradient_checkpointing`. Raises ValueError for counts below 1, an empty `features`, a
    wrong channel count and images smaller than the levels need.
    """

    def __init__(self, in_channels: int, out_channels: int, features: Sequence[int] = (64, 128, 256, 512)) -> None:
        super().__init__()
        check_count("in_channels", in_channels)
        check_count("out_channels", out_channels)
        check_counts("features", features)
        self.in_channels = in_channels
        self.features = list(features)
        self.encoder = nn.ModuleList(
            Down(before, after, pool=i > 0)
            for i, (before, after) in enumerate(zip([in_channels, *features], features, strict=False))
        )
        self.decoder = nn.ModuleList(
            Up(below, width) for below, width in zip(self.features[:0:-1], self.features[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(self.features[0], out_channels, 1)
        self._last = LastFeatures()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, out_channels, H, W]."""
        encoded = self._encode(x)
        decoded = self._decode(encoded)
        out = self.head(decoded[0] if decoded else encoded[0])
        self._last.keep([*encoded, *decoded], out)
        return out

    def get_encoder_features(self, x: Tensor | None = None) -> list[Tensor]:
        """[B, features[i], ceil(H / 2^i), ceil(W / 2^i)] of every level, finest first.

        With x they are computed. Without x they are those of the last eager forward pass, as long as its output is
        alive; ValueError otherwise.
        """
        if x is None:
            return self._last.get("get_encoder_features(x)")[: len(self.features)]
        return self._encode(x)

    def get_decoder_features(self, x: Tensor | None = None) -> list[Tensor]:
        """The decoder's maps, with the shapes of the encoder's without the bottom level; x as there."""
        if x is None:
            return self._last.get("get_decoder_features(x)")[len(self.features) : -1]
        return self._decode(self._encode(x))

    def _encode(self, x: Tensor) -> list[Tensor]:
        check_map(x, self.in_channels, smallest=2 ** (len(self.features) - 1))
        maps: list[Tensor] = []
        for stage in self.encoder:
            x = run_checkpointed(stage, x)
            maps.append(x)
        return maps

    def _decode(self, encoded: Sequence[Tensor]) -> list[Tensor]:
        """From the coarsest level to the finest; returned finest first."""
        x = encoded[-1]
        maps: list[Tensor] = []
        for stage, skip in zip(self.decoder, encoded[-2::-1], strict=True):
            x = run_checkpointed(stage, x, skip)
            maps.insert(0, x)
        return maps
