"""Foreground masks of any file: read by the field's conventions, or by a rule; never binarised by a guess.

`auto` reads what has one reading. Everything else is refused with the values found.

- An alpha channel that varies is the mask (a cutout); one that is constant is ignored.
- Two values: 0 is background, the other is the object. So 0/255, 0/1, and black with one colour.
- Many grey values: soft edges between 0 and 255 (anti-aliasing, JPEG) are cut at 128, as COD and SOD evaluation does,
  where the values in between lie between black and white pixels.
- Label maps, one value or colour per object, trimaps and values to ignore: refused.
"""

import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polyscale.data.decoding.opening import MAX_PIXELS, ImageSource, name_of, opened, upright
from polyscale.data.decoding.samples import ImageError, to_8bit
from polyscale.data.images import as_array, check_array

BLACK, WHITE = 32, 224  # below and from which a soft mask's grey is background and object
MOST_SOFT = 0.25  # share of an image that soft edges may hold
_FEW = 10  # grey values of a label map or of coarse anti-aliasing; JPEG and resizing make more
_GREY = 16  # levels by which the channels of a grey JPEG differ
_CONVENTION = 128
_HINT = "set mask_rule to nonzero (all but 0 and black is the object), above_128, or label=N"
RULES = "auto, nonzero, above_128, alpha or label=N (label=1,3 for several)"

Mask = NDArray[np.bool_]


def check_rule(rule: str) -> str:
    """Return `rule`. Raises ImageError where it is none of `RULES`."""
    if rule not in ("auto", "nonzero", "above_128", "alpha") and not re.fullmatch(r"label=\d+(,\d+)*", rule):
        raise ImageError(f"mask_rule is {rule}; accepted are {RULES}", exit_code=2)
    return rule


def read_mask(source: ImageSource, *, rule: str = "auto", max_pixels: int = MAX_PIXELS) -> Mask:
    """Read a foreground mask as bool [H, W], turned upright.

    Args:
        source: As for `polyscale.data.images.read_image`.
        rule: "auto" reads what has one reading (see the top of this file). "nonzero": every value but 0, every colour
            but black. "above_128": grey above 128, transparent pixels black. "alpha": opacity of at least half.
            "label=N": grey values or palette indices equal to N, or to one of several ("label=1,3").
        max_pixels: As for `read_image`.

    Raises:
        ImageError: As for `read_image`, and for a mask that the rule does not fit; it names the values found.
    """
    check_rule(rule)
    name = name_of(source)
    values = as_array(source, name)
    if values is not None:
        check_array(values, name)
        if values.ndim == 3 and values.shape[2] == 4:
            return _read_pillow(Image.fromarray(to_bytes(values, name)), name, rule)
        return _read_values(values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values, name, rule)
    with opened(source, name, max_pixels) as image:
        return _read_pillow(upright(image), name, rule)


def to_bytes(values: np.ndarray, name: str) -> np.ndarray:
    """A mask's samples as uint8: bytes stay, wider integers up to 255 are labels, all else is scaled."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.dtype.kind in "iu" and values.min() >= 0 and values.max() <= 255:
        return values.astype(np.uint8)
    return to_8bit(values, name)


def _read_pillow(image: Image.Image, name: str, rule: str) -> Mask:
    if image.has_transparency_data:
        return _read_with_alpha(image, name, rule)
    if rule == "alpha":
        raise ImageError(f"{name}: the mask has no alpha channel, which mask_rule alpha asks for")
    if (image.mode == "P" and not rule.startswith("label=")) or (
        image.mode not in ("1", "L", "P", "RGB", "F", "I") and not image.mode.startswith("I;16")
    ):
        image = image.convert("RGB")
    return _read_values(np.asarray(image), name, rule)


def _read_with_alpha(image: Image.Image, name: str, rule: str) -> Mask:
    indices = np.asarray(image) if image.mode == "P" else None
    rgba = np.asarray(image.convert("RGBA"))
    colours, alpha = rgba[..., :3], rgba[..., 3]
    if rule == "alpha":
        return alpha >= _CONVENTION
    if rule == "above_128":
        return np.asarray(np.asarray(Image.fromarray(colours).convert("L")) * (alpha / 255) > _CONVENTION)
    if rule.startswith("label="):
        return _read_values(colours if indices is None else indices, name, rule) & (alpha > 0)
    if rule == "nonzero":
        return np.asarray(colours.any(axis=2)) & (alpha > 0)
    if alpha.min() == alpha.max() and (alpha[0, 0] > 0 or not _is_two_valued(colours)):
        return _read_values(colours, name, rule) if alpha[0, 0] else np.zeros(alpha.shape, bool)
    mask = _cut(alpha, name, "alpha value", "set mask_rule to alpha (opacity of at least half)")
    inside = colours[mask]
    if len(inside) and _is_two_valued(inside[None]):
        hint = "set mask_rule to alpha, or to above_128 for the colours"
        raise ImageError(f"{name}: the alpha channel and the colours give two different masks; {hint}")
    return mask


def _is_two_valued(colours: np.ndarray) -> bool:
    """Whether black and one other colour, and nothing else, occur."""
    flat = colours.reshape(-1, 3)
    other = flat[flat.any(1)]
    return 0 < len(other) < len(flat) and bool((other == other[0]).all())


def _read_values(values: np.ndarray, name: str, rule: str) -> Mask:
    """A mask of values [H, W] or colours [H, W, 3]."""
    if values.dtype.kind == "f":  # probabilities, or bytes stored as floats
        values = to_8bit(values, name)
    if rule.startswith("label="):
        if values.ndim == 3 and (values == values[..., :1]).all():
            values = values[..., 0]
        if values.ndim == 3:
            raise ImageError(f"{name}: the mask holds colours, mask_rule {rule} needs grey values or a palette")
        mask: Mask = np.isin(values, [int(number) for number in rule.removeprefix("label=").split(",")])
        return mask
    if rule == "nonzero":
        return values != 0 if values.ndim == 2 else np.asarray(values.any(axis=2))
    small = to_bytes(values, name)
    if rule == "above_128":
        return (np.asarray(Image.fromarray(small).convert("L")) if small.ndim == 3 else small) > _CONVENTION
    if small.ndim == 2:
        return _cut(small, name, "value", _HINT)
    low, high = small.min(2), small.max(2)
    if (high - low).max() <= _GREY:
        return _cut(np.asarray(Image.fromarray(small).convert("L")), name, "value", _HINT)
    return _cut_colours(small, name)


def _cut_colours(colours: np.ndarray, name: str) -> Mask:
    """The object in a mask of black and one colour; ImageError for more colours."""
    if _is_two_valued(colours):
        return np.asarray(colours.any(axis=2))
    codes = colours.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    found, counts = np.unique(codes, return_counts=True)
    common = ", ".join(f"#{code:06x}" for code in found[np.argsort(-counts, kind="stable")[:5]])
    more = ", ..." if len(found) > 5 else ""
    hint = "set mask_rule to nonzero if every colour but black is the object"
    raise ImageError(f"{name}: the mask holds {len(found)} colours ({common}{more}); {hint}")


def _cut(values: np.ndarray, name: str, noun: str, hint: str) -> Mask:
    """The object in uint8 values [H, W] that have one reading; ImageError for others."""
    counts = np.bincount(values.ravel(), minlength=256)
    found = np.flatnonzero(counts)
    if len(found) == 1 and found[0] in (0, 1, 255):
        return values > 0
    if len(found) == 2 and found[0] == 0:
        return values > 0
    if len(found) > 1 and found[0] < BLACK and found[-1] >= WHITE and _has_soft_edges(values, counts):
        return values > _CONVENTION
    common = ", ".join(str(value) for value in found[:8]) + (", ..." if len(found) > 8 else "")
    raise ImageError(f"{name}: the mask holds {len(found)} {noun}{'s'[: len(found) != 1]} ({common}); {hint}")


def _has_soft_edges(values: np.ndarray, counts: np.ndarray) -> bool:
    """Whether all that is neither black nor white lies on edges between the two."""
    from scipy import ndimage

    low, middle, high = counts[1:BLACK], counts[BLACK:WHITE], counts[WHITE:255]
    total = int(middle.sum())
    # JPEG leaves several values near black and near white; a label map has its few near one end.
    jpeg = np.count_nonzero(low) > 1 and np.count_nonzero(high) > 1
    if total > MOST_SOFT * values.size or (not jpeg and total < 0.5 * (low.sum() + high.sum())):
        return False
    few = np.count_nonzero(counts) <= _FEW
    if not few and _has_flat_labels(values):
        return False
    reach = (3 if np.count_nonzero(counts) == 3 else 5) if few else 2 * max(4, round(0.01 * min(values.shape))) + 1
    near_black = ndimage.maximum_filter(values < BLACK, size=reach)
    near_white = ndimage.maximum_filter(values >= WHITE, size=reach)
    on_edge = int(((values >= BLACK) & (values < WHITE) & near_black & near_white).sum())
    return on_edge >= 0.8 * total


def _has_flat_labels(values: np.ndarray) -> bool:
    """Whether areas of one value other than the commonest black and the commonest white hold more than a little."""
    inner = values[1:-1, 1:-1]
    flat = np.ones(inner.shape, bool)
    for row in (0, 1, 2):
        for column in (0, 1, 2):
            flat &= values[row : row + inner.shape[0], column : column + inner.shape[1]] == inner
    counts = np.bincount(inner[flat], minlength=256)
    rest = int(counts.sum() - counts[:BLACK].max() - counts[WHITE:].max())
    return rest > 0.05 * max(1, int(counts.sum()))
