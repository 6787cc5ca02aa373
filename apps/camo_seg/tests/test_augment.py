"""Image and mask move together, the mask stays binary, and torch's global generator decides everything."""

import random
from typing import Any

import numpy as np
import pytest
import torch

from camo_seg.data.augment import CamoAugment, RandomWarp


def _sample(size: int = 48) -> tuple[Any, ...]:
    """A bright square and a dot on black, and the mask of the two."""
    mask = torch.zeros(1, size, size, dtype=torch.uint8)
    mask[:, 10:26, 20:40] = 1
    mask[:, 34:39, 8:13] = 1
    return mask.repeat(3, 1, 1) * 255, mask


GEOMETRY = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}


def test_image_and_mask_move_together() -> None:
    augment = CamoAugment(**GEOMETRY, rotation=40, zoom=0.4, vertical=0.5)
    image, mask = _sample()
    torch.manual_seed(0)
    moved = 0
    for _ in range(20):
        new_image, new_mask = augment(image, mask)
        assert new_image.shape == image.shape
        assert new_image.dtype == torch.uint8
        assert new_mask.shape == mask.shape
        assert set(new_mask.unique().tolist()) <= {0, 1}
        agree = (new_image[0] > 127) == (new_mask[0] == 1)
        assert agree.float().mean() > 0.97  # all but pixels on the outline
        moved += int((new_mask != mask).any())
    assert moved == 20


def test_a_certain_flip_is_exactly_a_flip() -> None:
    augment = CamoAugment(**GEOMETRY, flip=1.0, rotation=0, zoom=1.0)
    image, mask = _sample()
    new_image, new_mask = augment(image, mask)
    assert torch.equal(new_image, image.flip(-1))
    assert torch.equal(new_mask, mask.flip(-1))


def test_nothing_changes_at_zero_strength() -> None:
    image, mask = _sample()
    new_image, new_mask = CamoAugment(**GEOMETRY, flip=0, rotation=0, zoom=1)(image, mask)
    assert torch.equal(new_image, image)
    assert torch.equal(new_mask, mask)


def test_colours_change_the_image_only() -> None:
    augment = CamoAugment(
        flip=0, rotation=0, zoom=1, brightness=0.5, contrast=0.5, saturation=0.5, hue=0.5, grey=0.5, blur=0.5
    )
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    mask = _sample(48)[1][:, :32, :32]
    torch.manual_seed(1)
    new_image, new_mask = augment(image, mask)
    assert (new_image.float() - image.float()).abs().mean() > 2
    assert torch.equal(new_mask, mask)


def test_only_torchs_global_generator_is_used() -> None:
    augment = CamoAugment(hue=0.1, grey=0.3, blur=0.3)
    image, mask = _sample()
    torch.manual_seed(7)
    state, python_state = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002 - the global one is watched
    first = augment(image, mask)
    assert random.getstate() == python_state
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(7)
    again = augment(image, mask)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], augment(image, mask)[0])


def test_turned_corners_are_mirrored_not_black() -> None:
    image = torch.full((3, 40, 40), 200, dtype=torch.uint8)
    mask = torch.ones(1, 40, 40, dtype=torch.uint8)
    torch.manual_seed(0)
    for _ in range(5):
        new_image, new_mask = RandomWarp(rotation=45, zoom=1.0)(image, mask)
        assert new_image.min() == 200
        assert new_mask.min() == 1


def test_a_crop_enlarges_by_its_share_of_the_area() -> None:
    torch.manual_seed(0)
    areas = [float(torch.linalg.det(RandomWarp(rotation=90, zoom=0.25).matrix()[:, :2])) for _ in range(400)]
    assert 0.24 < min(areas) < 0.29  # output pixel area in the input: the share of the area that is kept
    assert 0.9 < max(areas) <= 1.0
    assert abs(np.mean(areas) - 0.62) < 0.04


def test_crops_that_lose_the_object_are_drawn_again() -> None:
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[:, :5, :5] = 1
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    torch.manual_seed(0)
    warp = RandomWarp(rotation=30, zoom=0.15)
    kept = [int(warp(image, mask)[1].sum()) for _ in range(40)]
    assert min(kept) >= 7  # three tenths of 25 pixels
    empty = warp(image, torch.zeros_like(mask))
    assert empty[1].sum() == 0


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("flip", 1.5, r"flip must lie in \[0, 1\], given 1.5"),
        ("rotation", -1, r"rotation must lie in \[0, 180\], given -1"),
        ("zoom", 0, r"zoom must lie in \[0.01, 1\], given 0"),
        ("aspect", 0.5, r"aspect must lie in \[1, 4\]"),
        ("hue", 0.7, r"hue must lie in \[0, 0.5\]"),
        ("contrast", 2, r"contrast must lie in \[0, 1\]"),
    ],
)
def test_strengths_out_of_range_are_named(argument: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CamoAugment(**{argument: value})
