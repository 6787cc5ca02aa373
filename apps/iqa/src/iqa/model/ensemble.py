"""An ensemble of small MLPs on the scene statistics, and the projections that feed the target network.

Feeding the statistics only through the target network trained slower and reached lower SRCC; training it on the
ensemble's residual left nothing to learn (docs/results.md).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa.features.running_norm import Standardise
from iqa.features.spatial import SceneStatistics
from iqa.model.hypernet import TARGET

STATISTICS_WIDTH = 64  # numbers that the statistics get in the target network's input
MEMBERS = 4


class MlpEnsemble(nn.Module):
    """Scores of `members` MLPs over the same numbers, computed together.

    The members differ by their first weights and by dropout alone; their mean has a smaller error than any of them.

    Args:
        channels: K, numbers of the input.
        hidden: width of the hidden layers.
        members: number of MLPs.
        depth: hidden layers of each.
        dropout: after every hidden layer.
    """

    def __init__(self, channels: int, hidden: int, members: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.members, self.dropout = members, dropout
        self.first = nn.Linear(channels, members * hidden)
        self.deeper = nn.ParameterList(_weights(members, hidden, hidden) for _ in range(depth - 1))
        self.offsets = nn.ParameterList(nn.Parameter(torch.zeros(members * hidden)) for _ in range(depth - 1))
        self.last = _weights(members, hidden, 1)
        self.bias = nn.Parameter(torch.full((members,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, K] to scores [B, members]."""
        x = self._activate(self.first(x).unflatten(1, (self.members, -1)).transpose(0, 1))
        for weight, offset in zip(self.deeper, self.offsets, strict=True):
            x = self._activate(torch.baddbmm(offset.view(self.members, 1, -1), x, weight))
        scores: Tensor = torch.bmm(x, self.last)[..., 0].transpose(0, 1) + self.bias
        return scores

    def _activate(self, x: Tensor) -> Tensor:
        return F.dropout(F.gelu(x), self.dropout, self.training)


def _weights(members: int, before: int, after: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(members, before, after).uniform_(-1, 1) * (3 / before) ** 0.5)


class StatisticsBranch(nn.Module):
    """What the network makes of SceneStatistics; the names of its parts are those of saved weights."""

    def __init__(self, dropout: float, hidden: int = 256) -> None:
        super().__init__()
        self.measure = SceneStatistics()
        channels = self.measure.channels
        self.standardise = Standardise(channels)
        self.hidden = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Dropout(dropout))
        self.say = nn.Linear(hidden, STATISTICS_WIDTH)
        self.shift = nn.Linear(hidden, TARGET[1])
        self.committee = MlpEnsemble(channels, hidden // 2, MEMBERS, 3, dropout)

    def forward(self, statistics: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map statistics [B, K] to three outputs.

        Returns:
            [B, 64] for the target network's input, [B, 112] to add to the content features, and [B, MEMBERS], the
            ensemble's scores.
        """
        x = self.standardise(statistics)
        hidden = self.hidden(x)
        return self.say(hidden), self.shift(hidden), self.committee(x)
