"""Memory for the seed's accessors without argument: `model(x)`, then `model.get_features()`.

Features kept as a plain attribute would stay alive until the next forward, break copy.deepcopy (EMA) and pickle, and
be missing or stale under torch.compile. `Recall` keeps them exactly as long as the output they belong to: who drops
the output frees them. It is empty in copies and does nothing while a graph is captured.
"""

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor


class Recall:
    """The tensors of the last eager forward pass, until its output dies."""

    def __init__(self) -> None:
        self._tensors: list[Tensor | None] = []
        self._owner: weakref.ref[Tensor] | None = None

    def remember(self, tensors: Sequence[Tensor], owner: Tensor) -> None:
        """Keep `tensors` as long as `owner`, an output of the forward pass, is alive."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined]
            return
        self._tensors = [None if tensor is owner else tensor for tensor in tensors]  # or it would keep itself alive
        self._owner = weakref.ref(owner, self._forget)

    def get(self, call: str) -> list[Tensor]:
        """The remembered tensors; where there are none, a ValueError that recommends `call`."""
        owner = self._owner() if self._owner is not None else None
        if owner is None:
            raise ValueError(
                f"x is missing: nothing is kept of the last forward pass (its output was dropped or replaced by a "
                f"wrapper, or it was compiled); use {call}"
            )
        return [owner if tensor is None else tensor for tensor in self._tensors]

    def _forget(self, dead: weakref.ref[Tensor]) -> None:
        if dead is self._owner:  # not when a later forward pass has taken over
            self._tensors, self._owner = [], None

    def __reduce__(self) -> tuple[type["Recall"], tuple[()]]:
        return (Recall, ())
