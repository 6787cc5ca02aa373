"""The learning rate as a pure function of the step, and the parameter groups it multiplies.

A scheduler object has state to lose on resume, and Accelerate steps a prepared one once per process; a function of
the step has neither trap.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

Schedule = Literal["cosine", "linear", "step", "constant"]


def lr_factor(step: int, total: int, warmup: int, schedule: Schedule = "cosine", floor: float = 0.0) -> float:
    """Multiplier in [0, 1] of the base rate at optimizer step `step` (0-based) of `total`.

    Rises linearly over `warmup` steps, then follows the schedule down to `floor`; "step" divides by ten at two thirds
    and once more at eight ninths of the way, "constant" stays at 1.
    """
    if step < warmup:
        return (step + 1) / warmup
    done = min((step - warmup) / max(total - warmup, 1), 1.0)
    if schedule == "constant":
        return 1.0
    if schedule == "step":
        return max(floor, 0.1 ** ((done >= 2 / 3) + (done >= 8 / 9)))
    fall = (1 + math.cos(math.pi * done)) / 2 if schedule == "cosine" else 1 - done
    return floor + (1 - floor) * fall


def param_groups(
    model: nn.Module, weight_decay: float, lr_scales: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Groups of the trainable parameters by decay and rate.

    Norm parameters, biases and other vectors get no weight decay. `lr_scales` maps a prefix of the parameter name to
    a multiplier of the learning rate ({"backbone.": 0.1}); the first prefix that fits counts.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = next((s for prefix, s in (lr_scales or {}).items() if name.startswith(prefix)), 1.0)
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((scale, decay), []).append(parameter)
    return [{"params": p, "lr_scale": scale, "weight_decay": decay} for (scale, decay), p in groups.items()]
