"""Set the strengths of iqa's distortion levels: `python tools/recipes/iqa_levels.py FOLDER [KIND ...]`.

Needs piq 0.8.

White noise is the yardstick. MDSI, VSI and HaarPSI (piq) of a distorted image are each turned into the deviation of
the white noise that has the same value on the same images, and the geometric mean of the three is how visible a
distortion is. A level's strength is the one at which that reaches the level's entry in YARDSTICK. A kind that cannot
get there within its BOUNDS spreads its five levels over what it reaches, and REACH in iqa.data.distortions says which
level of the others its fifth looks like. FOLDER holds pristine images of 256 pixels or more; the middle of 8 is used.
"""

import sys

import numpy as np
import torch
from numpy.typing import NDArray

from iqa.data.distortions import DISTORTIONS
from polyscale.data.images import read_image
from polyscale.data.listing import list_images

Array = NDArray[np.float64]

YARDSTICK = np.array([3.5, 7.5, 15.0, 28.0, 50.0])  # of 255
NOISE = np.geomspace(0.5, 150, 16)
PHOTOS, SIDE, STEPS = 8, 256, 12
BOUNDS = {  # what a kind's strength can be and still mean that kind
    "gaussian_blur": (0.35, 8), "lens_blur": (0.6, 13), "motion_blur": (1, 40), "pixelate": (1.05, 12),
    "jitter": (0.16, 4), "displaced_patches": (0.012, 0.5), "colour_blocks": (0.006, 0.4),
    "colour_diffusion": (1, 40), "colour_shift": (0.4, 14), "colour_quantise": (0.2, 7), "desaturate": (0.1, 1.4),
    "oversaturate": (0.1, 12), "brighten": (0.06, 4), "darken": (0.08, 5), "mean_shift": (0.02, 0.6),
    "contrast_change": (0.1, 8), "quantise": (3, 110), "oversharpen": (0.2, 20), "white_noise": (1, 100),
    "colour_noise": (2, 100), "impulse_noise": (0.0003, 0.3), "multiplicative_noise": (0.01, 0.9),
    "denoise_artefact": (1.5, 60), "sensor_noise": (6, 260), "jpeg": (20, 97), "jpeg2000": (4, 400),
    "webp": (10, 100), "recompression": (0.02, 8), "depth_defocus": (0.6, 20), "camera_shake": (0.3, 14),
    "exposure_clip": (0.1, 4),
}  # fmt: skip


def main() -> None:
    """Prints the entries of LEVELS, the noise that each level looks like, and REACH."""
    files = list_images(sys.argv[1])
    photos = [_middle(read_image(p)) for p in files[:: max(1, len(files) // PHOTOS)][:PHOTOS]]
    yardstick = np.array([_similarity(photos, "white_noise", s) for s in NOISE])
    for kind in sys.argv[2:] or BOUNDS:
        low, high = BOUNDS[kind]
        strengths = np.geomspace(low, high, STEPS)
        if kind in ("jpeg", "webp"):  # even steps of the quality's logarithm
            strengths = 100 - np.geomspace(100 - low, max(100 - high, 1), STEPS)
        seen = np.maximum.accumulate([_visible(_similarity(photos, kind, s), yardstick) for s in strengths])
        targets, reach = np.log(YARDSTICK), seen[-1]
        if reach < targets[-1]:
            targets = np.linspace(max(targets[0], seen[0]), reach, 5)
        levels = np.interp(targets, seen + 1e-6 * np.arange(STEPS), strengths)
        numbers = ", ".join(f"{v:.3g}" for v in levels)
        last = np.interp(targets[-1], np.log(YARDSTICK), range(1, 6))
        sys.stdout.write(f"    {kind}: ({numbers}),  # {np.exp(targets).round(1).tolist()}, reach {last:.1f}\n")
        sys.stdout.flush()


def _middle(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    top, left = ((n - SIDE) // 2 for n in image.shape[:2])
    return np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE])


def _similarity(photos: list[NDArray[np.uint8]], kind: str, strength: float) -> Array:
    """Mean MDSI, VSI and HaarPSI of the images under a distortion, all falling with it."""
    import piq  # type: ignore[import-not-found]

    function = DISTORTIONS[kind]
    distorted = [function(p, float(strength), np.random.default_rng(i)) for i, p in enumerate(photos)]
    x, y = (torch.from_numpy(np.stack(v)).permute(0, 3, 1, 2).float() / 255 for v in (distorted, photos))
    return np.array([-float(piq.mdsi(x, y)), float(piq.vsi(x, y)), float(piq.haarpsi(x, y))])


def _visible(similarity: Array, yardstick: Array) -> float:
    """Log of the deviation of equally visible white noise."""
    logs = [np.interp(-s, -column, np.log(NOISE)) for s, column in zip(similarity, yardstick.T, strict=True)]
    return float(np.mean(logs))


if __name__ == "__main__":
    main()
