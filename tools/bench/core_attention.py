"""Cases of `core.py`: attention, and several scales of one image.

Sizes are those of the apps, small enough for a processor.
"""

import attention_peers as peers
import torch
from casebook import image, pair
from interleaved import Pair, Side
from peers import resized
from torch import Tensor, nn

from polyscale import blocks


def multi_scale_spatial_attention() -> Pair:
    """Timm SelectiveKernel, dilations 1, 2, 4."""
    return pair(blocks.MultiScaleSpatialAttention(96), peers.selective_kernel(96), image(2, 96, 48, 80))


def scale_aware_channel_attention() -> Pair:
    """Timm create_attn("se")."""
    from timm.layers import create_attn

    return pair(blocks.ScaleAwareChannelAttention(96, 8), create_attn("se", 96), image(2, 96, 48, 80))


def temporal(ours: nn.Module, peer: nn.Module) -> Pair:
    """One step of two streams with two frames behind them."""
    x, past = image(2, 96, 48, 80), torch.randn(2, 96, 2, 48, 80)
    return Pair(Side(ours, (x, past.transpose(1, 2).flatten(1, 2))), Side(peer, (x, past)))


def event_temporal_attention() -> Pair:
    """torch.nn Conv3d, motion gate, squeeze and excitation."""
    return temporal(blocks.EventTemporalAttention(96), peers.Temporal(96))


def small_object_attention_module() -> Pair:
    """Timm SelectiveKernel, torch.nn temporal attention, Conv2d."""
    return temporal(blocks.SmallObjectAttentionModule(96), peers.SmallObject(96))


def deformable(queries: int | None, coordinates: int) -> Pair:
    """Both attentions on 4 levels of a 256 px image; every pixel is a query where `queries` is None."""
    from polyscale.blocks.attention import deformable as module

    shapes = [(32, 32), (16, 16), (8, 8), (4, 4)]
    ours, peer = module.MultiScaleDeformableAttention(256, 4), peers.DeformableAttention(256, 4)
    nn.init.normal_(ours.sampling_offsets.weight, std=0.05)  # trained offsets are between pixels
    pixels = sum(height * width for height, width in shapes)
    points = torch.rand(1, queries, 1, coordinates) if queries else module.reference_grid(shapes)
    return pair(ours, peer, image(2, queries or pixels, 256), points, image(2, pixels, 256), shapes, same=True)


def deformable_attention_encoder() -> Pair:
    """Transformers MultiScaleDeformableAttention, PyTorch path."""
    return deformable(None, 2)


def deformable_attention_decoder() -> Pair:
    """Transformers MultiScaleDeformableAttention, PyTorch path, 300 boxes."""
    return deformable(300, 4)


def scales() -> list[Tensor]:
    """Maps of 128 channels for a 352 px image at 0.5, 1.0 and 1.5 times its size, stride 8."""
    return [image(2, 128, side, side) for side in (22, 44, 66)]


def attention_based_scale_integration_unit() -> Pair:
    """interpolate, torch.nn MultiheadAttention over the scales."""
    return pair(blocks.AttentionBasedScaleIntegrationUnit(128), peers.ScaleAttention(128, 4), scales())


def hierarchical_scale_integration() -> Pair:
    """interpolate, concat, torch.nn Conv2d, timm CBAM."""
    return pair(blocks.HierarchicalScaleIntegration(128), peers.CoarseToFine(128, 3), scales())


def multi_scale_input_generator() -> Pair:
    """Torchvision v2 resize, antialiased."""
    factors, x = (0.5, 1.0, 1.5), image(4, 3, 352, 352)
    return Pair(Side(blocks.MultiScaleInputGenerator(factors), (x,)), Side(resized, (x, factors)), same=True)


def multi_scale_input_processor() -> Pair:
    """Three passes, interpolate, concat, torch.nn Conv2d, timm CBAM."""
    factors, backbone = (0.5, 1.0, 1.5), peers.Backbone((64, 128, 320, 512))
    ours = blocks.MultiScaleInputProcessor(backbone, scales=factors, supervise=False)
    return pair(ours, peers.PyramidPasses(backbone, factors), image(2, 3, 128, 128))


CASES = (
    multi_scale_spatial_attention,
    scale_aware_channel_attention,
    event_temporal_attention,
    small_object_attention_module,
    deformable_attention_encoder,
    deformable_attention_decoder,
    attention_based_scale_integration_unit,
    hierarchical_scale_integration,
    multi_scale_input_generator,
    multi_scale_input_processor,
)
