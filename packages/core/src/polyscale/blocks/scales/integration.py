"""Fusing features of several scales: attention over the scales (ABSI) and coarse-to-fine integration.

From camoXpert: AttentionBasedScaleIntegrationUnit and HierarchicalScaleIntegration. What differs: the weights of the
scales are found per location and head (there, one softmax per image), both blocks return the reference
scale's features at construction (zero-initialised residual), finer scales are pooled rather than sampled, and both
are about a tenth of its size: reduced query, key and value widths, depthwise 3x3 instead of full ones.

Shape letters: B batch, S scales, N heads, D channels of a head, C channels, H x W the grid of the output.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks._checks import check_count, check_features
from polyscale.blocks.scales.transforms import match_size


class _ScaleFusion(nn.Module):
    """Check the inputs of both blocks: S maps of C channels, one of them the reference."""

    def __init__(self, channels: int, num_scales: int, reference: int | None) -> None:
        super().__init__()
        check_count("channels", channels)
        check_count("num_scales", num_scales, least=2)
        if reference is not None and not 0 <= reference < num_scales:
            raise ValueError(f"reference must be an index from 0 to {num_scales - 1}, got {reference}")
        self.channels = channels
        self.num_scales = num_scales
        self.reference = num_scales // 2 if reference is None else reference

    def _target(self, scale_features: Sequence[Tensor], target_size: tuple[int, int] | None) -> tuple[int, int]:
        check_features(scale_features, [self.channels] * self.num_scales, "scale_features")
        height, width = scale_features[self.reference].shape[-2:] if target_size is None else target_size
        return height, width

    def extra_repr(self) -> str:
        return f"channels={self.channels}, num_scales={self.num_scales}, reference={self.reference}"


class AttentionBasedScaleIntegrationUnit(_ScaleFusion):
    """ABSI: at every location each head attends to the scales and mixes their values.

    Query, key and value have a projection of their own for each scale. The query of a location is the sum of the
    scales' queries, so it sees all of them; logits are cosines times a learnt temperature plus a learnt preference of
    the head for the scale, so their size does not depend on the backbone.

    Args:
        channels: C of every scale's map.
        num_scales: S, at least 2, coarse to fine.
        num_heads: heads; any number, widths are rounded up to it.
        reference: index of the scale that passes through unchanged at construction; the middle one by default.

    Shapes: S maps [B, C, h_s, w_s] -> [B, C, H, W] with H x W = `target_size`, by default the reference's own size;
    with `return_weights` also the weights [B, N, S, H, W], which are positive and sum to 1 over S.

    Raises:
        ValueError: wrong number of maps, wrong channels, arguments out of range.
    """

    def __init__(self, channels: int, num_scales: int = 3, num_heads: int = 4, reference: int | None = None) -> None:
        super().__init__(channels, num_scales, reference)
        check_count("num_heads", num_heads)
        self.num_heads = num_heads
        # q and k only choose among a few scales: an eighth of the channels does; v carries half of them
        self.key_width = num_heads * max(2, channels // (8 * num_heads))
        self.value_width = num_heads * max(1, -(-channels // (2 * num_heads)))
        width = 2 * self.key_width + self.value_width
        self.qkv = nn.ModuleList(nn.Conv2d(channels, width, 1, bias=False) for _ in range(num_scales))
        self.temperature = nn.Parameter(torch.full((num_heads, 1, 1), 4.0))
        self.preference = nn.Parameter(torch.zeros(num_heads, num_scales))
        self.out = _zero_conv(self.value_width, channels)

    def forward(
        self,
        scale_features: Sequence[Tensor],
        target_size: tuple[int, int] | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Fuse the scales at `target_size`; with `return_weights` also return their weights [B, N, S, H, W]."""
        size = self._target(scale_features, target_size)
        widths = [self.key_width, self.key_width, self.value_width]
        # a projection at the map's own size and then resizing a few channels is cheaper than the other way round
        projected = [match_size(conv(x), size) for conv, x in zip(self.qkv, scale_features, strict=True)]
        queries, keys, values = zip(*(p.split(widths, dim=1) for p in projected), strict=True)
        query_BNDHW = self._heads(sum(queries[1:], queries[0]))
        cosines = [_cosine(query_BNDHW, self._heads(key)) for key in keys]
        logits = [
            cosine * self.temperature + preference[:, None, None]
            for cosine, preference in zip(cosines, self.preference.unbind(1), strict=True)
        ]
        weights_BNSHW = torch.stack(logits, dim=2).softmax(dim=2)
        # under autocast a softmax is float32 and would make the mixture so
        shares = weights_BNSHW.to(values[0].dtype).unsqueeze(3).unbind(2)
        parts = [share * self._heads(value) for share, value in zip(shares, values, strict=True)]
        mixed = sum(parts[1:], parts[0]).flatten(1, 2)
        fused = match_size(scale_features[self.reference], size) + self.out(mixed)
        return (fused, weights_BNSHW) if return_weights else fused

    def _heads(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.unflatten(1, (self.num_heads, -1))


class HierarchicalScaleIntegration(_ScaleFusion):
    """Coarse to fine: (0.5x + 1.0x), then that + 1.5x; any number of scales in that order.

    A stage concatenates the result so far with the next finer map, convolves, and gates the result by channel and
    then by spatial attention. It is added to the reference scale's map as soon as that has come in.

    Args:
        channels: C of every scale's map.
        num_scales: S, at least 2, coarse to fine.
        reference: index of the scale that passes through unchanged at construction; the middle one by default.

    Shapes: S maps [B, C, h_s, w_s] -> [B, C, H, W] with H x W = `target_size`, by default the reference's own size.

    Raises:
        ValueError: wrong number of maps, wrong channels, arguments out of range.
    """

    def __init__(self, channels: int, num_scales: int = 3, reference: int | None = None) -> None:
        super().__init__(channels, num_scales, reference)
        self.stages = nn.ModuleList(_Stage(channels) for _ in range(num_scales - 1))

    def forward(self, scale_features: Sequence[Tensor], target_size: tuple[int, int] | None = None) -> Tensor:
        """Fuse the scales, coarse to fine, at `target_size`."""
        size = self._target(scale_features, target_size)
        state = scale_features[0]
        for index, (stage, finer) in enumerate(zip(self.stages, scale_features[1:], strict=True), start=1):
            base = finer if index == self.reference else state
            state = match_size(base, size) + stage(state, finer, size)
        return state


class _Stage(nn.Module):
    """Two maps of C channels -> their fusion at `size`, zero at construction."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(4, channels // 3)  # a half would add a quarter to a small network such as RegNetX-200MF
        # the 1x1 convolution of the concatenation, cut in two so that either map is resized after its reduction
        self.coarse = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fine = nn.Conv2d(channels, hidden, 1, bias=False)
        self.norm = nn.GroupNorm(1, hidden)  # the statistics of one image: batch 1 and a 1x1 map train as well
        self.local = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.channel = _ChannelAttention(hidden)
        self.spatial = _SpatialAttention()
        self.out = _zero_conv(hidden, channels)

    def forward(self, coarse: Tensor, fine: Tensor, size: tuple[int, int]) -> Tensor:
        x = match_size(self.coarse(coarse), size) + match_size(self.fine(fine), size)
        x = F.gelu(self.local(F.gelu(self.norm(x))))
        return self.out(self.spatial(self.channel(x)))


class _ChannelAttention(nn.Module):
    """Gate of each channel from its mean and maximum over the map (CBAM, Woo et al., ECCV 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, max(4, channels // 4), 1)
        self.expand = nn.Conv2d(max(4, channels // 4), channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        pooled = (x_BCHW.mean((2, 3), keepdim=True), x_BCHW.amax((2, 3), keepdim=True))
        logits = [self.expand(F.gelu(self.reduce(p))) for p in pooled]
        return x_BCHW * (logits[0] + logits[1]).sigmoid()


class _SpatialAttention(nn.Module):
    """Gate of each location from the mean and maximum over its channels, seen through 7x7 (CBAM)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        summary = torch.cat([x_BCHW.mean(1, keepdim=True), x_BCHW.amax(1, keepdim=True)], dim=1)
        return x_BCHW * self.conv(summary).sigmoid()


def _cosine(a_BNDHW: Tensor, b_BNDHW: Tensor) -> Tensor:
    """Cosine over D, [B, N, H, W]: dividing the product, not the vectors, takes a third of F.normalize's time."""
    lengths = torch.linalg.vector_norm(a_BNDHW, dim=2) * torch.linalg.vector_norm(b_BNDHW, dim=2)
    return (a_BNDHW * b_BNDHW).sum(2) / lengths.clamp(min=1e-6)


def _zero_conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 1x1 convolution that starts at zero: the branch behind it adds nothing until it has learnt to."""
    conv = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv
