"""Means of losses between two lines of the log, each over what was seen of it."""

from collections.abc import Mapping
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor


class Meter:
    """Weighted sums by name; a name counts only where it appears."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}  # name -> (sum of weight * value, sum of weights)

    def add(self, values: Mapping[str, Tensor], weight: Tensor | float = 1.0) -> None:
        """Count scalar `values` with `weight`; nothing is copied from the device."""
        for name, value in values.items():
            value = value.detach().float()
            added = torch.as_tensor(weight, dtype=torch.float32, device=value.device)
            total, weights = self._sums.get(name, (0.0, 0.0))
            # a weight of 0 counts nothing, be the mean over nothing NaN
            self._sums[name] = (total + torch.where(added > 0, value * added, 0.0), weights + added)

    def mean(self) -> dict[str, float]:
        """Return the means over all processes, of every name that any of them saw, and start anew.

        Every process must call it; their names may differ. {} if nothing was added anywhere.
        """
        together: dict[str, list[float]] = {}
        for sums in gather_object([self.state_dict()]):
            for name, (total, weight) in sums.items():
                pair = together.setdefault(name, [0.0, 0.0])
                pair[0] += total
                pair[1] += weight
        self._sums.clear()
        return {name: total / weight for name, (total, weight) in together.items() if weight}

    def state_dict(self) -> dict[str, tuple[float, float]]:
        """Return this process's sums as numbers."""
        return {name: (float(total), float(weight)) for name, (total, weight) in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from sums that `state_dict` returned."""
        self._sums = {
            name: (torch.tensor(total, device=device), torch.tensor(weight, device=device))
            for name, (total, weight) in state.items()
        }
