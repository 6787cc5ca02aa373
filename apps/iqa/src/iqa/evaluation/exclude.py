"""Images to leave out of a comparison: near-duplicates of training images, named by a CSV."""

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from polyscale.errors import UserError


def read_exclusions(path: Path, names: Sequence[str]) -> tuple[NDArray[np.bool_], list[str]]:
    """Read which of `names` remain when near-duplicates are left out.

    Args:
        path: a CSV with the columns image_name and near_dup (0 or 1).
        names: of the images; a name with folders is found by the name of its file too.

    Returns:
        Bool [N], True for the images that remain, and notes.

    Raises:
        UserError: a file that cannot be read, a missing column, another value than 0 or 1, and a CSV that leaves out
            no image, or all.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    missing = [column for column in ("image_name", "near_dup") if column not in (rows[0] if rows else {})]
    if missing:
        raise UserError(f"{path}: no column {' and '.join(missing)}")
    wrong = [row["image_name"] for row in rows if row["near_dup"] not in ("0", "1")]
    if wrong:
        raise UserError(f"{path}: near_dup of {wrong[0]} is neither 0 nor 1")
    flagged = {row["image_name"] for row in rows if row["near_dup"] == "1"}
    kept = np.array([not flagged & {name, PurePosixPath(name).name} for name in names])
    left_out = int((~kept).sum())
    if left_out in (0, len(names)):
        raise UserError(f"{path}: leaves out {left_out} of the {len(names)} images; is it of another data set?")
    absent = len(flagged) - left_out
    return kept, [f"{absent} of {len(flagged)} images of {path.name} are not in this split"] if absent else []
