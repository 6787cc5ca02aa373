"""Cases of `core.py`: pooling, fusion, networks, transforms.

Sizes are those of the apps, small enough for a processor.
"""

import peers
import pyramid_peers
from casebook import image, pair
from interleaved import Pair, Side
from torch import Tensor

from polyscale import blocks

BINS = (1, 2, 3, 6)
CHANNELS = (64, 128, 320, 512)  # of a PVT-v2-b2 at strides 4 to 32


def pyramid() -> list[Tensor]:
    """Maps of CHANNELS for two 256 px images."""
    return [image(2, channels, 64 >> level, 64 >> level) for level, channels in enumerate(CHANNELS)]


def multi_scale_pooling() -> Pair:
    """torch.nn adaptive pooling, interpolate, concat."""
    return pair(blocks.MultiScalePooling(BINS), peers.Pooling(BINS), image(2, 256, 44, 44), same=True)


def pyramid_pooling() -> Pair:
    """PSP module of torch.nn, as in smp."""
    return pair(blocks.PyramidPooling(256, 128, BINS), peers.PSP(256, 128, BINS), image(2, 256, 44, 44), same=True)


def spatial_pyramid_pooling() -> Pair:
    """torch.nn AdaptiveMaxPool2d to 1, 2, 4 bins."""
    return pair(blocks.SpatialPyramidPooling(3), peers.SPP((1, 2, 4)), image(2, 256, 44, 44), same=True)


def feature_fusion_concat() -> Pair:
    """interpolate, concat, torch.nn Conv2d."""
    return pair(blocks.FeatureFusion(CHANNELS, 96), peers.Concat(CHANNELS, 96), pyramid(), same=True)


def feature_fusion_sum() -> Pair:
    """torch.nn Conv2d, interpolate, sum."""
    return pair(blocks.FeatureFusion(CHANNELS, 96, "sum"), peers.Sum(CHANNELS, 96), pyramid(), same=True)


def attention_fusion() -> Pair:
    """torch.nn Conv2d, interpolate, timm SelectiveKernelAttn."""
    return pair(blocks.AttentionFusion(CHANNELS, 96), peers.Selective(CHANNELS, 96), pyramid())


def scale_fusion() -> Pair:
    """interpolate, concat, torch.nn Conv2d."""
    maps = [image(2, 64, 64, 64), image(2, 64, 32, 32), image(2, 64, 16, 16)]
    return pair(blocks.ScaleFusion((1.0, 0.5, 0.25), 64, 64), peers.Concat((64,) * 3, 64), maps, same=True)


def pyramid_network() -> Pair:
    """torch.nn stages, torchvision FeaturePyramidNetwork, 1x1 head."""
    return pair(blocks.PyramidNetwork(3, 1, 3, 32), peers.Pyramid(3, 1, (32, 64, 128)), image(2, 3, 96, 96))


def unet() -> Pair:
    """torch.nn UNet with transposed convolutions."""
    widths = (32, 64, 128, 256)
    return pair(blocks.UNet(3, 1, widths), peers.PlainUNet(3, 1, widths), image(2, 3, 96, 96))


def multi_scale_model() -> Pair:
    """Torchvision resize, three passes, interpolate, concat."""
    scales, net = (1.0, 0.5, 0.25), peers.conv_norm_act(3, 32, stride=2)
    return pair(blocks.MultiScaleModel(scales, net), peers.Passes(net, scales), image(2, 3, 256, 256), same=True)


def fpn() -> Pair:
    """Torchvision FeaturePyramidNetwork."""
    return pair(blocks.FPN(CHANNELS, 96), pyramid_peers.TorchvisionFPN(CHANNELS, 96), pyramid(), same=True)


def pafpn() -> Pair:
    """torch.nn PAFPN as YOLOX writes it."""
    widths = (64, 128, 256)
    maps = [image(2, width, 48 >> level, 80 >> level) for level, width in enumerate(widths)]
    return pair(blocks.PAFPN(widths, depth=0.33), pyramid_peers.YOLOPAFPN(widths), maps)


def simple_feature_pyramid() -> Pair:
    """torch.nn pyramid as detectron2 writes it for ViTDet."""
    return pair(blocks.SimpleFeaturePyramid(192, 64), pyramid_peers.ViTDetPyramid(192, 64), image(2, 192, 16, 16))


def multi_scale_transform() -> Pair:
    """Torchvision v2 resize, antialiased."""
    scales, x = (1.0, 0.5, 0.25), image(4, 3, 352, 352)
    return Pair(Side(blocks.MultiScaleTransform(scales), (x,)), Side(peers.resized, (x, scales)), same=True)


def rescale() -> Pair:
    """Torchvision v2 resize, antialiased."""
    x = image(4, 3, 352, 352)
    return Pair(Side(blocks.Rescale(0.5), (x,)), Side(peers.resized, (x, (0.5,))), same=True)


def pyramid_downsample() -> Pair:
    """Torchvision v2 resize of the image to each level."""
    x = image(4, 3, 352, 352)
    return Pair(Side(blocks.PyramidDownsample(4), (x,)), Side(peers.resized, (x, (1.0, 0.5, 0.25, 0.125))))


CASES = (
    multi_scale_pooling,
    pyramid_pooling,
    spatial_pyramid_pooling,
    feature_fusion_concat,
    feature_fusion_sum,
    attention_fusion,
    scale_fusion,
    pyramid_network,
    unet,
    multi_scale_model,
    fpn,
    pafpn,
    simple_feature_pyramid,
    multi_scale_transform,
    rescale,
    pyramid_downsample,
)
