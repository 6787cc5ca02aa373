"""The table of `core.py`: each core block beside the peer a user would take.

A case is a function that gives both sides on the same arguments; its docstring names the peer. Sizes are those of the
apps, small enough for a processor.
"""

from collections.abc import Callable

import peers
import torch
from interleaved import Pair, Side
from torch import Tensor, nn

from polyscale import blocks

CASES: dict[str, Callable[[], Pair]] = {}
BINS = (1, 2, 3, 6)
CHANNELS = (64, 128, 320, 512)  # of a PVT-v2-b2 at strides 4 to 32


def case(build: Callable[[], Pair]) -> Callable[[], Pair]:
    """Enters a case under the name of its function."""
    CASES[build.__name__] = build
    return build


def image(*shape: int) -> Tensor:
    """A random map that takes gradients."""
    return torch.randn(*shape).requires_grad_()


def pyramid() -> list[Tensor]:
    """Maps of CHANNELS for two 256 px images."""
    return [image(2, channels, 64 >> level, 64 >> level) for level, channels in enumerate(CHANNELS)]


def pair(ours: nn.Module, peer: nn.Module, *arguments: object, same: bool = False) -> Pair:
    """Two modules on the same arguments; with `same` the peer takes over our weights, in their order."""
    if same:
        peer.load_state_dict(dict(zip(peer.state_dict(), ours.state_dict().values(), strict=True)))
    return Pair(Side(ours, arguments), Side(peer, arguments), same)


@case
def multi_scale_pooling() -> Pair:
    """torch.nn adaptive pooling, interpolate, concat"""
    return pair(blocks.MultiScalePooling(BINS), peers.Pooling(BINS), image(2, 256, 44, 44), same=True)


@case
def pyramid_pooling() -> Pair:
    """PSP module of torch.nn, as in smp"""
    return pair(blocks.PyramidPooling(256, 128, BINS), peers.PSP(256, 128, BINS), image(2, 256, 44, 44), same=True)


@case
def spatial_pyramid_pooling() -> Pair:
    """torch.nn AdaptiveMaxPool2d to 1, 2, 4 bins"""
    return pair(blocks.SpatialPyramidPooling(3), peers.SPP((1, 2, 4)), image(2, 256, 44, 44), same=True)


@case
def feature_fusion_concat() -> Pair:
    """interpolate, concat, torch.nn Conv2d"""
    return pair(blocks.FeatureFusion(CHANNELS, 96), peers.Concat(CHANNELS, 96), pyramid(), same=True)


@case
def feature_fusion_sum() -> Pair:
    """torch.nn Conv2d, interpolate, sum"""
    return pair(blocks.FeatureFusion(CHANNELS, 96, "sum"), peers.Sum(CHANNELS, 96), pyramid(), same=True)


@case
def attention_fusion() -> Pair:
    """torch.nn Conv2d, interpolate, timm SelectiveKernelAttn"""
    return pair(blocks.AttentionFusion(CHANNELS, 96), peers.Selective(CHANNELS, 96), pyramid())


@case
def scale_fusion() -> Pair:
    """interpolate, concat, torch.nn Conv2d"""
    maps = [image(2, 64, 64, 64), image(2, 64, 32, 32), image(2, 64, 16, 16)]
    return pair(blocks.ScaleFusion((1.0, 0.5, 0.25), 64, 64), peers.Concat((64,) * 3, 64), maps, same=True)


@case
def pyramid_network() -> Pair:
    """torch.nn stages, torchvision FeaturePyramidNetwork, 1x1 head"""
    return pair(blocks.PyramidNetwork(3, 1, 3, 32), peers.Pyramid(3, 1, (32, 64, 128)), image(2, 3, 96, 96))


@case
def unet() -> Pair:
    """torch.nn UNet with transposed convolutions"""
    widths = (32, 64, 128, 256)
    return pair(blocks.UNet(3, 1, widths), peers.PlainUNet(3, 1, widths), image(2, 3, 96, 96))


@case
def multi_scale_model() -> Pair:
    """torchvision resize, three passes, interpolate, concat"""
    scales, net = (1.0, 0.5, 0.25), peers.conv_norm_act(3, 32, stride=2)
    return pair(blocks.MultiScaleModel(scales, net), peers.Passes(net, scales), image(2, 3, 256, 256), same=True)


@case
def multi_scale_transform() -> Pair:
    """torchvision v2 resize, antialiased"""
    scales, x = (1.0, 0.5, 0.25), image(4, 3, 352, 352)
    return Pair(Side(blocks.MultiScaleTransform(scales), (x,)), Side(peers.resized, (x, scales)), same=True)


@case
def rescale() -> Pair:
    """torchvision v2 resize, antialiased"""
    x = image(4, 3, 352, 352)
    return Pair(Side(blocks.Rescale(0.5), (x,)), Side(peers.resized, (x, (0.5,))), same=True)


@case
def pyramid_downsample() -> Pair:
    """torchvision v2 resize of the image to each level"""
    x = image(4, 3, 352, 352)
    return Pair(Side(blocks.PyramidDownsample(4), (x,)), Side(peers.resized, (x, (1.0, 0.5, 0.25, 0.125))))


def deformable(queries: int | None, coordinates: int) -> Pair:
    """Both attentions on 4 levels of a 256 px image; every pixel is a query where `queries` is None."""
    from polyscale.blocks import deformable as module

    shapes = [(32, 32), (16, 16), (8, 8), (4, 4)]
    ours, peer = module.MultiScaleDeformableAttention(256, 4), peers.DeformableAttention(256, 4)
    nn.init.normal_(ours.sampling_offsets.weight, std=0.05)  # trained offsets lie between pixels
    pixels = sum(height * width for height, width in shapes)
    points = torch.rand(1, queries, 1, coordinates) if queries else module.reference_grid(shapes)
    return pair(ours, peer, image(2, queries or pixels, 256), points, image(2, pixels, 256), shapes, same=True)


@case
def deformable_attention_encoder() -> Pair:
    """transformers MultiScaleDeformableAttention, PyTorch path"""
    return deformable(None, 2)


@case
def deformable_attention_decoder() -> Pair:
    """transformers MultiScaleDeformableAttention, PyTorch path, 300 boxes"""
    return deformable(300, 4)


def scales() -> list[Tensor]:
    """Maps of 128 channels for a 352 px image at 0.5, 1.0 and 1.5 times its size, stride 8."""
    return [image(2, 128, side, side) for side in (22, 44, 66)]


@case
def attention_based_scale_integration_unit() -> Pair:
    """interpolate, torch.nn MultiheadAttention over the scales"""
    return pair(blocks.AttentionBasedScaleIntegrationUnit(128), peers.ScaleAttention(128, 4), scales())


@case
def hierarchical_scale_integration() -> Pair:
    """interpolate, concat, torch.nn Conv2d, timm CBAM"""
    return pair(blocks.HierarchicalScaleIntegration(128), peers.CoarseToFine(128, 3), scales())


@case
def multi_scale_input_generator() -> Pair:
    """torchvision v2 resize, antialiased"""
    factors, x = (0.5, 1.0, 1.5), image(4, 3, 352, 352)
    return Pair(Side(blocks.MultiScaleInputGenerator(factors), (x,)), Side(peers.resized, (x, factors)), same=True)


@case
def multi_scale_input_processor() -> Pair:
    """three passes, interpolate, concat, torch.nn Conv2d, timm CBAM"""
    factors, backbone = (0.5, 1.0, 1.5), peers.Backbone(CHANNELS)
    ours = blocks.MultiScaleInputProcessor(backbone, scales=factors, supervise=False)
    return pair(ours, peers.PyramidPasses(backbone, factors), image(2, 3, 128, 128))


@case
def focal_loss() -> Pair:
    """torchvision sigmoid_focal_loss"""
    from torchvision.ops import sigmoid_focal_loss

    from polyscale.losses import focal_loss as ours

    logits, targets = image(8, 2000, 80), (torch.rand(8, 2000, 80) < 0.01).float()

    def peer(logits: Tensor, targets: Tensor) -> Tensor:
        return sigmoid_focal_loss(logits, targets, reduction="sum") / targets.sum()

    return Pair(Side(ours, (logits, targets)), Side(peer, (logits, targets)), same=True)


def boxes(number: int) -> Tensor:
    """Random boxes (x1, y1, x2, y2) on a 640 px image."""
    corner = torch.rand(number, 2) * 600
    return torch.cat([corner, corner + 4 + torch.rand(number, 2) * 200], dim=-1)


@case
def giou_loss() -> Pair:
    """torchvision generalized_box_iou_loss"""
    from torchvision.ops import generalized_box_iou_loss

    from polyscale.losses import giou_loss as ours

    arguments = (boxes(20_000).requires_grad_(), boxes(20_000))
    return Pair(Side(ours, arguments), Side(generalized_box_iou_loss, arguments), same=True)


@case
def ciou_loss() -> Pair:
    """torchvision complete_box_iou_loss"""
    from torchvision.ops import complete_box_iou_loss

    from polyscale.losses import ciou_loss as ours

    arguments = (boxes(20_000).requires_grad_(), boxes(20_000))
    return Pair(Side(ours, arguments), Side(complete_box_iou_loss, arguments), same=True)


def detections(layers: int) -> tuple[dict[str, object], list[dict[str, Tensor]]]:
    """Outputs of `layers` decoder layers for 8 images, 300 queries, 80 classes; 0 to 14 targets an image."""
    predicted = [
        {"logits": image(8, 300, 80), "pred_boxes": torch.rand(8, 300, 4).requires_grad_()} for _ in range(layers)
    ]
    targets = [{"class_labels": torch.randint(80, (2 * i,)), "boxes": torch.rand(2 * i, 4) / 2} for i in range(8)]
    return {**predicted[-1], "auxiliary_outputs": predicted[:-1]}, targets


@case
def set_loss() -> Pair:
    """transformers Deformable DETR matcher and loss, 6 layers"""
    from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher, DeformableDetrImageLoss

    from polyscale.losses import SetLoss, SetTerms

    arguments = detections(6)
    matcher = DeformableDetrHungarianMatcher(class_cost=2, bbox_cost=5, giou_cost=2)
    criterion = DeformableDetrImageLoss(matcher, 80, 0.25, ["labels", "boxes"])
    weights = {"ce": 1.0, "bbox": 5.0, "giou": 2.0}

    def peer(outputs: dict[str, object], targets: list[dict[str, Tensor]]) -> Tensor:
        return sum(weights[name.split("_")[1]] * part for name, part in criterion(outputs, targets).items())

    ours = SetLoss(SetTerms(1, 5, 2))
    return Pair(Side(lambda *given: ours(*given)["loss"], arguments), Side(peer, arguments), same=True)


@case
def hungarian_match() -> Pair:
    """transformers Deformable DETR matcher (no gradients)"""
    from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher

    from polyscale.losses import hungarian_match as ours

    outputs, targets = detections(1)
    matcher = DeformableDetrHungarianMatcher(class_cost=2, bbox_cost=5, giou_cost=2)
    logits, predicted = outputs["logits"], outputs["pred_boxes"]
    return Pair(Side(ours, (logits, predicted, targets)), Side(matcher, (outputs, targets)), same=True)
