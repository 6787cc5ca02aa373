"""Gradient checkpointing as Neurenix writes it: `with enable_gradient_checkpointing(): output = model(x)`.

Neurenix documents the name only; here the stages of PyramidNetwork, UNet and MultiScaleModel run through
`run_checkpointed`, which is torch.utils.checkpoint (non-reentrant, so that an input without gradient is no trap).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class _Switch:
    """Global to the process: torch.compile guards on module attributes, not on thread-local or context variables."""

    on = False


_switch = _Switch()


@contextmanager
def enable_gradient_checkpointing(enabled: bool = True) -> Iterator[None]:
    """Keep only inputs and outputs of the stages of a block in forward passes inside this context.

    The backward pass, which may run outside of it, computes each stage once more: a step takes about a third longer
    and needs less memory. Outputs and gradients stay the same. As with torch.utils.checkpoint, batch norm in train
    mode sees each batch twice: its running estimates move about twice as far per step, with the same limit. The
    switch is global to the process: enter the context from one thread at a time.

    Args:
        enabled: False switches it off within an outer context.
    """
    before, _switch.on = _switch.on, enabled
    try:
        yield
    finally:
        _switch.on = before


def run_checkpointed(stage: nn.Module, *inputs: Tensor, always: bool = False) -> Any:
    """Return stage(*inputs); with `always` or in `enable_gradient_checkpointing` keep no activations inside of it."""
    if not ((always or _switch.on) and torch.is_grad_enabled()):
        return stage(*inputs)
    if torch.compiler.is_compiling():
        return checkpoint(stage, *inputs, use_reentrant=False)
    return checkpoint(_run_plain, stage, *inputs, use_reentrant=False)


def _run_plain(stage: nn.Module, *inputs: Tensor) -> Any:
    """Run without checkpoints inside: both runs must save the same tensors, and the second is outside the context."""
    with enable_gradient_checkpointing(False):
        return stage(*inputs)
