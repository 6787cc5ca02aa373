"""The embedded discs: the same for everybody, other ones in every split; samples at the network's size."""

import pytest
import torch

from app_name.data.dataset import open_split
from polyscale.errors import UserError


def test_a_sample_is_a_function_of_split_and_index() -> None:
    first, again = (open_split("synthetic", "train", size=48, count=count)[2] for count in (4, 9))
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"], open_split("synthetic", "val", size=48)[2]["image"])


def test_images_and_masks_are_in_range_and_discs_are_brighter() -> None:
    dataset = open_split("synthetic", "test", size=48)
    for sample in (dataset[i] for i in range(4)):
        image, mask = sample["image"], sample["mask"]
        assert image.shape == (3, 48, 48)
        assert 0 <= image.min() <= image.max() <= 1
        assert set(mask.unique().tolist()) == {0, 1}
        assert 0.01 < mask.mean() < 0.3
        assert image.mean(0)[mask[0] > 0].mean() > image.mean(0)[mask[0] == 0].mean() + 0.2


def test_no_such_split() -> None:
    with pytest.raises(UserError, match="no split all"):
        open_split("synthetic", "all", size=48)
