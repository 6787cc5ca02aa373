"""CamoSet: what a sample is, resizing, the cache, and its way through worker processes."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from camo_seg.data import CamoSet, Sample, network_image, network_mask, open_split
from polyscale.errors import UserError


class Counting:
    """A source of distinct images that counts how often each is read."""

    def __init__(self, count: int, side: int = 16) -> None:
        self.names = [f"n{index}" for index in range(count)]
        self.side, self.reads = side, [0] * count

    def read(self, index: int) -> Sample:
        self.reads[index] += 1
        mask = np.zeros((self.side, self.side), bool)
        mask[: 4 + index] = True
        return Sample(np.full((self.side, self.side, 3), 10 * index, np.uint8), mask)


def test_a_sample_is_scaled_to_the_network() -> None:
    part = open_split("synthetic", "val", size=48, counts=(1, 4, 1), native_size=96)
    assert len(part) == 4
    assert part.title == "synthetic/val"
    sample = part[2]
    assert sample["index"] == 2
    assert sample["image"].shape == (3, 48, 48)
    assert sample["image"].dtype == sample["mask"].dtype == torch.float32
    assert 0 <= sample["image"].min() < sample["image"].max() <= 1
    assert sample["image"].max() > 0.2
    assert sample["mask"].shape == (1, 48, 48)
    assert set(sample["mask"].unique().tolist()) == {0.0, 1.0}
    image, mask = part.original(2)
    assert image.shape == (96, 96, 3)
    assert abs(float(sample["mask"].mean()) - mask.mean()) < 0.01
    assert abs(float(sample["image"].mean()) * 255 - image.mean()) < 2


def test_indices_are_those_of_a_sequence() -> None:
    part = CamoSet(Counting(3), 8, "counting/train")
    assert part[-1]["index"] == 2
    assert torch.equal(part[-1]["image"], part[2]["image"])
    with pytest.raises(IndexError):
        part[3]


def test_the_cache_reads_once_within_its_budget_and_changes_nothing() -> None:
    source = Counting(5)
    part = CamoSet(source, 8, "counting/train", cache_bytes=3 * 4 * 8 * 8)
    plain = CamoSet(Counting(5), 8, "counting/train", cache=False)
    for _ in range(2):
        for index in range(5):
            assert torch.equal(part[index]["image"], plain[index]["image"])
            assert torch.equal(part[index]["mask"], plain[index]["mask"])
    assert source.reads == [1, 1, 1, 4, 4]
    part[0]["image"].fill_(7)
    assert part[0]["image"].max() == 0


def test_preload_fills_the_cache_and_reports() -> None:
    source, seen = Counting(4), []
    part = CamoSet(source, 8, "counting/train")
    part.preload(lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    _ = part[1], part[3]
    assert source.reads == [1, 1, 1, 1]


def test_augmentation_sees_the_network_size_and_leaves_the_cache_alone() -> None:
    shapes = []

    def invert(image: Any, mask: np.ndarray) -> tuple[Any, ...]:
        shapes.append((tuple(image.shape), image.dtype, tuple(mask.shape), mask.dtype))
        return type(image)(255 - image), mask

    part = CamoSet(Counting(2), 8, "counting/train", augment=invert)
    assert part[1]["image"].unique().tolist() == pytest.approx([245 / 255])
    assert part[1]["image"].unique().tolist() == pytest.approx([245 / 255])
    assert shapes[0] == ((3, 8, 8), torch.uint8, (1, 8, 8), torch.uint8)
    assert type(part[1]["image"]) is torch.Tensor


def test_it_survives_pickling_without_its_cache() -> None:
    part = open_split("synthetic", "train", size=32, counts=(50, 1, 1), native_size=32)
    part.preload()
    content = pickle.dumps(part)
    assert len(content) < 20_000
    copy = pickle.loads(content)
    assert torch.equal(copy[7]["image"], part[7]["image"])
    assert copy.names == part.names


def test_workers_deliver_what_one_process_does() -> None:
    part = open_split("synthetic", "train", size=32, counts=(6, 1, 1), native_size=32)
    loader = torch.utils.data.DataLoader(part, batch_size=3, num_workers=2)
    batches = list(loader)
    assert torch.equal(batches[1]["index"], torch.tensor([3, 4, 5]))
    assert torch.equal(batches[1]["image"], torch.stack([part[index]["image"] for index in (3, 4, 5)]))
    assert batches[0]["mask"].shape == (3, 1, 32, 32)


def test_masks_shrink_by_cover_and_never_to_nothing() -> None:
    mask = np.zeros((64, 64), bool)
    mask[16:48, 8:24] = True
    small = network_mask(mask, 16)
    assert torch.equal(small[0, 4:12, 2:6], torch.ones(8, 4, dtype=torch.uint8))
    assert small.sum() == 32
    dot = np.zeros((64, 64), bool)
    dot[33, 21] = True
    small = network_mask(dot, 16)
    assert small.sum() == 1
    assert small[0, 8, 5] == 1
    assert network_mask(np.zeros((64, 64), bool), 16).sum() == 0
    assert network_mask(np.ones((5, 9), bool), 16).sum() == 256


def test_images_shrink_antialiased() -> None:
    stripes = np.zeros((66, 66, 3), np.uint8)
    stripes[:, ::3] = 255  # period 3 at a third of the size: plain sampling would give 0 or 255
    small = network_image(stripes, 22)
    assert small.shape == (3, 22, 22)
    assert small.float().std() < 12
    assert abs(small.float().mean() - 85) < 3
    assert torch.equal(network_image(stripes, 66), torch.from_numpy(stripes).permute(2, 0, 1))
    assert network_image(stripes[:1, :1], 8).shape == (3, 8, 8)


def test_an_impossible_size_is_refused() -> None:
    with pytest.raises(UserError, match="positive number of pixels, given 0"):
        CamoSet(Counting(1), 0, "counting/train")
