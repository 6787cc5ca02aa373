"""What the network is trained on: distance to the mean opinion, order and linearity within a batch, ordered pairs,
and the likelihood of its own spread.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from iqa.config import LossSettings
from polyscale.losses import norm_in_norm_loss, ranking_loss


class Objective:
    """(what the network says, targets, pair scores) -> {"loss": total, parts...}; all scalars, parts already weighted.

    Scores and targets [B] are shares of the opinions' range. The network says (scores, scores of the statistics alone
    or None, log variances), see QualityNet.forward; the statistics' own scores get the same loss. Pair scores [P, 2]
    belong to one picture at two levels of one distortion, the better first; there may be several kinds of them.
    """

    def __init__(self, settings: LossSettings, low: float, high: float) -> None:
        self.settings = settings
        self.margin = settings.margin / (high - low)  # from the user's units

    def __call__(
        self, said: tuple[Tensor, Tensor | None, Tensor], targets: Tensor, pairs: Sequence[Tensor] = ()
    ) -> dict[str, Tensor]:
        scores, plain, log_variance = said
        parts = self._distance(scores, targets)
        if plain is not None:
            parts["statistics"] = sum(self._distance(plain, targets).values(), start=plain.new_zeros(()))
        if self.settings.pairs:
            for name, pair in zip(("pairs", "statistics_pairs"), pairs, strict=False):
                wrong = (self.margin - (pair[:, 0] - pair[:, 1])).clamp(min=0)
                parts[name] = self.settings.pairs * wrong.mean()
        if self.settings.spread:
            error = (scores.detach() - targets) ** 2
            likelihood = 0.5 * (log_variance + error * (-log_variance).exp())
            parts["spread"] = self.settings.spread * likelihood.mean()
        return {"loss": sum(parts.values(), start=scores.new_zeros(())), **parts}

    def _distance(self, scores: Tensor, targets: Tensor) -> dict[str, Tensor]:
        s = self.settings
        distance = F.l1_loss if s.main == "l1" else F.mse_loss
        parts: dict[str, Tensor] = {s.main: distance(scores, targets)}
        if s.norm_in_norm:
            parts["norm_in_norm"] = s.norm_in_norm * norm_in_norm_loss(scores, targets)
        if s.ranking:
            parts["ranking"] = s.ranking * ranking_loss(scores, targets, self.margin, self.margin)
        return parts
