"""Natural scene statistics as a layer: the numbers of hand-made quality measures, for any image size, in one pass.

Sources: BRISQUE (Mittal, Moorthy, Bovik, TIP 2012: normalised luminance and products of neighbours at two scales),
FRIQUEE (Ghadiyaram, Bovik, 2017: the same in opponent colours), CPBD-like sharpness over tiles, Hasler and
Suesstrunk's colourfulness, Wang's blockiness, the dark channel. What differs: moments instead of fitted shapes, three
scales, no parameters and no Python loop over the images.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa.evaluation.statistics.patterns import BlockFrequencies, binary_patterns, values_at
from iqa.evaluation.statistics.traces import Traces, every_eighth
from polyscale.models.backbones import padded

SCALES = 3
COARSE = 2  # further halvings that only contrast and edges are read from
TILES = 8
SMALLEST = 64  # below this side the coarsest scale has nothing left; smaller images are padded by repetition
_FLOOR = 1 / 255  # contrast that counts as none: one grey level
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_OPPONENT = ((0.299, 0.587, 0.114), (0.5, -0.5, 0.0), (0.25, 0.25, -0.5))  # luma, red-green, yellow-blue
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))  # rows, columns
_WEIGHTS = [math.exp(-((i - 3) ** 2) / (2 * (7 / 6) ** 2)) for i in range(7)]
_GAUSS = [w / sum(_WEIGHTS) for w in _WEIGHTS]
_GRID = 64  # samples a side from which quantiles are taken
_LARGE = 257  # pixels of the shorter side from which tones are read of every second pixel


class SceneStatistics(nn.Module):
    """Scene statistics, computed in float32. No gradient reaches the image.

    Attributes:
        channels: the count of numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frequencies, self.traces = BlockFrequencies(), Traces()
        self.channels = int(self(torch.full((1, 3, SMALLEST, SMALLEST), 0.5)).shape[1])

    @torch.no_grad()
    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Map RGB in [0, 1] [B, 3, H, W], any H and W, to [B, channels], each finite and of order 1 to 10."""
        image = padded(image_BCHW.float(), min_side=SMALLEST)
        red, green, blue = image.split(1, 1)
        planes = torch.cat([a * red + b * green + c * blue for a, b, c in _OPPONENT], 1)
        parts = [_tones(image, planes), _blocks(planes[:, :1]), _noise(planes[:, :1]), self.traces(image, planes)]
        textures = []
        seen = planes[:, :1]  # at full size luma only: cameras and JPEG keep colour at half the size
        for scale in range(SCALES + COARSE):
            luma = seen[:, :1]
            parts += [_normalised(seen), _edges(luma)]
            if scale < SCALES:
                parts.append(_tiles(luma))
                textures.append(binary_patterns(luma))
            if scale == 1:  # blocks of 16 pixels; those of 8 say less about photographs
                textures.append(self.frequencies(luma))
            seen = planes = F.avg_pool2d(planes, 2)
        return torch.cat([*parts, *textures], 1)


def _normalised(planes: Tensor) -> Tensor:
    """Moments of each plane divided by its local contrast, of products of neighbours, and of the contrast."""
    mean = _blur(planes)
    contrast = (_blur(planes * planes) - mean * mean).clamp(min=0).sqrt()
    x = (planes - mean) / (contrast + _FLOOR)
    luma, inner = x[:, :1], x[:, :1, 1:-1, 1:-1]
    height, width = inner.shape[-2:]
    shifted = [luma[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in _SHIFTS]
    products = torch.cat([inner * other for other in shifted], 1)
    return torch.cat([_moments(x), _signed_moments(products), _log_quantiles(contrast), _log_std(contrast)], 1)


def _blur(x: Tensor) -> Tensor:
    """Gaussian of 7x7, sigma 7/6, at the same size; sums of shifted planes, 8 times faster than a depthwise conv2d."""
    height, width = x.shape[-2:]
    x = F.pad(x, (3, 3, 3, 3), mode="replicate")
    x = _GAUSS[3] * x[..., 3 : 3 + height, :] + sum(
        _GAUSS[i] * (x[..., i : i + height, :] + x[..., 6 - i : 6 - i + height, :]) for i in range(3)
    )
    return _GAUSS[3] * x[..., 3 : 3 + width] + sum(
        _GAUSS[i] * (x[..., i : i + width] + x[..., 6 - i : 6 - i + width]) for i in range(3)
    )


def _moments(x: Tensor) -> Tensor:
    """Root mean square, peakedness (mean |x| against root mean square), skew and kurtosis of each plane: [B, 4 C]."""
    squares = x * x
    root, magnitude = (squares.mean((2, 3)) + 1e-6).sqrt(), x.abs().mean((2, 3))
    skew, kurtosis = (squares * x).mean((2, 3)) / root**3, (squares * squares).mean((2, 3)) / root**4
    return torch.cat([root, magnitude / root, _compressed(skew), (kurtosis + 1e-6).log().clamp(-5, 10)], 1)


def _signed_moments(x: Tensor) -> Tensor:
    """Mean, size of the positive and of the negative part, and peakedness of each plane: [B, 4 C]."""
    total, above = (x * x).mean((2, 3)), x.clamp(min=0).square().mean((2, 3))
    positive, negative, root = above.sqrt(), (total - above).clamp(min=0).sqrt(), (total + 1e-6).sqrt()
    return torch.cat([x.mean((2, 3)), positive, negative, x.abs().mean((2, 3)) / root], 1)


def _edges(luma: Tensor) -> Tensor:
    """Gradient and second derivative: size, quantiles, heaviness of the tails, and the ratio of the two."""
    inner = luma[..., 1:-1, 1:-1]
    dy, dx = (luma[..., 2:, 1:-1] - luma[..., :-2, 1:-1]) / 2, (luma[..., 1:-1, 2:] - luma[..., 1:-1, :-2]) / 2
    slope = (dx**2 + dy**2).sqrt()
    around = luma[..., 2:, 1:-1] + luma[..., :-2, 1:-1] + luma[..., 1:-1, 2:] + luma[..., 1:-1, :-2]
    bend = around - 4 * inner
    slope_mean, bend_mean = slope.mean((2, 3)), bend.abs().mean((2, 3))
    direction = _log((dx**2).mean((2, 3))) - _log((dy**2).mean((2, 3)))
    ratio = _log(bend_mean) - _log(slope_mean)
    tails = torch.cat([_log((v**2).mean((2, 3)).sqrt()) - _log(v.abs().mean((2, 3))) for v in (slope, bend)], 1)
    return torch.cat([_log(slope_mean), ratio, direction, tails, _log_quantiles(slope)], 1)


def _tiles(luma: Tensor) -> Tensor:
    """Sharpness and brightness over an 8x8 grid: the std of each, and the middle against the rim."""
    slope = (luma[..., 1:] - luma[..., :-1]).abs()
    sharp = _log(F.adaptive_avg_pool2d(slope, TILES)).flatten(1)
    bright = F.adaptive_avg_pool2d(luma, TILES).flatten(1)
    middle = torch.zeros(TILES, TILES, device=luma.device)
    middle[2:-2, 2:-2] = 1
    weight = (middle / middle.sum() - (1 - middle) / (1 - middle).sum()).flatten()
    ordered = sharp.sort(1).values[:, [0, 6, 16, 32, 47, 57, 63]]
    return torch.cat(
        [
            ordered,
            sharp.std(1, keepdim=True),
            4 * bright.std(1, keepdim=True),
            _dot(sharp, weight),
            _dot(bright, weight),
        ],
        1,
    )


def _tones(image: Tensor, planes: Tensor) -> Tensor:
    """Brightness, clipping, colour: quantiles, means, stds, saturation, colourfulness, haze (dark channel)."""
    step = 2 if min(image.shape[-2:]) >= _LARGE else 1
    small = image[..., ::step, ::step]
    luma, red_green, yellow_blue = planes[..., ::step, ::step].unbind(1)
    highest, lowest = small.amax(1), small.amin(1)
    saturation = (highest - lowest) / (highest + _FLOOR)
    clipped = [(luma < 0.03), (luma > 0.97), (highest > 0.99), (lowest < 0.01)]
    shares = torch.stack([c.float().mean((1, 2)).sqrt() for c in clipped], 1)
    std = [v.flatten(1).std(1) for v in (luma, red_green, yellow_blue, saturation)]
    means = [v.mean((1, 2)) for v in (luma, red_green, yellow_blue, saturation)]
    colourful = (std[1] ** 2 + std[2] ** 2).sqrt() + 0.3 * (means[1] ** 2 + means[2] ** 2).sqrt()
    haze = -F.max_pool2d(-small.amin(1, keepdim=True), 15, stride=4, padding=7)
    tone = torch.stack([*std, *means, colourful, haze.mean((1, 2, 3))], 1)
    quantiles = [_quantiles(v[:, None], (0.01, *_QUANTILES, 0.99)) for v in (luma, saturation)]
    return 4 * torch.cat([tone, shares, *quantiles], 1)


def _blocks(luma: Tensor) -> Tensor:
    """Steps across the borders of JPEG's 8x8 blocks against steps elsewhere, across and down: [B, 2]."""
    results = []
    for plane in (luma, luma.transpose(2, 3)):
        step = (plane[..., 1:] - plane[..., :-1]).abs().mean((1, 2))
        border, other = every_eighth(step, 7)
        results.append(_log(border) - _log(other))
    return torch.stack(results, 1)


def _noise(luma: Tensor) -> Tensor:
    """Median size of the finest diagonal detail (Donoho's noise estimate) and its lower quartile, as logarithms."""
    a, b = luma[..., 0:-1:2, 0:-1:2], luma[..., 0:-1:2, 1::2]
    c, d = luma[..., 1::2, 0:-1:2], luma[..., 1::2, 1::2]
    return _log(_quantiles((a - b - c + d).abs() / 2, (0.25, 0.5)))


def _log(x: Tensor) -> Tensor:
    return (x + 1e-4).log()


def _compressed(x: Tensor) -> Tensor:
    return x.sign() * x.abs().log1p()


def _log_std(x: Tensor) -> Tensor:
    return _log(x.flatten(2).std(2))


def _log_quantiles(x: Tensor) -> Tensor:
    return _log(_quantiles(x, _QUANTILES))


def _dot(x: Tensor, weight: Tensor) -> Tensor:
    return (x * weight).sum(1, keepdim=True)


def _quantiles(x: Tensor, at: tuple[float, ...]) -> Tensor:
    """Quantiles of each plane over an even grid of about 64x64 of its pixels: [B, C len(at)]."""
    down, across = (max(1, length // _GRID) for length in x.shape[-2:])
    return values_at(x[..., ::down, ::across].flatten(2), at).flatten(1)
