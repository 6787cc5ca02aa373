"""The scores of many images put in order, filtered, written as CSV; and two images compared."""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from iqa.predict import Prediction
from iqa.units import decimals
from polyscale.commands.output import csv_cell
from polyscale.data.naming import natural_key

Order = Literal["none", "score", "name"]
FIELDS = ("name", "file", "score", "spread", "low", "high", "lower_better", "width", "height")


def ordered(results: Iterable[Prediction], order: Order) -> list[Prediction]:
    """none: as they came; score: the worst first; name: img2 before img10."""
    if order == "score":
        return sorted(results, key=lambda result: result.score)
    if order == "name":
        return sorted(results, key=lambda result: natural_key(result.name))
    return list(results)


def csv_text(results: Iterable[Prediction]) -> str:
    """FIELDS as a header, then one line an image."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: csv_cell(value) for key, value in result.to_dict().items()} for result in results)
    return buffer.getvalue()


@dataclass(frozen=True)
class PairOfPictures:
    """Which of two images is better, and how sure that is.

    difference: score of `first` less that of `second`. spread: the standard deviation of that difference, their two
    spreads taken as independent. probability: that opinions would prefer `first`, their errors taken as normal.
    alike: whether they look like versions of one image, whose errors are not independent: their order is then surer.
    """

    first: Prediction
    second: Prediction
    alike: bool = False

    @property
    def difference(self) -> float:
        return self.first.score - self.second.score

    @property
    def spread(self) -> float:
        return math.hypot(self.first.spread, self.second.spread)

    @property
    def probability(self) -> float:
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
            "better": (self.first if self.difference > 0 else self.second).name if self.exceeds else None,
        }

    def verdict(self) -> str:
        """One line for the user."""
        digits = decimals(self.first.low, self.first.high)
        size = f"difference {abs(self.difference):.{digits}f}, spread of the difference {self.spread:.{digits}f}"
        if not self.exceeds:
            return f"too close to call: {size}"
        better = self.first if self.difference > 0 else self.second
        chance = max(self.probability, 1 - self.probability)
        return f"{better.name} is better: {size}, right with probability {chance:.2f} by the model's own spread"
