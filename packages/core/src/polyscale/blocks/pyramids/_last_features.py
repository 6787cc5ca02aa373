"""Features of the last forward pass, for accessors without argument: `model(x)`, then `model.get_features()`.

A plain attribute would keep them alive until the next forward pass and break copy.deepcopy (EMA) and pickle.
"""

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor


class LastFeatures:
    """The features of the last eager forward pass, as long as its output is alive; empty in copies of the module."""

    # holds the list for as long as the output lives; a copy of it holds nothing
    _kept: "weakref.finalize[[list[Tensor]], Tensor] | None" = None

    def keep(self, features: Sequence[Tensor], output: Tensor) -> None:
        """Keep `features` until `output` dies or another pass follows; `output` itself must not be among them."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined]
            return
        if self._kept is not None:
            self._kept.detach()
        self._kept = weakref.finalize(output, list.clear, list(features))
        self._kept.atexit = False

    def get(self, call: str) -> list[Tensor]:
        """Return the features and, as the last item, the output; ValueError that recommends `call` without them."""
        kept = self._kept.peek() if self._kept is not None else None
        if kept is None:
            raise ValueError(
                f"x is missing: nothing is kept of the last forward pass (its output was dropped or replaced by a "
                f"wrapper, or it was compiled); use {call}"
            )
        output, _, (features,), _ = kept
        return [*features, output]
