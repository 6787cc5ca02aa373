"""Fusing feature maps of several sizes into one: FeatureFusion, ScaleFusion, AttentionFusion (Neurenix).

What differs from resizing every map and then computing: a 1x1 convolution and a bilinear enlargement may change
places (the weights of the interpolation sum to 1, so even the bias passes), so coarse maps are convolved at their own
size and only `out_channels` channels are enlarged. The values are those of the textbook order; at strides 4/8/16/32
with 64/128/256/512 channels the convolutions cost an eighth of it.

    B batch, C_i channels of source i, D out_channels, n number of sources, (H, W) the size that is fused at
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks._checks import check_choice, check_count, check_counts, check_features, check_scales
from polyscale.blocks.scales.transforms import resize

Size = tuple[int, int]


def largest_size(features: Sequence[Tensor]) -> Size:
    """(H, W) of the map with the most pixels, the first of equals."""
    height, width = features[0].shape[-2:]
    for feature in features[1:]:  # dynamo of torch 2.6 has no max(key=...)
        if feature.shape[-2] * feature.shape[-1] > height * width:
            height, width = feature.shape[-2:]
    return height, width


def _enlarges(feature: Tensor, size: Size) -> bool:
    """True where bringing `feature` to `size` costs more pixels: then a 1x1 convolution goes first."""
    return feature.shape[-2] * feature.shape[-1] < size[0] * size[1]


def _project(project: nn.Module, feature: Tensor, size: Size) -> Tensor:
    """`project` (pointwise) and `resize` in the cheaper order."""
    if _enlarges(feature, size):
        return resize(project(feature), size)
    return project(resize(feature, size))


def total(maps: Iterable[Tensor]) -> Tensor:
    """Sum of maps of one shape; takes them one by one and leaves them as they are."""
    out, own = None, False
    for part in maps:
        if out is None:
            out = part
        else:
            out, own = (out.add_(part) if own else out + part), True
    assert out is not None
    return out


def weighted_sum(maps: Iterable[Tensor], weights_BnHW: Tensor) -> Tensor:
    """Sum over i of maps[i] [B, D, H, W] times weights[:, i]; takes the maps one by one, so they need not coexist."""
    out = None
    for part, weight in zip(maps, weights_BnHW.split(1, dim=1), strict=True):
        weight = weight.to(part.dtype)  # under autocast a softmax is float32 and would make everything so
        out = part * weight if out is None else out.addcmul_(part, weight)
    assert out is not None
    return out


class _Fusion(nn.Module):
    """Hold and check the arguments of the three ways, and set the default size."""

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        check_counts("in_channels", in_channels)
        check_count("out_channels", out_channels)
        self.in_channels = list(in_channels)
        self.out_channels = out_channels

    def forward(self, features: Sequence[Tensor], size: Size | None = None) -> Tensor:
        """Fuse [B, C_i, H_i, W_i] to [B, D, *size]; `size` is that of the largest map by default."""
        check_features(features, self.in_channels)
        return self._fuse(features, largest_size(features) if size is None else size)

    def _fuse(self, features: Sequence[Tensor], size: Size) -> Tensor:
        raise NotImplementedError


class ConcatFusion(_Fusion):
    """Concatenation followed by one 1x1 convolution; see FeatureFusion."""

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self.project = nn.Conv2d(sum(in_channels), out_channels, 1)

    def _fuse(self, features: Sequence[Tensor], size: Size) -> Tensor:
        coarse = [_enlarges(feature, size) for feature in features]
        if not any(coarse):
            return self.project(torch.cat([resize(feature, size) for feature in features], dim=1))
        weights = self.project.weight.split(self.in_channels, dim=1)
        groups = [[i] for i, is_coarse in enumerate(coarse) if is_coarse]
        if not all(coarse):
            groups.insert(0, [i for i, is_coarse in enumerate(coarse) if not is_coarse])
        out, bias = None, self.project.bias
        for group in groups:
            weight = torch.cat([weights[i] for i in group], dim=1)
            maps = [features[i] if coarse[i] else resize(features[i], size) for i in group]
            part = resize(F.conv2d(maps[0] if len(maps) == 1 else torch.cat(maps, dim=1), weight, bias), size)
            out, bias = (part, None) if out is None else (out.add_(part), None)
        assert out is not None
        return out


class SumFusion(_Fusion):
    """Sum of the sources, through a 1x1 convolution where C_i is not D already; see FeatureFusion."""

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self.project = nn.ModuleList(
            nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
            for channels in in_channels
        )

    def _fuse(self, features: Sequence[Tensor], size: Size) -> Tensor:
        return total(_project(project, item, size) for project, item in zip(self.project, features, strict=True))


class AttentionFusion(_Fusion):
    """Weighted mean of the sources: at each pixel the weights of the n sources are a softmax over them.

    list of [B, in_channels[i], H_i, W_i] -> [B, out_channels, H, W] at the size of the largest map (or `size`).
    After ASFF (Liu et al. 2019): each source is squeezed to out_channels / 8 channels (at least 1), and all squeezed
    sources together give n scores per pixel. What differs: squeeze and score run at the size of the source, and only
    the n scores are enlarged; no norm, so batch 1 trains.

    Raises ValueError for empty or non-positive channel counts, and for features of another number or channel count.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        width = max(1, out_channels // 8)
        self.project = nn.ModuleList(nn.Conv2d(channels, out_channels, 1) for channels in in_channels)
        self.score = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, len(in_channels), 1, bias=i == 0),  # the scores are summed: one bias is enough
            )
            for i, channels in enumerate(in_channels)
        )

    def _fuse(self, features: Sequence[Tensor], size: Size) -> Tensor:
        scores = total(_project(score, item, size) for score, item in zip(self.score, features, strict=True))
        parts = (_project(project, item, size) for project, item in zip(self.project, features, strict=True))
        return weighted_sum(parts, scores.softmax(dim=1))


_METHODS: dict[str, type[_Fusion]] = {"concat": ConcatFusion, "sum": SumFusion, "attention": AttentionFusion}
METHODS = tuple(_METHODS)


class FeatureFusion(nn.Module):
    """list of [B, in_channels[i], H_i, W_i] -> [B, out_channels, H, W] at the size of the largest map.

    The map with the most pixels (the first of equals) sets the size; smaller ones are enlarged bilinearly, larger
    sides reduced with antialiasing. `forward(features, size=(H, W))` fuses at another size.

    Args:
        in_channels: channels of each source.
        out_channels: channels of the output, which has no norm or activation.
        fusion_method: "concat": concatenate, one 1x1 convolution; "sum": add, with a 1x1 convolution only for sources
            whose channels differ from out_channels (equal ones cost no parameter); "attention": AttentionFusion.

    Raises ValueError for an unknown method, empty or non-positive channel counts, and for features of another number,
    channel count or batch size.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, fusion_method: str = "concat") -> None:
        super().__init__()
        check_choice("fusion_method", fusion_method, METHODS)
        self.fuse = _METHODS[fusion_method](in_channels, out_channels)

    def forward(self, features: Sequence[Tensor], size: Size | None = None) -> Tensor:
        """Fuse to [B, out_channels, *size]; `size` is that of the largest map by default."""
        return self.fuse(features, size)


class ScaleFusion(nn.Module):
    """list of [B, in_channels, H_i, W_i], one per scale -> [B, out_channels, H, W] at the size of scale 1.0.

    Where no scale is 1.0 the largest scale sets the size. The maps are those of one network at several scales of its
    input (as MultiScaleTransform makes them), so they share a channel count.

    Args:
        scales: scale of each map, in the order of the list; numbers above 0, all different.
        in_channels, out_channels: channels of each map and of the output.
        fusion_method: "concat", "sum" or "attention", as in FeatureFusion.

    Raises ValueError for an empty or wrong `scales`, an unknown method, and for features of another number, channel
    count or batch size.
    """

    def __init__(
        self, scales: Sequence[float], in_channels: int, out_channels: int, fusion_method: str = "concat"
    ) -> None:
        super().__init__()
        check_scales(scales)
        check_count("in_channels", in_channels)
        check_choice("fusion_method", fusion_method, METHODS)
        self.scales = [float(scale) for scale in scales]
        self.reference = reference_index(self.scales)
        self.fuse = _METHODS[fusion_method]([in_channels] * len(scales), out_channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Fuse to [B, out_channels, H, W] at the size of scale 1.0."""
        check_features(features, self.fuse.in_channels)
        height, width = features[self.reference].shape[-2:]
        return self.fuse(features, (height, width))

    def extra_repr(self) -> str:
        """Return the arguments that printing the module shows."""
        return f"scales={self.scales}"


def reference_index(scales: Sequence[float]) -> int:
    """Index of the scale whose size the others are brought to: 1.0, else the largest."""
    return scales.index(1.0) if 1.0 in scales else scales.index(max(scales))
