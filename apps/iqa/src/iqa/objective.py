"""What the network is trained on: distance to the mean opinion, order and linearity within a batch, the order of
levels of distortion, and the likelihood of its own spread.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from iqa.config import LossSettings
from iqa.data.synthetic.labels import CHAIN
from polyscale.errors import UserError
from polyscale.losses import norm_in_norm_loss, ranking_loss

MARGIN = 0.05  # share of the opinions' range, where loss.margin is not given


class Objective:
    """(what the network says, targets) -> {"loss": total, parts...}; all scalars, parts already weighted.

    Targets [B] are shares of the opinions' range. The network says (scores, those of each reader, log variances), all
    [B + 6 C], see QualityNet.forward; every reader has the same loss, the parts are their means. The first B belong to
    the targets, the last 6 C to C chains (data.views.ChainSet): all untouched images first, the worst level last.
    """

    def __init__(self, settings: LossSettings, low: float, high: float) -> None:
        self.settings = settings
        self.margin = MARGIN if settings.margin is None else settings.margin / (high - low)  # from the user's units
        if self.margin >= 1:
            raise UserError(
                f"loss.margin: {settings.margin:g} given, but the opinions range from {low:g} to {high:g} only: no "
                "two images would be ranked"
            )

    def __call__(self, said: tuple[Tensor, list[Tensor], Tensor], targets: Tensor) -> dict[str, Tensor]:
        scores, readers, log_variance = said
        each = [self._parts(reader, targets) for reader in readers]
        parts = {name: torch.stack([e[name] for e in each]).mean() for name in each[0]}
        if self.settings.spread:
            log_variance, error = log_variance[: len(targets)], (scores[: len(targets)].detach() - targets) ** 2
            likelihood = 0.5 * (log_variance + error * (-log_variance).exp())
            parts["spread"] = self.settings.spread * likelihood.mean()
        return {"loss": sum(parts.values(), start=scores.new_zeros(())), **parts}

    def _parts(self, scores: Tensor, targets: Tensor) -> dict[str, Tensor]:
        s = self.settings
        scores, chained = scores[: len(targets)], scores[len(targets) :]
        distance = F.l1_loss if s.main == "l1" else F.mse_loss
        parts: dict[str, Tensor] = {s.main: distance(scores, targets)}
        if s.norm_in_norm:
            parts["norm_in_norm"] = s.norm_in_norm * norm_in_norm_loss(scores, targets)
        if s.ranking:
            parts["ranking"] = s.ranking * ranking_loss(scores, targets, self.margin, self.margin)
        if s.chains and len(chained):
            levels = chained.unflatten(0, (CHAIN, -1))
            parts["chains"] = s.chains * (self.margin - (levels[:-1] - levels[1:])).clamp(min=0).mean()
        return parts
