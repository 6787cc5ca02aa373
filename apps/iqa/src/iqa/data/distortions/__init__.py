"""Distortions of images: kinds as in KADID-10k (Lin et al. 2019) and chains of a camera, each at five levels.

Written from the paper's description. A kind is a function (image, strength, rng) -> image of uint8 RGB bytes of any
size from 1x1 on; LEVELS holds the strength of its levels 1 (barely visible) to 5 (severe). All randomness comes from
the generator and is drawn alike for every strength: two levels from one seed differ in strength alone.

Levels of different kinds are about equally visible: on 8 Kodak photos the mean of MDSI, VSI and HaarPSI makes them
equal to white noise of deviation 3.5, 7.5, 15, 28 and 50 (tools/recipes/iqa_levels.py). Those measures hardly see a
change of tone, so the first two levels of brighten, darken and mean_shift are about half of what they ask for.
"""

from collections.abc import Callable

import numpy as np

from iqa.data.distortions import blur, camera, colour, noise
from iqa.data.distortions.pixels import Bytes
from polyscale.data.noise import Rng
from polyscale.errors import UserError

Distortion = Callable[[Bytes, float, Rng], Bytes]

LEVELS: dict[Distortion, tuple[float, float, float, float, float]] = {
    blur.gaussian_blur: (0.48, 0.754, 1.17, 1.97, 3.2),
    blur.lens_blur: (0.699, 1.04, 2.03, 3.37, 5.49),
    blur.motion_blur: (1.23, 2.63, 5.33, 11.4, 19.7),
    blur.pixelate: (1.12, 1.41, 2.31, 2.91, 4.66),
    blur.jitter: (0.24, 0.31, 0.5, 1.2, 4),
    blur.displaced_patches: (0.014, 0.038, 0.09, 0.21, 0.5),
    blur.colour_blocks: (0.006, 0.012, 0.026, 0.075, 0.125),
    colour.colour_diffusion: (6, 8.9, 13, 22, 40),
    colour.colour_shift: (0.51, 0.88, 1.6, 3.2, 14),
    colour.colour_quantise: (1, 1.9, 3.9, 5.4, 6.4),
    colour.desaturate: (0.29, 0.43, 0.6, 0.79, 1.1),
    colour.oversaturate: (0.48, 0.958, 2.07, 4.59, 12),
    colour.brighten: (0.25, 0.65, 1.4, 2.4, 4),
    colour.darken: (0.22, 0.65, 1.5, 2.3, 3),
    colour.mean_shift: (0.08, 0.2, 0.36, 0.48, 0.56),
    colour.contrast_change: (0.1, 0.374, 1, 2.29, 5.27),
    colour.quantise: (11.2, 22.1, 41.5, 66, 110),
    colour.oversharpen: (0.289, 0.713, 1.84, 5.01, 12.1),
    noise.white_noise: (3.5, 7.5, 15, 28, 50),
    noise.colour_noise: (4.92, 10.4, 21.5, 46.5, 92.1),
    noise.impulse_noise: (0.00127, 0.00544, 0.0191, 0.0565, 0.117),
    noise.multiplicative_noise: (0.03, 0.0648, 0.13, 0.245, 0.444),
    noise.denoise_artefact: (2.1, 4.6, 9.6, 21, 60),
    noise.sensor_noise: (21, 34, 61, 120, 260),
    camera.jpeg: (20, 55.8, 86.5, 92.9, 95.2),
    camera.jpeg2000: (4.81, 11, 32.7, 109, 223),
    camera.webp: (15.3, 33, 63.4, 88.8, 99),
    camera.recompression: (0.03, 0.12, 0.7, 1.8, 2.7),
    camera.depth_defocus: (1.05, 1.91, 3.5, 6.45, 12.3),
    camera.camera_shake: (0.306, 0.713, 1.46, 3.27, 6.02),
    camera.exposure_clip: (0.483, 0.778, 1.14, 1.51, 1.89),
}
# Kinds that do not get as bad as the others: which level of the others their fifth looks like, by the same measures
REACH = {
    "jitter": 4.0,
    "displaced_patches": 3.7,
    "colour_diffusion": 1.9,
    "colour_shift": 4.3,
    "desaturate": 3.6,
    "oversaturate": 4.6,
    "brighten": 3.5,
    "denoise_artefact": 4.2,
    "sensor_noise": 3.5,
    "webp": 3.6,
}
DISTORTIONS: dict[str, Distortion] = {function.__name__: function for function in LEVELS}


def distort(image: Bytes, kind: str, level: int, rng: Rng) -> Bytes:
    """The image, uint8 [H, W, 3], under a distortion of DISTORTIONS at a level of 1 to 5: uint8 [H, W, 3].

    Raises UserError for a kind or a level that does not exist, ValueError for an array that is not RGB bytes.
    """
    if kind not in DISTORTIONS:
        raise UserError(f"no distortion {kind!r}; there are {', '.join(DISTORTIONS)}")
    if level not in range(1, 6):
        raise UserError(f"a distortion has levels 1 to 5, given {level}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected uint8 [H, W, 3], given {image.dtype} {list(image.shape)}")
    function = DISTORTIONS[kind]
    return function(np.ascontiguousarray(image), LEVELS[function][level - 1], rng)
