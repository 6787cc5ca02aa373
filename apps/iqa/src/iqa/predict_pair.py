"""Two images compared by their scores."""

import math
from dataclasses import dataclass
from typing import Any

from iqa.predict import Prediction


@dataclass(frozen=True)
class ImagePair:
    """Which of two images is better, and how sure that is.

    Attributes:
        first: an image's prediction.
        second: the other's.
        alike: whether they look like versions of one image; their errors are then not independent, and the comparison
            is more reliable than `spread` suggests.
    """

    first: Prediction
    second: Prediction
    alike: bool = False

    @property
    def difference(self) -> float:
        """Score of the first less that of the second."""
        return self.first.score - self.second.score

    @property
    def spread(self) -> float:
        """Standard deviation of the difference, the two errors taken as independent."""
        return math.hypot(self.first.spread, self.second.spread)

    @property
    def probability(self) -> float:
        """Probability that the first is the better image, errors taken as normal."""
        if self.spread == 0:
            return 0.5 + 0.5 * ((self.difference > 0) - (self.difference < 0))
        return 0.5 + 0.5 * math.erf(self.difference / self.spread / math.sqrt(2))

    @property
    def exceeds(self) -> bool:
        """Whether the difference is larger than its spread."""
        return abs(self.difference) > self.spread

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold; `better` is the name of the better image, None where the difference is too small."""
        return {
            "images": [self.first.to_dict(), self.second.to_dict()],
            "difference": self.difference,
            "spread": self.spread,
            "exceeds_spread": self.exceeds,
            "probability_first_better": self.probability,
            "versions_of_one_picture": self.alike,
            "better": self._better.name if self.exceeds else None,
        }

    def verdict(self) -> str:
        """One line for the user."""
        digits = self.first.score_range.decimals
        size = f"difference {abs(self.difference):.{digits}f}, spread of the difference {self.spread:.{digits}f}"
        if not self.exceeds:
            return f"too close to call: {size}"
        chance = max(self.probability, 1 - self.probability)
        return f"{self._better.name} is better: {size}, right with probability {chance:.2f} by the model's own spread"

    @property
    def _better(self) -> Prediction:
        return self.first if self.difference > 0 else self.second
