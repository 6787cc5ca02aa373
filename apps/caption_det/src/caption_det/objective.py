"""What the model is trained on: the words of the captions, and class, place and objectness of the boxes."""

from torch import Tensor

from caption_det.config import LossSettings
from caption_det.model import CaptionDetOutput


class Objective:
    """The training loss: the model's own parts, weighted."""

    def __init__(self, settings: LossSettings) -> None:
        self.settings = settings

    def __call__(self, output: CaptionDetOutput) -> dict[str, Tensor]:
        """Return {"loss": total, parts...} of a forward pass with labels: scalars, parts already weighted."""
        assert output.losses is not None
        weights = {"caption": self.settings.caption, "words": self.settings.words}
        parts = {name: weights.get(name, self.settings.detection) * value for name, value in output.losses.items()}
        return {"loss": sum(parts.values(), start=0.0 * next(iter(parts.values()))), **parts}
