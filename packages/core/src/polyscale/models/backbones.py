"""timm networks in one convention: a list of [B, C_i, H_i, W_i] at strides 4, 8, 16 and 32, for any input size.

Differences from `timm.create_model(features_only=True)`: level i always has ceil(H / stride_i) rows (networks that
round down or insist on multiples of 32 are padded inside), NHWC outputs become NCHW, networks that cannot work
this way are refused when they are built, and checkpointing is torch's non-reentrant form, which gives gradients for
images that do not require any.
"""

import difflib
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, get_args

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.errors import UserError
from polyscale.models.hub import hub
from polyscale.models.options import Source
from polyscale.models.packaged import PACKAGES, load_packaged

STRIDES = (4, 8, 16, 32)
MIN_SIDE = 32  # pvt's first reduction needs 8x8 cells at stride 4; smaller images are padded

# what timm's networks raise for an input size they cannot take
_SIZE_ERRORS = (RuntimeError, AssertionError, ValueError, IndexError)


class Backbone(nn.Module):
    """A timm network that returns its last four levels.

    Args:
        net: a timm `features_only` network whose outputs are the levels at strides 4, 8, 16, 32.
        in_chans: channels of the input.
        multiple: sides of the image are padded (edge replicated) to a multiple of this; 1 for a network that rounds
            up by itself.

    Attributes:
        channels, strides: lists of four.
        in_chans: channels of the input.
        name: timm's name with the tag of the weights.
        mean, std: of the pretrained configuration, one value per input channel; `normalise` applies them.
    """

    _mean: Tensor
    _std: Tensor

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
        for name, values in (("_mean", self.mean), ("_std", self.std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
        self._nhwc = str(getattr(net, "output_fmt", "NCHW")).endswith("NHWC")

    def normalise(self, image_BCHW: Tensor) -> Tensor:
        """Return RGB in [0, 1] as the network expects it: (image - mean) / std."""
        return (image_BCHW - self._mean) / self._std

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """Return four maps [B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])].

        Args:
            image_BCHW: [B, in_chans, H, W], normalised.

        Raises:
            ValueError: another shape.
        """
        if image_BCHW.ndim != 4 or image_BCHW.shape[1] != self.in_chans:
            raise ValueError(f"image must be [B, {self.in_chans}, H, W], got {list(image_BCHW.shape)}")
        height, width = image_BCHW.shape[-2:]
        features = self.net(padded(image_BCHW, self.multiple))
        if self._nhwc:
            features = [f.permute(0, 3, 1, 2) for f in features]
        return [f[..., : _parts(height, s), : _parts(width, s)] for f, s in zip(features, self.strides, strict=True)]

    def parts(self) -> list[nn.Module]:
        """Return the parts that learn in the order of the forward pass: stem, stages, or the blocks of a stage."""
        found: list[nn.Module] = []
        for child in self.net.children():
            found += list(child) if isinstance(child, nn.Sequential | nn.ModuleList) else [child]
        return [part for part in found if any(True for _ in part.parameters())]

    def checkpoint_activations(self, enable: bool = True) -> None:
        """Trade time for memory: keep the outputs of blocks (or stages) only and recompute the rest in backward.

        Gradients stay equal. BatchNorm networks update their running statistics a second time while recomputing
        (the latest batches weigh a little more); LayerNorm networks such as pvt and convnext are not affected.

        Args:
            enable: False switches it off.

        Raises:
            UserError: the network has no checkpointing in timm.
        """
        units = [m for m in self.net.modules() if m is not self.net and hasattr(m, "grad_checkpointing")]
        if not units and hasattr(self.net, "grad_checkpointing"):
            units = [self.net]  # whole stages only
        if not units:
            raise UserError(f"backbone {self.name}: timm has no activation checkpointing for it; turn it off")
        for unit in units:
            unit.grad_checkpointing = enable  # type: ignore[assignment]


def create_backbone(
    name: str,
    pretrained: Source | bool = "none",
    in_chans: int = 3,
    checkpoint_activations: bool = False,
    **kwargs: Any,
) -> Backbone:
    """Build a hierarchical timm network (pvt_v2_b0 .. b5, convnext, resnet, swin, mobilenet ...) as a `Backbone`.

    Args:
        name: timm's name, with or without the tag of its weights ("pvt_v2_b2", "pvt_v2_b2.in1k").
        pretrained: "none" (or False) starts from random weights; "hub" (or True) loads timm's from the Hugging Face
            hub (network or filled cache needed); "package" loads ImageNet weights from an installed package (see
            `models.packaged`). No source takes the place of another.
        in_chans: channels of the input; timm adapts pretrained weights of the first convolution.
        checkpoint_activations: see `Backbone.checkpoint_activations`.
        kwargs: further arguments of the timm model (`drop_path_rate` ...).

    Returns:
        The backbone, in train mode; see `Backbone` for its input and output.

    Raises:
        UserError: unknown name or tag, a network without levels at strides 4, 8, 16 and 32 or with a fixed input
            size, no weights for this name, or weights that cannot be fetched.
    """
    _check_name(name)
    if in_chans < 1:
        raise ValueError(f"in_chans must be at least 1, got {in_chans}")
    if isinstance(pretrained, bool):  # as timm has it
        pretrained = "hub" if pretrained else "none"
    if pretrained not in get_args(Source):
        raise ValueError(f"pretrained must be one of {', '.join(get_args(Source))}, got {pretrained!r}")
    if pretrained == "package" and in_chans != 3:
        raise ValueError(f"in_chans must be 3 with packaged weights, got {in_chans}")
    from_hub = pretrained == "hub"
    with _fetching(name, needed=from_hub or ":" in name):
        multiple, kwargs = _trial(name, {**kwargs, "in_chans": in_chans})
        net, _ = _features(name, {**kwargs, "pretrained": True} if from_hub else kwargs)
    if pretrained == "package":
        load_packaged(net, name)
    backbone = Backbone(net, in_chans=in_chans, multiple=multiple)
    if checkpoint_activations:
        backbone.checkpoint_activations()
    return backbone


def _trial(name: str, kwargs: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return the padding multiple and timm's arguments for the last four levels; tried on the meta device."""
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
    """Build as `_features` does, on the meta device."""
    try:
        with torch.device("meta"):
            return _features(name, kwargs)
    except UserError:  # older timm (RegNet before 1.0.30) reads values while it builds
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
    """Ask the hub within this context if `needed`; turn what a user can put right into one line."""
    try:
        with hub() if needed else nullcontext():
            yield
    except OSError as error:  # no network, no such file on the hub, full disk: the hub's errors all derive from it
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        way_on = "fill the Hugging Face cache where there is a network and point HF_HOME to it"
        if ":" in name:  # even its architecture is a file of the hub
            raise UserError(f"cannot load backbone {name} ({reason}): {way_on}") from error
        what = f"the pretrained weights of {name}"
        raise UserError(f"cannot load {what} ({reason}): {way_on}, or {_other_sources(name)}") from error
    except RuntimeError as error:
        if "No pretrained weights exist" not in str(error):
            raise
        raise UserError(f"timm has no pretrained weights for {name}: {_other_sources(name)}") from error


def _other_sources(name: str) -> str:
    packaged = ' "package" (polyscale[imagenet]) or' if name.partition(".")[0] in PACKAGES else ""
    return f'set pretrained to{packaged} "none"'


def _needed_multiple(net: nn.Module, name: str, in_chans: int) -> int:
    """Return the smallest padding multiple for which every level is ceil(size / stride), tried on the meta device."""
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


def padded(image: Tensor, multiple: int = 1, min_side: int = MIN_SIDE) -> Tensor:
    """Return [..., H, W] padded at the right and bottom to multiples of `multiple` and sides of at least `min_side`.

    With symbolic sizes it always pads (possibly by 0), so that export is not specialised to one branch.
    """
    bottom, right = (_missing(n, multiple, min_side) for n in image.shape[-2:])
    if isinstance(bottom, int) and isinstance(right, int) and not bottom and not right:
        return image
    return F.pad(image, (0, right, 0, bottom), mode="replicate")


def _missing(length: int, multiple: int, min_side: int) -> int:
    whole = _parts(length, multiple) * multiple
    wanted: Any = max(whole, min_side) if isinstance(whole, int) else torch.sym_max(whole, min_side)  # max specialises
    missing: int = wanted - length
    return missing


def _parts(length: int, size: int) -> int:
    """Return length / size rounded up, from positive numbers only: ONNX rounds negative quotients towards zero."""
    return (length + size - 1) // size


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Return one value per channel, repeated in turn as timm repeats the weights of the first convolution."""
    return tuple(values[i % len(values)] for i in range(channels))
