"""What the network is trained on: distance to the mean opinion, order and linearity within a batch, ordered pairs,
and the likelihood of its own spread.
"""

import torch.nn.functional as F
from torch import Tensor

from iqa.config import LossSettings
from polyscale.losses import norm_in_norm_loss, ranking_loss


class Objective:
    """(scores, log variances, targets, pair scores) -> {"loss": total, parts...}; all scalars, parts already weighted.

    Scores and targets [B] are shares of the opinions' range; `unit` is one unit of the user's scale as such a share.
    Pair scores [P, 2] belong to one picture at two levels of one distortion, the better first; None where there are
    none.
    """

    def __init__(self, settings: LossSettings, low: float, high: float) -> None:
        self.settings, self.unit = settings, 1 / (high - low)

    def __call__(
        self, scores: Tensor, log_variance: Tensor, targets: Tensor, pairs: Tensor | None = None
    ) -> dict[str, Tensor]:
        s = self.settings
        distance = F.l1_loss if s.main == "l1" else F.mse_loss
        parts: dict[str, Tensor] = {s.main: distance(scores, targets)}
        if s.norm_in_norm:
            parts["norm_in_norm"] = s.norm_in_norm * norm_in_norm_loss(scores, targets)
        if s.ranking:
            parts["ranking"] = s.ranking * ranking_loss(scores, targets, s.margin * self.unit, s.margin * self.unit)
        if pairs is not None and s.pairs:
            parts["pairs"] = s.pairs * (s.margin * self.unit - (pairs[:, 0] - pairs[:, 1])).clamp(min=0).mean()
        if s.spread:
            error = (scores.detach() - targets) ** 2
            parts["spread"] = s.spread * (0.5 * (log_variance + error * (-log_variance).exp())).mean()
        return {"loss": sum(parts.values(), start=scores.new_zeros(())), **parts}
