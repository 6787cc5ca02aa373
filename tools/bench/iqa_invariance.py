"""What edits do to a model's scores: `python tools/bench/iqa_invariance.py nano PHOTOS [--count 80]`.

For every edit that no viewer sees (iqa.data.edits) the table gives the mean and the largest change of the score, as
shares of its range times 100. Below it stand the share of photographs whose scores fall from JPEG quality 95 over 60
and 30 to 10, and the share of all scores that lie in the top hundredth of the range. Photographs are taken evenly from
the folder; edits are made at their own size, as a user's program would make them.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iqa.data.edits import EDITS, save_again
from iqa.predict import Predictor
from polyscale.data.images import read_image
from polyscale.data.listing import list_images

QUALITIES = (95, 60, 30, 10)


def main() -> None:
    """Scores and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a shipped name, a folder or a hub id")
    parser.add_argument("photos", type=Path, help="folder of photographs")
    parser.add_argument("--count", type=int, help="how many of them (default: all)")
    options = parser.parse_args()
    files = list_images(options.photos)
    if not files:
        parser.error(f"{options.photos}: no images")
    if options.count:
        files = files[:: max(1, len(files) // options.count)][: options.count]
    predictor = Predictor(options.model)
    rows = np.stack([scores_of(predictor, file) for file in files])
    untouched, edited, coded = rows[:, 0], rows[:, 1 : 1 + len(EDITS)], rows[:, 1 + len(EDITS) :]
    lines = [f"{options.model}, {len(files)} photographs", "", "| edit | mean change | largest |", "|---|---|---|"]
    for name, column in zip(EDITS, edited.T, strict=True):
        change = np.abs(column - untouched)
        lines.append(f"| {name} | {change.mean():.2f} | {change.max():.1f} |")
    ordered = (np.diff(coded, axis=1) < 0).all(1).mean()
    order = " > ".join(map(str, QUALITIES))
    lines.append(
        f"\nJPEG {order} in order: {100 * ordered:.1f} %; in the top point: {100 * (untouched >= 99).mean():.1f} %"
    )
    sys.stdout.write("\n".join(lines) + "\n")


def scores_of(predictor: Predictor, file: Path) -> NDArray[np.float64]:
    """Score a photograph untouched, after every edit, and saved at QUALITIES, on 0 to 100."""
    photo = read_image(file)
    images = [photo, *(edit(photo) for edit in EDITS.values()), *(save_again(photo, quality) for quality in QUALITIES)]
    low, high = predictor.score_range
    return np.array([100 * (each.score - low) / (high - low) for each in predictor(images)])


if __name__ == "__main__":
    main()
