"""Numbers of the tables that data sets come with; `polyscale.data.tables` reads the tables."""

import math
from pathlib import Path

from polyscale.errors import UserError


def score_of(path: Path, name: str, text: str) -> float:
    """A score, NaN where the cell is empty or says so; UserError naming the image for anything else."""
    try:
        score = float(text) if text else math.nan
    except ValueError as error:
        raise UserError(f"{path}: score of {name} is '{text}', not a number") from error
    if math.isinf(score):
        raise UserError(f"{path}: score of {name} is '{text}', not a finite number")
    return score
