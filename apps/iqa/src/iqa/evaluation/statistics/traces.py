"""Traces that processing leaves in the pixels: of codecs, tone curves, enlarging, pasted patches and shifted colours.

Sources: Fan and de Queiroz (TIP 2003: JPEG's grid known by its vanishing coefficients), Stamm and Liu (TIFS 2010: tone
curves known by gaps and peaks of the histogram), Wang, Bovik and Evans (ICIP 2000: steps that run straight). What
differs: each is a share or a mean over the image with a soft threshold, so that it is the same in any batch; the grid
is JPEG's own from the image's corner, compared with the same blocks moved by half their side.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_RUN = 16  # pixels that a step has to run straight for
_LEVELS = 256
_LIFT = (-1.586134342, -0.05298011854, 0.8829110762, 0.4435068522)  # of the 9/7 wavelet of JPEG 2000
_GRAINS = (0.7, 2.0)  # grey levels up to which a coefficient counts as vanished


class Traces(nn.Module):
    """Statistics of the traces of processing."""

    def __init__(self) -> None:
        super().__init__()
        for side in (4, 8):
            basis, bands = _cosines(side)
            self.register_buffer(f"basis{side}", basis, persistent=False)
            self.register_buffer(f"bands{side}", bands, persistent=False)

    def forward(self, image: Tensor, planes: Tensor) -> Tensor:
        """Map RGB in [0, 1] and its opponent planes, [B, 3, H, W] each with sides of at least 32, to [B, K]."""
        grey = planes * (_LEVELS - 1)
        luma, colour = grey[:, :1], F.avg_pool2d(grey[:, 1:], 2)
        parts = [
            self._vanishing(luma, 8),
            self._vanishing(luma, 4),
            self._vanishing(colour, 8),
            _wavelets(luma),
            _tone_curve(image),
            _equal_neighbours(image),
            _seams(luma),
            _seams(luma.transpose(2, 3)),
            _colour_edges(image, planes),
        ]
        return torch.cat(parts, 1)

    def _vanishing(self, planes: Tensor, side: int) -> Tensor:
        """Per band of the DCT the share of vanished coefficients on the grid, and how much it exceeds that off it."""
        basis, bands = getattr(self, f"basis{side}"), getattr(self, f"bands{side}")
        on, off = (
            _vanishing_share(_blocks(x, side) @ basis, _GRAINS[0]).mean(2) @ bands
            for x in (planes, _shift(planes, side // 2))
        )
        return torch.cat([_logit(on), _logit(on) - _logit(off)], 2).flatten(1)


def _cosines(side: int) -> tuple[Tensor, Tensor]:
    """The DCT of a block as a matrix [side**2, side**2 - 1] without the mean, and the average over bands of it."""
    k, x = torch.arange(side)[:, None], torch.arange(side)[None]
    basis = torch.cos(math.pi * (2 * x + 1) * k / (2 * side)) * math.sqrt(2 / side)
    basis[0] /= math.sqrt(2)
    both = torch.einsum("ij,kl->jlik", basis, basis).reshape(side**2, side**2)
    band = F.one_hot((k + x).flatten()[1:] - 1).float()
    return both[:, 1:].contiguous(), band / band.sum(0)


def _blocks(planes: Tensor, side: int) -> Tensor:
    """[B, C, H, W] -> [B, C, blocks, side**2]; the remainder at the borders is ignored."""
    rows, columns = planes.shape[-2] // side, planes.shape[-1] // side
    x = planes[..., : rows * side, : columns * side]
    x = x.reshape(*x.shape[:2], rows, side, columns, side).transpose(3, 4)
    return x.reshape(*x.shape[:2], rows * columns, side**2)


def _shift(planes: Tensor, by: int) -> Tensor:
    return planes[..., by:, by:]


def _vanishing_share(x: Tensor, grain: float) -> Tensor:
    """1 at 0, falling to 1/4 at `grain`, 0 far away."""
    return (1 + (x / grain).square()).reciprocal().square()


def _logit(share: Tensor) -> Tensor:
    return (share + 1e-3).log() - (1 - share + 1e-3).log()


def _wavelets(luma: Tensor) -> Tensor:
    """Shares of vanished detail of two levels of the 9/7 wavelet, and against those of the image moved by a pixel."""
    at, moved = (_detail_shares(x) for x in (luma, _shift(luma, 1)))
    return torch.cat([at, at - moved], 1)


def _detail_shares(x: Tensor) -> Tensor:
    shares = []
    for _ in range(2):
        low, high = _lift(x)
        (x, across), (down, both) = (_lift(half.transpose(2, 3)) for half in (low, high))
        shares += [_vanishing_share(detail, grain).mean((2, 3)) for detail in (across, down, both) for grain in _GRAINS]
    return _logit(torch.cat(shares, 1))


def _lift(x: Tensor) -> tuple[Tensor, Tensor]:
    """One level of the 9/7 wavelet along the last axis: its smooth and its detailed half."""
    count = x.shape[-1] // 2
    even, odd = x[..., 0 : 2 * count : 2], x[..., 1 : 2 * count : 2]
    for step, by in enumerate(_LIFT):
        if step % 2 == 0:
            odd = odd + by * (even + torch.cat([even[..., 1:], even[..., -1:]], -1))
        else:
            even = even + by * (odd + torch.cat([odd[..., :1], odd[..., :-1]], -1))
    return even * 1.149604398, odd / 1.149604398


def _tone_curve(image: Tensor) -> Tensor:
    """Of each channel's histogram: how rough it is, gaps, where it begins and ends and what is piled up there."""
    levels = (image * (_LEVELS - 1)).round().long().clamp(0, _LEVELS - 1).flatten(2)
    share = torch.zeros(*levels.shape[:2], _LEVELS, device=image.device)
    share = share.scatter_add_(2, levels, torch.ones_like(levels, dtype=share.dtype)) / levels.shape[2]
    inner = (share[..., :-2] + share[..., 2:]) / 2
    rough = (share[..., 1:-1] - inner).abs().sum(2)
    gaps = (_vanishing_share(share[..., 1:-1] / (inner + 1e-6), 0.1) * inner).sum(2)
    total = share.cumsum(2)
    first, last = ((total < at).float().mean(2) for at in (0.0005, 0.9995))
    used = _vanishing_share(share, 1e-4).mean(2)
    piled = torch.cat([share[..., :1], share[..., -1:], share.amax(2, keepdim=True)], 2).sqrt().flatten(1)
    entropy = torch.special.entr(share).sum(2)
    return torch.cat([(rough + 1e-3).log(), (gaps + 1e-3).log(), 4 * first, 4 * last, used, 4 * piled, entropy], 1)


def _equal_neighbours(image: Tensor) -> Tensor:
    """Shares of pixels equal to the next one: to the right, below, and in 2x2 and 8x8 areas of one colour."""
    right = (image[..., :-1, 1:] - image[..., :-1, :-1]).abs().amax(1, keepdim=True)
    below = (image[..., 1:, :-1] - image[..., :-1, :-1]).abs().amax(1, keepdim=True)
    flat = torch.maximum(right, below)
    area = F.max_pool2d(flat, 7, stride=4)
    return _logit(torch.cat([(x < 0.5 / 255).float().mean((2, 3)) for x in (right, below, flat, area)], 1))


def _seams(luma: Tensor) -> Tensor:
    """Steps between neighbouring rows that stand out from their neighbours over _RUN pixels: [B, 5]."""
    step = (luma[..., 1:, :] - luma[..., :-1, :]).abs()
    alone = step[..., 1:-1, :] - torch.maximum(step[..., 2:, :], step[..., :-2, :])
    least = -F.max_pool2d(-alone, (1, _RUN), stride=(1, _RUN // 4))
    strong = [(least - at).clamp(min=0).mean((2, 3)) for at in (0, 2, 8)]
    rows = least.clamp(min=0).mean(3)[:, 0]
    jpeg = every_eighth(rows, 6)  # between rows 8 n - 1 and 8 n
    return (torch.cat([*strong, torch.stack(jpeg, 1)], 1) + 1e-3).log()


def every_eighth(x: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """Average x[:, first], x[:, first + 8], ..., and all others, of x [B, N]: both [B]."""
    those = x[:, first::8]
    others = (x.sum(1) - those.sum(1)) / (x.shape[1] - those.shape[1])
    return those.mean(1), others


def _colour_edges(image: Tensor, planes: Tensor) -> Tensor:
    """How alike the slopes of two channels are, and how strong those of colour are against luma's, at three scales."""
    parts = []
    for _ in range(3):
        slopes = image[..., 1:] - image[..., :-1]
        red, green, blue = slopes.unbind(1)
        size = [(s * s).mean((1, 2)) + 1e-6 for s in (red, green, blue)]
        alike = [
            (red * green).mean((1, 2)) / (size[0] * size[1]).sqrt(),
            (green * blue).mean((1, 2)) / (size[1] * size[2]).sqrt(),
        ]
        strength = ((planes[..., 1:] - planes[..., :-1]).abs().mean((2, 3)) + 1e-4).log()
        parts += [torch.stack(alike, 1), strength[:, 1:], strength[:, 1:] - strength[:, :1]]
        image, planes = F.avg_pool2d(image, 2), F.avg_pool2d(planes, 2)
    return torch.cat(parts, 1)
