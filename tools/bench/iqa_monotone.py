"""Does a quality model fall with every distortion? `python tools/bench/iqa_monotone.py nano PHOTOS [--crop 384]`.

Every pristine photo of a folder (the Kodak suite, say) is scored untouched and at levels 1 to 5 of every kind of
distortion, all levels from one seed. Of the (photo, kind) pairs the table gives the share that falls strictly from
level 1 to level 5, the share that falls strictly from the untouched photo on, the share whose six scores have a
Spearman correlation of at most -0.9 with the level, and the share of neighbouring levels in the right order; equal
scores are not in order. Photos go in whole, as `iqa predict` sees them, or as a crop of their middle.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from iqa.data.distortions import DISTORTIONS, distort
from iqa.predict import Predictor
from polyscale.data.images import read_image
from polyscale.data.listing import list_images

LEVELS = range(6)  # 0: untouched


def main() -> None:
    """Scores and prints a Markdown table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a shipped name, a folder or a hub id")
    parser.add_argument("photos", type=Path, help="folder of pristine images")
    parser.add_argument("--crop", type=int, help="side of a crop of the middle (default: the whole photo)")
    parser.add_argument("--kinds", nargs="+", choices=list(DISTORTIONS), default=list(DISTORTIONS), metavar="KIND")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="all scores and shares as one JSON object")
    options = parser.parse_args()
    files = list_images(options.photos)
    if not files:
        parser.error(f"{options.photos}: no images")
    predictor = Predictor(options.model)
    scores = np.stack([_scores(predictor, file, options.kinds, options.crop, options.seed) for file in files])
    shares = {kind: _shares(scores[:, i]) for i, kind in enumerate(options.kinds)}
    shares["all"] = _shares(scores.reshape(-1, len(LEVELS)))
    if options.json:
        rows = [dict(zip(options.kinds, row.tolist(), strict=True)) for row in scores]
        named = dict(zip((file.name for file in files), rows, strict=True))
        sys.stdout.write(json.dumps({"shares": shares, "scores": named}) + "\n")
    else:
        sys.stdout.write(
            _table(f"{options.model}, {len(files)} photos, crop {options.crop}, seed {options.seed}", shares)
        )


def _scores(predictor: Predictor, file: Path, kinds: list[str], crop: int | None, seed: int) -> NDArray[np.float64]:
    """Scores [kinds, 6] of a photo at levels 0 to 5."""
    photo = read_image(file)
    if crop is not None:
        top, left = (max(n - crop, 0) // 2 for n in photo.shape[:2])
        photo = np.ascontiguousarray(photo[top : top + crop, left : left + crop])
    untouched = predictor(photo).score
    rows = []
    for kind in kinds:
        key = [seed, *file.name.encode(), *kind.encode()]
        versions = [distort(photo, kind, level, np.random.default_rng(key)) for level in LEVELS[1:]]
        rows.append([untouched, *(prediction.score for prediction in predictor(versions))])
    return np.array(rows)


def _shares(scores: NDArray[np.float64]) -> dict[str, float]:
    """Shares over scores [N, 6]."""
    falls = np.diff(scores, axis=1) < 0
    constant = np.ptp(scores, axis=1) == 0
    rank = [0.0 if c else float(spearmanr(LEVELS, row).statistic) for c, row in zip(constant, scores, strict=True)]
    return {
        "levels": float(falls[:, 1:].all(1).mean()),
        "strict": float(falls.all(1).mean()),
        "spearman_0.9": float((np.array(rank) <= -0.9).mean()),
        "neighbours": float(falls.mean()),
        "mean_drop": float((scores[:, 0] - scores[:, -1]).mean()),
    }


def _table(setting: str, shares: dict[str, dict[str, float]]) -> str:
    head = "| kind | 1 to 5 fall | 0 to 5 fall | Spearman <= -0.9 | neighbours in order | score lost at level 5 |"
    lines = [setting, "", head, "|---|---|---|---|---|---|"]
    for kind, s in shares.items():
        percent = " | ".join(f"{100 * s[key]:.1f} %" for key in ("levels", "strict", "spearman_0.9", "neighbours"))
        lines.append(f"| {kind} | {percent} | {s['mean_drop']:.3g} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
