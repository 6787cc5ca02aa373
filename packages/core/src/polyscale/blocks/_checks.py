"""Argument checks that the blocks share: each raises a ValueError that names the argument, what came and what goes."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

SEQUENCE = (list, tuple)  # dynamo of torch 2.6 cannot trace isinstance(x, list | tuple)


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raise ValueError unless `value` is an int of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def check_counts(name: str, values: Sequence[int]) -> None:
    """Raise ValueError unless `values` is a non-empty list of positive ints."""
    if not isinstance(values, SEQUENCE) or not values:
        raise ValueError(f"{name} must be a non-empty list of integers, got {values!r}")
    for i, value in enumerate(values):
        check_count(f"{name}[{i}]", value)


def check_scale(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a finite number above 0."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a number above 0, got {value!r}")


def check_scales(scales: Sequence[float]) -> None:
    """Raise ValueError unless `scales` is a non-empty list of different numbers above 0."""
    if not isinstance(scales, SEQUENCE) or not scales:
        raise ValueError(f"scales must be a non-empty list of numbers above 0, got {scales!r}")
    for i, scale in enumerate(scales):
        check_scale(f"scales[{i}]", scale)
    if len(set(scales)) < len(scales):
        raise ValueError(f"scales must differ from each other, got {scales!r}")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_map(x: Tensor, channels: int | None = None, name: str = "x", smallest: int = 1) -> None:
    """Raise ValueError unless `x` is [B, channels, H, W] with both sides of at least `smallest` pixels."""
    if x.ndim != 4 or (channels is not None and x.shape[1] != channels):
        wanted = "C" if channels is None else channels
        raise ValueError(f"{name} must be [B, {wanted}, H, W], got {list(x.shape)}")
    if x.shape[-2] < smallest or x.shape[-1] < smallest:
        size = f"{x.shape[-2]} x {x.shape[-1]}"
        raise ValueError(f"{name} must be at least {smallest} x {smallest} pixels here, got {size}")


def check_features(features: Sequence[Tensor], channels: Sequence[int], name: str = "features") -> None:
    """Raise ValueError unless `features` is a list of [B, channels[i], H_i, W_i], one per entry, of one batch size."""
    if not isinstance(features, SEQUENCE) or len(features) != len(channels):
        got = f"a list of {len(features)}" if isinstance(features, SEQUENCE) else type(features).__name__
        raise ValueError(f"{name} must be a list of {len(channels)} maps, got {got}")
    for i, (feature, wanted) in enumerate(zip(features, channels, strict=True)):
        check_map(feature, wanted, f"{name}[{i}]")
        if feature.shape[0] != features[0].shape[0]:
            raise ValueError(f"{name}[{i}] must have the batch size {features[0].shape[0]}, got {feature.shape[0]}")
