"""How scores are said: their range, their direction, and how many decimals mean anything."""

import math


def said_range(low: float, high: float) -> str:
    """What a user needs to read a score."""
    return f"{low:g} to {high:g}, higher is better"


def decimals(low: float, high: float) -> int:
    """Decimals that show a thousandth of the range: 1 for 0 to 100, 3 for 0 to 1."""
    return max(0, 3 - math.floor(math.log10(high - low)))
