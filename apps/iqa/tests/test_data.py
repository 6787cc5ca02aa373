"""The embedded discs: the same for everybody, other ones in every split."""

import torch

from iqa.data import Discs


def test_a_sample_is_a_function_of_split_and_index() -> None:
    first, again = Discs("train", 4, 48)[2], Discs("train", 9, 48)[2]
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"], Discs("val", 4, 48)[2]["image"])


def test_images_and_masks_are_in_range_and_discs_are_brighter() -> None:
    for sample in (Discs("test", 4, 48)[i] for i in range(4)):
        image, mask = sample["image"], sample["mask"]
        assert image.shape == (3, 48, 48)
        assert 0 <= image.min() <= image.max() <= 1
        assert set(mask.unique().tolist()) == {0, 1}
        assert 0.01 < mask.mean() < 0.3
        assert image.mean(0)[mask[0] > 0].mean() > image.mean(0)[mask[0] == 0].mean() + 0.2
