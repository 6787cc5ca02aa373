"""What a loop must remember besides weights and optimizer: where it is, its best result, and the averaged weights."""

import copy
import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn


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

    def update_best(self, value: float, higher_is_better: bool) -> bool:
        """Take the result of this epoch's validation and return whether it is the best so far."""
        improved = math.isfinite(value) and (
            self.best is None or (value > self.best if higher_is_better else value < self.best)
        )
        if improved:
            self.best, self.stale = value, 0
        else:
            self.stale += 1
        if improved or self.best is None:
            self.best_epoch = self.epoch
        return improved


class Average:
    """Exponential moving average of a model's trainable parameters and buffers; frozen parameters are shared with it.

    Warms up by min(decay, (1 + n) / (10 + n)) at update n, so that short runs do not average in the random start; the
    first update and integer buffers are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        shared: dict[int, Any] = {id(p): p for p in model.parameters() if not p.requires_grad}
        self.module = copy.deepcopy(model, shared).requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards `model`."""
        share = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 1.0
        groups: dict[bool, list[tuple[Tensor, Tensor]]] = {True: [], False: []}
        for pair in zip(_tensors(self.module), _tensors(model), strict=True):
            if pair[0] is not pair[1]:
                groups[pair[0].is_floating_point() and share < 1].append(pair)
        for averaged, pairs in groups.items():
            if pairs and averaged:
                torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], share)
            elif pairs:
                torch._foreach_copy_([a for a, _ in pairs], [b for _, b in pairs])
        self.updates += 1


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


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


@contextmanager
def signals_held() -> Iterator[None]:
    """Keep SIGTERM and SIGINT waiting inside; processes that are started inside never get them (not on Windows)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
