"""Two images compared by their scores."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iqa.data.duplicates import are_alike
from iqa.data.edits import EDITS
from iqa.data.resize import read_network_pixels
from iqa.predict import Prediction, Predictor

INVISIBLE = ("saved again", "1 px cut off", "mirrored")  # what a difference between two versions has to exceed


@dataclass(frozen=True)
class ImagePair:
    """Which of two images is better, and how sure that is.

    Attributes:
        first: an image's prediction.
        second: the other's.
        moved: for two versions of one image, the most that an invisible edit of either moves its score; None for two
            images of their own. The errors of two versions are nearly the same, so the model's spread says nothing
            about their difference.
    """

    first: Prediction
    second: Prediction
    moved: float | None = None

    @property
    def difference(self) -> float:
        """Score of the first less that of the second."""
        return self.first.score - self.second.score

    @property
    def spread(self) -> float | None:
        """Standard deviation of the difference, the two errors taken as independent; None for two versions."""
        return math.hypot(self.first.spread, self.second.spread) if self.moved is None else None

    @property
    def probability(self) -> float | None:
        """Probability that the first is the better image, errors taken as normal; None for two versions."""
        if self.spread is None:
            return None
        if self.spread == 0:
            return 0.5 + 0.5 * ((self.difference > 0) - (self.difference < 0))
        return 0.5 + 0.5 * math.erf(self.difference / self.spread / math.sqrt(2))

    @property
    def exceeds(self) -> bool:
        """Whether the difference is larger than its spread, or than what invisible edits do."""
        return abs(self.difference) > (self.moved if self.spread is None else self.spread)  # type: ignore[operator]

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold, with the digits of `Prediction.to_dict`.

        `better` is the name of the better image, None where the difference is too small.
        """
        digits = self.first.score_range.decimals + 1

        def rounded(value: float | None, digits: int = digits) -> float | None:
            return None if value is None else round(value, digits)

        return {
            "images": [self.first.to_dict(), self.second.to_dict()],
            "difference": rounded(self.difference),
            "versions_of_one_image": self.moved is not None,
            "invisible_edits_move": rounded(self.moved),
            "spread": rounded(self.spread),
            "probability_first_better": rounded(self.probability, 4),
            "better": self._better.name if self.exceeds else None,
        }

    def verdict(self) -> str:
        """One line for the user."""
        digits = self.first.score_range.decimals
        size = f"difference {abs(self.difference):.{digits}f}"
        if self.moved is None:
            size += f", spread of the difference {self.spread:.{digits}f}"
        else:
            size += f"; saving again, 1 px less or mirroring moves these scores by up to {self.moved:.{digits}f}"
        if not self.exceeds:
            return f"too close to call: {size}"
        if self.probability is None:
            return f"{self._better.name} scores higher: {size}"
        chance = max(self.probability, 1 - self.probability)
        return f"{self._better.name} is better: {size}, right with probability {chance:.2f} by the model's own spread"

    @property
    def _better(self) -> Prediction:
        return self.first if self.difference > 0 else self.second


def compare_images(predictor: Predictor, first: Path, second: Path) -> ImagePair:
    """Score two image files and compare them.

    Raises:
        UserError: a file that cannot be read; it is named.
    """
    one, other = predictor([first, second])
    if not are_alike(first, second):
        return ImagePair(one, other)
    return ImagePair(one, other, max(change_by(predictor, file, INVISIBLE) for file in (first, second)))


def change_by(predictor: Predictor, file: Path, edits: Iterable[str]) -> float:
    """Return the most that one of these EDITS, made at the network's size, moves the score of an image file."""
    image = read_network_pixels(file, predictor.size).transpose(1, 2, 0)
    untouched, *edited = predictor([image, *(EDITS[name](image) for name in edits)])
    return max(abs(each.score - untouched.score) for each in edited)
