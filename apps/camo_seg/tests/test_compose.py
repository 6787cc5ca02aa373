"""Pasted objects and parts without an object: the mask says what the image shows."""

import torch
from torch import Tensor

from camo_seg.data.augment import Degrade
from camo_seg.data.compose import Compose, empty_part, paste_object


def _scene(value: int, box: tuple[int, int, int, int], size: int = 48) -> tuple[Tensor, Tensor]:
    """A grey image with a brighter rectangle (top, bottom, left, right), and its mask."""
    mask = torch.zeros(1, size, size, dtype=torch.uint8)
    mask[:, box[0] : box[1], box[2] : box[3]] = 1
    return torch.full((3, size, size), value, dtype=torch.uint8) + 100 * mask.expand(3, -1, -1), mask


def test_a_pasted_object_joins_image_and_mask() -> None:
    host, own = _scene(20, (2, 6, 2, 6))
    other, shape = _scene(150, (10, 34, 10, 34))
    for seed in range(20):
        torch.manual_seed(seed)
        image, mask = paste_object(host, own, other, shape)
        assert mask.unique().tolist() == [0, 1]
        assert (mask >= own).all()
        pasted = (mask > own)[0]
        assert 0.15 * 24**2 < pasted.sum() < 1.5 * 24**2
        changed = (image != host).any(0)
        assert (changed & (mask[0] == 0)).sum() < 0.3 * pasted.sum()  # outside only its soft edge
    assert host.max() == 120  # the training image itself stays


def test_half_of_the_objects_take_over_the_colours_they_cover() -> None:
    host, own = _scene(20, (0, 0, 0, 0))
    other, shape = _scene(150, (10, 34, 10, 34))
    levels = []
    for seed in range(40):
        torch.manual_seed(seed)
        image, mask = paste_object(host, own, other, shape)
        levels.append(float(image[0][mask[0] > 0].float().median()))
    assert 10 <= sum(level > 245 for level in levels) <= 30
    assert min(levels) < 80


def test_the_part_beside_the_object_is_empty() -> None:
    host, own = _scene(20, (5, 40, 30, 45))
    image, mask = empty_part(host, own)
    assert not mask.any()
    assert image.max() == 20
    filled, all_of_it = _scene(20, (5, 43, 5, 43))
    assert torch.equal(empty_part(filled, all_of_it)[0], filled)  # no room beside it


def test_the_shares_are_kept() -> None:
    host, own = _scene(20, (5, 40, 30, 45))
    compose = Compose(paste=0.5, empty=0.25)
    torch.manual_seed(0)
    masks = [compose(host, own, lambda: _scene(150, (10, 34, 10, 34)))[1] for _ in range(200)]
    assert 80 < sum(not torch.equal(mask, own) and bool(mask.any()) for mask in masks) < 120
    assert 30 < sum(not mask.any() for mask in masks) < 70
    nothing = Compose(paste=1.0)(host, own, lambda: _scene(0, (0, 1, 0, 1)))  # objects too small to paste
    assert torch.equal(nothing[1], own)


def test_every_fault_changes_the_image_a_little() -> None:
    torch.manual_seed(0)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 12) * 255, (48, 48), mode="bicubic")[0]
    image = image.clamp(0, 255).to(torch.uint8)
    degrade = Degrade()
    changes = []
    for _ in range(40):
        result = degrade(image)
        assert result.dtype == torch.uint8
        assert result.shape == image.shape
        changes.append(float((result.float() - image.float()).abs().mean()))
    assert min(changes) > 0
    assert max(changes) < 60
