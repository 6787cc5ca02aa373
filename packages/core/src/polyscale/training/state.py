"""What a loop must remember besides weights and optimizer: where it is, its best result, and the averaged weights."""

import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from polyscale.errors import UserError


@dataclass
class Progress:
    """Position of a run; saved with every checkpoint."""

    step: int = 0  # optimizer steps done
    epoch: int = 0  # epochs done
    batch: int = 0  # micro-batches done in the current epoch
    best: float | None = None
    best_epoch: int = -1
    stale: int = 0  # validations since the best
    seconds: float = 0.0  # training time of all sessions of this run
    journal: int = 0  # bytes of log.jsonl that belong to this position

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            setattr(self, key, value)


class NonFiniteLossError(UserError):
    """The loss or its gradient became NaN or infinite."""


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of weights and buffers, with the warm-up min(decay, (1 + n) / (10 + n)) so that short
    runs do not average in the random start; integer buffers are copied."""

    def update(averages: Sequence[Tensor], current: Sequence[Tensor], n: Tensor | int) -> None:
        d = min(decay, (1 + int(n)) / (10 + int(n)))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(list(averages), list(current), 1 - d)
        else:
            torch._foreach_copy_(list(averages), list(current))

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)


class Signals:
    """SIGTERM and SIGINT as a request to stop after the running step; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Take over the handlers (only possible, and only done, in the main thread)."""
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._handle)
        except ValueError:  # a notebook's or a test's worker thread: its owner handles signals
            self._before.clear()

    def release(self) -> None:
        """Put the former handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
