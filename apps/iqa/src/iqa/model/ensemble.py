"""What reads scene statistics: a committee of small networks with a score each, and what they tell the written network.

Led through the written network alone the same numbers learnt slower and less; taken from the opinions before the
written network sees them, they left it nothing to learn (docs/results.md).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa.features.spatial import SceneStatistics, Standardise
from iqa.model.hypernet import TARGET

STATISTICS_WIDTH = 64  # numbers that the statistics get in the judged vector
MEMBERS = 4


class Committee(nn.Module):
    """x [B, K] -> [B, members]: the scores of `members` networks of `depth` hidden layers over the same numbers.

    They differ by their first weights and by dropout alone; their mean errs less than any of them.
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
        x = self._kept(self.first(x).unflatten(1, (self.members, -1)).transpose(0, 1))
        for weight, offset in zip(self.deeper, self.offsets, strict=True):
            x = self._kept(torch.baddbmm(offset.view(self.members, 1, -1), x, weight))
        scores: Tensor = torch.bmm(x, self.last)[..., 0].transpose(0, 1) + self.bias
        return scores

    def _kept(self, x: Tensor) -> Tensor:
        return F.dropout(F.gelu(x), self.dropout, self.training)


def _weights(members: int, before: int, after: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(members, before, after).uniform_(-1, 1) * (3 / before) ** 0.5)


class StatisticsBranch(nn.Module):
    """SceneStatistics [B, K] -> [B, 64] for the judged vector, [B, 112] for the hyper-network, and [B, MEMBERS], the
    committee's scores.
    """

    def __init__(self, dropout: float, hidden: int = 256) -> None:
        super().__init__()
        self.measure = SceneStatistics()
        channels = self.measure.channels
        self.standardise = Standardise(channels)
        self.hidden = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Dropout(dropout))
        self.say = nn.Linear(hidden, STATISTICS_WIDTH)
        self.shift = nn.Linear(hidden, TARGET[1])
        self.committee = Committee(channels, hidden // 2, MEMBERS, 3, dropout)

    def forward(self, statistics: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.standardise(statistics)
        hidden = self.hidden(x)
        return self.say(hidden), self.shift(hidden), self.committee(x)
