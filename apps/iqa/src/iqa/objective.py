"""The training loss.

Distance to the MOS, order and linearity within a batch, the order of distortion levels, ties between an image and
itself after an edit that no viewer sees, and the likelihood of the predicted standard deviation.
"""

import torch.nn.functional as F
from torch import Tensor

from iqa.config import SEQUENCE_IMAGES, LossSettings
from polyscale.errors import UserError
from polyscale.losses import norm_in_norm_loss, ranking_loss

MARGIN = 0.05  # share of the range of the MOS, where loss.margin is not given


class Objective:
    """The loss of a step and its weighted parts.

    Args:
        settings: the weights.
        low: lowest MOS.
        high: highest MOS.
        ties: pairs at the end of a batch that must score alike (data.ties).

    Raises:
        UserError: a margin as large as the range.
    """

    def __init__(self, settings: LossSettings, low: float, high: float, ties: int = 0) -> None:
        self.settings, self.ties = settings, ties
        self.margin = MARGIN if settings.margin is None else settings.margin / (high - low)  # from the user's units
        if self.margin >= 1:
            raise UserError(
                f"loss.margin: {settings.margin:g} given, but the MOS range from {low:g} to {high:g} only: no two "
                "images would be ranked"
            )

    def __call__(self, outputs: tuple[Tensor, Tensor], targets: Tensor) -> dict[str, Tensor]:
        """Compute the loss.

        Args:
            outputs: (scores, log variances), each [B + 6 C + 2 T] for B labelled images followed by C ranked sequences
                of 6, first all originals, last all images of the worst level, and by T ties, first all images as they
                are, then all edited ones.
            targets: MOS [B] as shares of their range.

        Returns:
            {"loss": total, parts...}, scalars; the parts add up to the total.
        """
        scores, log_variance = outputs
        parts = self._parts(scores, targets)
        if self.settings.spread:
            log_variance, error = log_variance[: len(targets)], (scores[: len(targets)].detach() - targets) ** 2
            likelihood = 0.5 * (log_variance + error * (-log_variance).exp())
            parts["spread"] = self.settings.spread * likelihood.mean()
        return {"loss": sum(parts.values(), start=scores.new_zeros(())), **parts}

    def _parts(self, scores: Tensor, targets: Tensor) -> dict[str, Tensor]:
        s = self.settings
        count = len(scores) - 2 * self.ties
        scores, ranked, tied = scores[: len(targets)], scores[len(targets) : count], scores[count:]
        distance = F.l1_loss if s.main == "l1" else F.mse_loss
        parts: dict[str, Tensor] = {s.main: distance(scores, targets)}
        if s.norm_in_norm:
            parts["norm_in_norm"] = s.norm_in_norm * norm_in_norm_loss(scores, targets)
        if s.ranking:
            parts["ranking"] = s.ranking * ranking_loss(scores, targets, self.margin, self.margin)
        if s.ranked_levels and len(ranked):
            levels = ranked.unflatten(0, (SEQUENCE_IMAGES, -1))
            parts["ranked_levels"] = s.ranked_levels * (self.margin - (levels[:-1] - levels[1:])).clamp(min=0).mean()
        if s.ties and self.ties:
            parts["ties"] = s.ties * (tied[: self.ties] - tied[self.ties :]).abs().mean()
        return parts
