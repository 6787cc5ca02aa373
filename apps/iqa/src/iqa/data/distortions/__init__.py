"""Distortions of pictures: kinds as in KADID-10k (Lin et al. 2019) and chains of a camera, each at five levels.

Written from the paper's description. A kind is a function (image, strength, rng) -> image of uint8 RGB bytes of any
size from 1x1 on; LEVELS holds the strength of its levels 1 (barely visible) to 5 (severe). All randomness comes from
the generator and is drawn alike for every strength: two levels from one seed differ in strength alone.
"""

from collections.abc import Callable

import numpy as np

from polyscale.errors import UserError

from . import blur, camera, colour, noise
from .pixels import Bytes, Rng

Distortion = Callable[[Bytes, float, Rng], Bytes]

LEVELS: dict[Distortion, tuple[float, float, float, float, float]] = {
    blur.gaussian_blur: (0.7, 1.2, 2.0, 3.2, 5.5),
    blur.lens_blur: (1.0, 1.8, 3.0, 5.0, 8.5),
    blur.motion_blur: (2.0, 4.0, 7.0, 12.0, 20.0),
    blur.pixelate: (1.2, 1.6, 2.4, 4.0, 7.0),
    blur.jitter: (0.35, 0.6, 1.0, 1.8, 3.2),
    blur.displaced_patches: (0.02, 0.05, 0.1, 0.2, 0.4),
    blur.colour_blocks: (0.01, 0.025, 0.05, 0.1, 0.2),
    colour.colour_diffusion: (2, 4, 8, 16, 32),
    colour.colour_shift: (1, 2, 4, 7, 12),
    colour.colour_quantise: (2, 3, 4, 5, 6.4),
    colour.desaturate: (0.3, 0.55, 0.8, 1.1, 1.5),
    colour.oversaturate: (0.4, 0.9, 1.8, 3.5, 7),
    colour.brighten: (0.2, 0.45, 0.9, 1.6, 3),
    colour.darken: (0.25, 0.55, 1.0, 1.7, 3),
    colour.mean_shift: (0.06, 0.12, 0.2, 0.3, 0.45),
    colour.contrast_change: (0.25, 0.6, 1.2, 2.2, 4.5),
    colour.quantise: (10, 18, 30, 46, 70),
    colour.oversharpen: (0.8, 1.6, 3, 5.5, 11),
    noise.white_noise: (4, 8, 14, 25, 45),
    noise.colour_noise: (5, 10, 18, 32, 55),
    noise.impulse_noise: (0.002, 0.006, 0.016, 0.045, 0.12),
    noise.multiplicative_noise: (0.04, 0.08, 0.15, 0.28, 0.5),
    noise.denoise_artefact: (4, 8, 15, 26, 45),
    noise.sensor_noise: (15, 30, 60, 110, 200),
    camera.jpeg: (55, 70, 82, 90, 96),
    camera.jpeg2000: (16, 32, 60, 120, 300),
    camera.webp: (40, 65, 82, 93, 100),
    camera.recompression: (0.3, 0.8, 1.5, 3, 6),
    camera.depth_defocus: (1.2, 2.2, 4, 7, 12),
    camera.camera_shake: (0.8, 1.6, 3, 5, 9),
    camera.exposure_clip: (0.3, 0.7, 1.2, 1.9, 3),
}
DISTORTIONS: dict[str, Distortion] = {function.__name__: function for function in LEVELS}


def distort(image: Bytes, kind: str, level: int, rng: Rng) -> Bytes:
    """The picture, uint8 [H, W, 3], under a distortion of DISTORTIONS at a level of 1 to 5: uint8 [H, W, 3].

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
