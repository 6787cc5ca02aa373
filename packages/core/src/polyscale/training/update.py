"""One optimizer step: the gradients of an accumulation group over all processes, clipped, and the averaged weights."""

import math
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from polyscale.errors import UserError
from polyscale.training.options import TrainSettings
from polyscale.training.schedule import lr_factor
from polyscale.training.state import Average


class NonFiniteLossError(UserError):
    """The loss or its gradient became NaN or infinite."""


class Update:
    """Model, optimizer and averaged weights on this process's device, wrapped for DDP where there are several.

    Args:
        accelerator: Where to compute.
        config: Optimizer, learning rate, clipping and EMA.
        model: The model to train.
        param_groups: Its parameters, see `schedule.param_groups`.
    """

    def __init__(
        self, accelerator: Accelerator, config: TrainSettings, model: nn.Module, param_groups: list[dict[str, Any]]
    ) -> None:
        self.accelerator, self.config = accelerator, config
        model = model.to(accelerator.device).to(memory_format=torch.channels_last)
        self.ema = Average(model, config.ema) if config.ema else None
        if config.optimizer == "adamw":
            optimizer: torch.optim.Optimizer = torch.optim.AdamW(param_groups, lr=config.lr)
        else:
            optimizer = torch.optim.SGD(param_groups, lr=config.lr, momentum=0.9, nesterov=True)
        if config.compile:
            model = torch.compile(model)  # type: ignore[assignment]
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self._count: Tensor | None = None  # of the accumulation group, where one was given
        self._unchecked: Tensor | None = None

    @property
    def bare_model(self) -> nn.Module:
        """The model without the wrappers of DDP and torch.compile."""
        bare: nn.Module = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        return bare

    def add(self, loss: Tensor, count: Tensor | None, group: int) -> None:
        """Add the gradient of a micro-batch's loss, one of `group`, or the mean of `count` items."""
        if count is None:
            self.accelerator.backward(loss / group)
        else:
            self.accelerator.backward(loss * count)
            self._count = count if self._count is None else self._count + count
            loss = torch.where(count > 0, loss, 0.0)  # a mean over nothing may be NaN
        self._loss = loss.detach()

    def step(self, step: int, total_steps: int) -> None:
        """Do optimizer step `step` of `total_steps` with the gradients that were added."""
        config, accelerator = self.config, self.accelerator
        factor = lr_factor(step, total_steps, round(config.warmup * total_steps), config.schedule, config.min_lr)
        self.lr = config.lr * factor
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * group.get("lr_scale", 1.0)
        if self._count is not None:  # DDP has divided the sum over processes by their number
            scale = accelerator.num_processes / accelerator.reduce(self._count).clamp(min=1e-12)
            torch._foreach_mul_([p.grad for p in self.model.parameters() if p.grad is not None], scale)
            self._count = None
        norm = accelerator.clip_grad_norm_(self.model.parameters(), config.clip or math.inf)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update(self.bare_model)
        scaled = accelerator.mixed_precision == "fp16"  # there an infinite gradient only lowers the loss scale
        self._unchecked = self._loss if scaled else self._loss + norm

    def is_finite(self) -> bool:
        """Whether loss and gradient of the last step were; asked one step later it stalls no GPU."""
        value, self._unchecked = self._unchecked, None
        return value is None or math.isfinite(value.item())
