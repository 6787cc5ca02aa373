"""timm networks in one convention: a list of [B, C_i, H_i, W_i] at strides 4, 8, 16 and 32, for any input size.

What differs from `timm.create_model(features_only=True)`: level i always has ceil(H / stride_i) rows (networks that
round down or insist on multiples of 32 are padded inside), NHWC networks come out as NCHW, networks that cannot work
this way are refused when they are built, and checkpointing is torch's non-reentrant form, which gives gradients for
images that do not require any.
"""

import difflib
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.errors import UserError
from polyscale.models.hub import hub
from polyscale.models.swin import tighten

STRIDES = (4, 8, 16, 32)
SMALLEST = 32  # pvt's first reduction needs 8x8 cells at stride 4; smaller images are padded

# what timm's networks raise for an input size they cannot take
_SIZE_ERRORS = (RuntimeError, AssertionError, ValueError, IndexError)


class Backbone(nn.Module):
    """A timm network that gives its last four levels.

    Args:
        net: a timm `features_only` network whose outputs are the levels at strides 4, 8, 16, 32.
        multiple: sides of the image are padded (edge replicated) to a multiple of this; 1 where the network rounds
            up by itself.

    Attributes: `channels` and `strides` (lists of four), `in_chans`, `name` (timm's, with the weights' tag), `mean`
    and `std` (of the pretrained configuration, one value per input channel). The images are expected normalised
    with them: (rgb_in_0_1 - mean) / std.
    """

    def __init__(self, net: nn.Module, *, in_chans: int = 3, multiple: int = 1) -> None:
        super().__init__()
        self.net = net
        self.multiple = multiple
        self.in_chans = in_chans
        self.channels: list[int] = list(net.feature_info.channels())  # type: ignore[operator,union-attr]
        self.strides: list[int] = list(STRIDES)
        config: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]
        self.name = ".".join(filter(None, (config.get("architecture"), config.get("tag"))))
        self.mean = _per_channel(config["mean"], in_chans)
        self.std = _per_channel(config["std"], in_chans)
        self._nhwc = str(getattr(net, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """[B, in_chans, H, W] -> four maps [B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])]."""
        if image_BCHW.ndim != 4 or image_BCHW.shape[1] != self.in_chans:
            raise ValueError(f"image must be [B, {self.in_chans}, H, W], got {list(image_BCHW.shape)}")
        height, width = image_BCHW.shape[-2:]
        features = self.net(padded(image_BCHW, self.multiple))
        if self._nhwc:
            features = [f.permute(0, 3, 1, 2) for f in features]
        return [f[..., : _parts(height, s), : _parts(width, s)] for f, s in zip(features, self.strides, strict=True)]

    def checkpoint_activations(self, enable: bool = True) -> None:
        """Trade time for memory: keep only the borders of blocks (or stages) and compute the rest again in backward.

        Gradients stay equal. BatchNorm networks update their running statistics a second time while recomputing
        (they lean a little more on the latest batches); LayerNorm networks such as pvt and convnext are not affected.

        Raises:
            UserError: the network has no checkpointing in timm.
        """
        units = [m for m in self.net.modules() if m is not self.net and hasattr(m, "grad_checkpointing")]
        if not units and hasattr(self.net, "grad_checkpointing"):
            units = [self.net]  # only whole stages can be left out here
        if not units:
            raise UserError(f"backbone {self.name}: timm has no activation checkpointing for it; turn it off")
        for unit in units:
            unit.grad_checkpointing = enable  # type: ignore[assignment]


def create_backbone(
    name: str, pretrained: bool = False, in_chans: int = 3, checkpoint_activations: bool = False, **kwargs: Any
) -> Backbone:
    """Build a hierarchical timm network (pvt_v2_b0 .. b5, convnext, resnet, swin, mobilenet ...) as a `Backbone`.

    Args:
        name: timm's name, with or without the tag of its weights ("pvt_v2_b2", "pvt_v2_b2.in1k").
        pretrained: load timm's weights from the Hugging Face hub (network or filled cache needed).
        in_chans: channels of the input; timm adapts pretrained weights of the first convolution.
        checkpoint_activations: see `Backbone.checkpoint_activations`.
        kwargs: further arguments of the timm model (`drop_path_rate` ...).

    Raises:
        UserError: unknown name or tag, a network without levels at strides 4, 8, 16 and 32 or with a fixed input
            size, no weights for this name, or weights that cannot be fetched.
    """
    _check_name(name)
    if in_chans < 1:
        raise ValueError(f"in_chans must be at least 1, got {in_chans}")
    with _fetching(name, needed=pretrained or ":" in name):
        multiple, kwargs = _trial(name, {**kwargs, "in_chans": in_chans})
        net, _ = _features(name, {**kwargs, "pretrained": True} if pretrained else kwargs)
    backbone = Backbone(tighten(net), in_chans=in_chans, multiple=multiple)
    if checkpoint_activations:
        backbone.checkpoint_activations()
    return backbone


def _trial(name: str, kwargs: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """How the images have to be padded, and timm's arguments for the last four levels; tried without arithmetic."""
    net, kwargs = _sketch(name, kwargs)
    info: Any = net.feature_info
    reductions = list(info.reduction())
    if tuple(reductions[-4:]) != STRIDES:
        raise UserError(
            f"backbone {name} has levels at strides {reductions}, not {list(STRIDES)}; "
            "choose a hierarchical one such as pvt_v2_b0, convnext_atto, resnet18 or swin_tiny_patch4_window7_224"
        )
    if len(reductions) > 4:
        kwargs["out_indices"] = tuple(info.out_indices[-4:])
        net, kwargs = _sketch(name, kwargs)
    return _needed_multiple(net, name, kwargs["in_chans"]), kwargs


def _sketch(name: str, kwargs: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """`_features` on the meta device."""
    try:
        with torch.device("meta"):
            return _features(name, kwargs)
    except UserError:  # older timm (RegNet before 1.0.30) wants numbers while it builds
        net, kwargs = _features(name, kwargs)
        return net.to("meta"), kwargs


def _check_name(name: str) -> None:
    if ":" in name:  # hf-hub:..., local-dir:...: timm resolves these itself
        return
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        known = timm.list_models()
        near = difflib.get_close_matches(architecture.lower().replace("-", "_"), known, n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(near)}?" if near else "see timm.list_models()"
        raise UserError(f"unknown backbone {name!r}: {hint}")
    tags = timm.models.get_arch_pretrained_cfgs(architecture)
    if tag and name not in tags:
        accepted = ", ".join(tags) or "none"
        raise UserError(f"unknown weights {tag!r} of backbone {architecture}; accepted names: {accepted}")


def _features(name: str, kwargs: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network and return it with the arguments that were accepted."""
    free_size = {**kwargs, "strict_img_size": False}  # lets window attention networks take any size
    for accepted in (free_size, kwargs):
        try:
            return timm.create_model(name, features_only=True, **accepted), accepted
        except TypeError as error:
            if accepted is kwargs or "strict_img_size" not in str(error):
                raise
        except (AssertionError, AttributeError, NotImplementedError) as error:
            raise UserError(
                f"backbone {name} gives no feature maps in timm; choose another such as pvt_v2_b0"
            ) from error
    raise AssertionError("unreachable: the loop returns or raises")


@contextmanager
def _fetching(name: str, needed: bool) -> Iterator[None]:
    """The hub is asked within, where `needed`; what a user can put right becomes one line."""
    try:
        with hub() if needed else nullcontext():
            yield
    except OSError as error:  # no network, no such file on the hub, full disk: the hub's errors all derive from it
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        way_on = "connect, or fill the Hugging Face cache elsewhere and point HF_HOME to it, or take pretrained=False"
        raise UserError(f"cannot load the pretrained weights of {name} ({reason}): {way_on}") from error
    except RuntimeError as error:
        if "No pretrained weights exist" not in str(error):
            raise
        raise UserError(f"timm has no pretrained weights for {name}: use pretrained=False") from error


def _needed_multiple(net: nn.Module, name: str, in_chans: int) -> int:
    """The smallest padding rule under which every level is ceil(size / stride), tried on the meta device."""
    for multiple in (1, 32, 64):
        try:
            if all(_levels_fit(net, in_chans, multiple, size) for size in ((97, 65), (96, 160))):
                return multiple
        except _SIZE_ERRORS:
            continue
    raise UserError(
        f"backbone {name} takes only its own input size; "
        "choose one for any size such as pvt_v2_b0, convnext_atto, resnet18 or swin_tiny_patch4_window7_224"
    )


def _levels_fit(net: nn.Module, in_chans: int, multiple: int, size: tuple[int, int]) -> bool:
    trial = Backbone(net, in_chans=in_chans, multiple=multiple).eval()
    image = padded(torch.empty(1, in_chans, *size, device="meta"), multiple)
    with torch.no_grad():
        levels = [f.permute(0, 3, 1, 2) if trial._nhwc else f for f in net(image)]  # raw: forward would crop
    wanted = [(c, *(math.ceil(x / s) for x in image.shape[-2:])) for c, s in zip(trial.channels, STRIDES, strict=True)]
    return [tuple(f.shape[1:]) for f in levels] == wanted


def padded(image: Tensor, multiple: int = 1, least: int = SMALLEST) -> Tensor:
    """[..., H, W] repeated at the right and lower border up to multiples of `multiple`, and sides of at least `least`.

    Where sizes are free (torch.export) it pads by what they lack, be it nothing; no branch fixes one of the two.
    """
    bottom, right = (_lacking(n, multiple, least) for n in image.shape[-2:])
    if isinstance(bottom, int) and isinstance(right, int) and not bottom and not right:
        return image
    return F.pad(image, (0, right, 0, bottom), mode="replicate")


def _lacking(length: int, multiple: int, least: int) -> int:
    whole = _parts(length, multiple) * multiple
    enough: Any = max(whole, least) if isinstance(whole, int) else torch.sym_max(whole, least)  # max would fix a branch
    lacking: int = enough - length
    return lacking


def _parts(length: int, size: int) -> int:
    """length / size rounded up, of positive numbers alone: ONNX rounds the division of a negative one towards zero."""
    return (length + size - 1) // size


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One value per channel, repeated in turn as timm repeats the weights of the first convolution."""
    return tuple(values[i % len(values)] for i in range(channels))
