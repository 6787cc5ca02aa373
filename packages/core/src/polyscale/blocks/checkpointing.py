"""Gradient checkpointing as Neurenix writes it: `with enable_gradient_checkpointing(): output = model(x)`.

Neurenix documents the name only; here the stages of PyramidNetwork, UNet and MultiScaleModel run through
`checkpointed`, which is torch.utils.checkpoint (non-reentrant, so that an input without gradient is no trap). What
differs from plain torch: BatchNorm counts a batch once, although the stage runs a second time in the backward pass
(compiled by torch 2.6 to 2.8 it still counts twice; 2.9 writes buffers once).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


class _Switch:
    """Of the process: torch.compile guards on an object, not on a thread's value (nor, in 2.6, on a context's)."""

    on = False


_switch = _Switch()


@contextmanager
def enable_gradient_checkpointing(enabled: bool = True) -> Iterator[None]:
    """Within it, the forward pass of blocks with stages keeps only the stages' inputs and outputs.

    The backward pass may run outside of it; it computes each stage once more, so that a step takes about a third
    longer and needs less memory. Values, gradients and BatchNorm statistics stay the same. `enabled=False` switches
    it off within an outer one. It holds for the whole process: enter it from one thread at a time.
    """
    before, _switch.on = _switch.on, enabled
    try:
        yield
    finally:
        _switch.on = before


def checkpointed(stage: nn.Module, *inputs: Tensor) -> Tensor:
    """`stage(*inputs)`, under `enable_gradient_checkpointing` without keeping the activations inside of the stage."""
    if not (_switch.on and torch.is_grad_enabled()):
        return stage(*inputs)
    if torch.compiler.is_compiling():  # it accepts no context_fn
        return checkpoint(stage, *inputs, use_reentrant=False)
    return checkpoint(stage, *inputs, use_reentrant=False, context_fn=partial(_contexts, stage))


def _contexts(stage: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For `checkpoint(context_fn=...)`: what surrounds the first run and the one in the backward pass.

    Stages within a stage are not checkpointed again, in either run: the second must save the tensors of the first.
    """

    @contextmanager
    def statistics_at_rest() -> Iterator[None]:
        norms = [m for m in stage.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
        kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm in norms:  # the running buffers stay in place, for they are among the saved tensors
            norm.momentum, norm.num_batches_tracked = 0.0, None
        try:
            with enable_gradient_checkpointing(False):
                yield
        finally:
            for norm, (momentum, count) in zip(norms, kept, strict=True):
                norm.momentum, norm.num_batches_tracked = momentum, count

    return enable_gradient_checkpointing(False), _EnteredAgain(statistics_at_rest)


class _EnteredAgain(AbstractContextManager[None]):
    """A generator's context that may be entered once for each backward pass (retain_graph, gradcheck)."""

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        self._make = make

    def __enter__(self) -> None:
        self._running = self._make()
        self._running.__enter__()

    def __exit__(self, *error: Any) -> bool | None:
        return self._running.__exit__(*error)
