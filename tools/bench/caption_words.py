"""Do words look at what they name? `python tools/bench/caption_words.py [MODEL] [--data DATA --split SPLIT]`.

The pointing game: for each word of the model's captions that names a category of the image, the largest place of its
map lies in a box of this category or not. Images with one category only are left out on the embedded world, where every
object would be right. Beside it: the middle of the image, and the share of the image that the boxes cover (chance).
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from caption_det import Predictor
from caption_det.build import build_set
from caption_det.config import Config
from caption_det.describer import Decoding
from caption_det.evaluation.mentions import MentionFinder
from polyscale.settings import resolve_for


def main() -> None:
    """Play the game and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="nano")
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--images", help="folder of the images")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=200, help="images")
    options = parser.parse_args()
    config = resolve_for(Config, None, {"path": options.data, "images": options.images})
    predictor = Predictor(options.model, "cpu", "fp32", Decoding(beams=1))
    dataset = build_set(config, options.split, predictor.describer.image_size)
    rows = []
    for index in range(min(options.limit, len(dataset))):
        record = dataset.record(index)
        if record.boxes is None or (options.data == "synthetic" and len(set(record.labels.tolist())) < 2):
            continue
        image = dataset.original(index)
        fractions = record.boxes / np.array([*image.shape[1::-1], *image.shape[1::-1]])
        caption = predictor(image).caption or ""
        for word, places in predictor.map_words(image, caption):
            for kind in MentionFinder(dataset.categories).find([word.lower()]):
                boxes = fractions[record.labels == kind]
                if len(boxes):
                    rows.append([inside(largest(places), boxes), inside((0.5, 0.5), boxes), covered(boxes)])
    found, middle, chance = np.mean(rows, axis=0)
    print(f"{options.model}: {len(rows)} words, {found:.3f} right; the middle {middle:.3f}, chance {chance:.3f}")


def largest(places: NDArray[np.float32]) -> tuple[float, float]:
    """The middle (x, y) of the largest place of a map, as fractions."""
    y, x = np.unravel_index(places.argmax(), places.shape)
    return (float(x) + 0.5) / places.shape[1], (float(y) + 0.5) / places.shape[0]


def inside(place: tuple[float, float], boxes: NDArray[np.float64]) -> bool:
    return any(x1 <= place[0] <= x2 and y1 <= place[1] <= y2 for x1, y1, x2, y2 in boxes)


def covered(boxes: NDArray[np.float64]) -> float:
    """The share of the image that lies in a box."""
    grid = (np.arange(100) + 0.5) / 100
    across, down = ((boxes[:, i, None] <= grid) & (grid <= boxes[:, i + 2, None]) for i in range(2))
    return float((down[:, :, None] & across[:, None]).any(0).mean())


if __name__ == "__main__":
    main()
