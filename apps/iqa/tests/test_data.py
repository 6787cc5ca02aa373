"""One preprocessing for everything, a data set that survives pickling, and one door to every source."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from iqa.data import QualitySet, describe, network_image, network_size, open_split, read_network_image
from iqa.data.dataset import FileSource, random_crop
from iqa.data.listing import Entry
from polyscale.errors import UserError


def noise(seed: int, height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def files(folder: Path, count: int = 6, **size: Any) -> FileSource:
    """A set of noise images with scores 0, 1, ... on a scale of 0 to 10."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(noise(index, **size)).save(folder / f"p{index}.png")
    return FileSource([Entry(f"p{i}", folder / f"p{i}.png", float(i), f"s{i % 2}") for i in range(count)], 0.0, 10.0)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (384, 512, (384, 512)),
        (512, 512, (512, 512)),
        (3000, 4000, (443, 591)),
        (300, 20000, (63, 4161)),
        (1, 1, (1, 1)),
        (1, 10**6, (1, 262144)),
        (10**6, 1, (262144, 1)),
    ],
)
def test_network_size_keeps_the_aspect_and_bounds_the_area(height: int, width: int, expected: tuple[int, ...]) -> None:
    found = network_size(height, width, 512)
    assert found == expected
    assert found[0] * found[1] <= 512 * 512


def test_network_image_never_enlarges_and_shrinks_without_aliasing() -> None:
    image = noise(0, 40, 60)
    assert torch.equal(network_image(image, 64), torch.from_numpy(image).permute(2, 0, 1))
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = network_image(stripes, 16).float()
    assert small.shape == (3, 16, 16)
    assert (small - 127.5)[:, :, 2:-2].abs().max() < 8  # picking single columns gives 0 or 255


def test_large_files_are_read_at_a_part_of_their_size_with_the_same_outcome(tmp_path: Path) -> None:
    smooth = np.asarray(Image.fromarray(noise(3, 12, 16)).resize((1600, 1200), Image.Resampling.BICUBIC))
    Image.fromarray(smooth).save(tmp_path / "large.jpg", quality=95)
    fast = read_network_image(tmp_path / "large.jpg", 64)
    whole = network_image(np.asarray(Image.open(tmp_path / "large.jpg")), 64)
    assert fast.shape == whole.shape == (3, 55, 74)
    assert (fast.float() - whole.float()).abs().mean() < 1


def test_a_sample_is_the_image_and_its_share_of_the_scale(tmp_path: Path) -> None:
    part = QualitySet(files(tmp_path), 512, "set/train")
    sample = part[3]
    assert torch.equal(sample["image"], torch.from_numpy(noise(3)).permute(2, 0, 1) / 255)
    assert sample["image"].is_contiguous()
    assert sample["score"] == pytest.approx(0.3)
    assert sample["score"].dtype == torch.float32
    assert sample["index"] == 3
    assert part[-1]["index"] == 5
    assert np.array_equal(part.original(3), noise(3))
    assert part.subsets[:3] == ["s0", "s1", "s0"]
    with pytest.raises(IndexError):
        part[6]


def test_the_cache_keeps_images_up_to_its_bound_and_does_not_travel(tmp_path: Path) -> None:
    source = files(tmp_path)
    part = QualitySet(source, 512, "set", cache_bytes=3 * 20 * 30 * 3)
    part.preload()
    for path in tmp_path.iterdir():
        path.unlink()
    kept = [index for index in range(6) if _readable(part, index)]
    assert len(kept) == 3
    copy = pickle.loads(pickle.dumps(part))
    assert len(pickle.dumps(part)) < 4000
    assert not any(_readable(copy, index) for index in range(6))
    assert copy.names == part.names
    assert not any(_readable(QualitySet(source, 512, "set", cache=False), index) for index in kept)


def _readable(part: str, index: int) -> bool:
    try:
        part[index]
    except UserError:
        return False
    return True


def test_worker_processes_give_the_same_samples(tmp_path: Path) -> None:
    part = QualitySet(files(tmp_path), 16, "set")
    loader = torch.utils.data.DataLoader(part, batch_size=None, num_workers=2, multiprocessing_context="fork")
    for index, sample in enumerate(loader):
        assert torch.equal(sample["image"], part[index]["image"])


def test_random_crops_follow_torchs_generator_and_mirror_what_is_too_small() -> None:
    image = torch.from_numpy(noise(1)).permute(2, 0, 1)
    torch.manual_seed(5)
    first = [random_crop(image, 16) for _ in range(8)]
    torch.manual_seed(5)
    again = [random_crop(image, 16) for _ in range(8)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({crop.numpy().tobytes() for crop in first}) > 4
    grown = random_crop(image, 70)  # both sides are shorter, one by more than its own length
    assert grown.shape == (3, 70, 70)
    assert {tuple(c) for c in grown.flatten(1).T.tolist()} <= {tuple(c) for c in image.flatten(1).T.tolist()}
    torch.manual_seed(0)
    assert torch.equal(random_crop(image[:, :, :20], 20), image[:, :, :20])


def test_a_crop_reaches_every_border() -> None:
    image = torch.arange(5 * 7).reshape(1, 5, 7)
    seen = torch.cat([random_crop(image, 4).flatten() for _ in range(200)])
    assert set(seen.tolist()) == set(range(35))


def test_the_synthetic_set_opens_by_its_name() -> None:
    part = open_split("synthetic", "val", size=48, counts=(4, 3, 2), native_size=64)
    assert len(part) == 3
    assert part.title == "synthetic/val"
    assert part[0]["image"].shape == (3, 48, 48)
    assert 0 <= part[0]["score"] <= 1
    assert torch.equal(
        part[1]["image"], open_split("synthetic", "val", size=48, counts=(4, 3, 2), native_size=64)[1]["image"]
    )
    rows = describe("synthetic", counts=(4, 3, 2), native_size=64)
    assert [row["images"] for row in rows] == [4, 3, 2]
    with pytest.raises(UserError, match="all of it has no end"):
        open_split("synthetic", "all", size=48)


@pytest.mark.parametrize(
    ("path", "settings", "message"),
    [
        ("nowhere", {}, "no such file or folder"),
        ("hollow", {}, "hollow: empty folder"),
        ("empty", {}, "no known data set here"),
        ("empty", {"layout": "koniq"}, "KonIQ-10k needs one of"),
        ("empty", {"layout": "imagenet"}, "layout must be one of auto, csv, koniq"),
        ("empty", {"val_fraction": 0.9}, "val_fraction must lie between 0 and 0.8"),
        ("empty", {"images": "nowhere"}, "nowhere: no such file or folder"),
        ("empty", {"layout": "koniq", "scale": (0, 1)}, "scale: for CSV files only"),
        ("empty", {"scale": (1, 0)}, "scale must be two numbers"),
        ("image.png", {}, "a data set is a folder or a CSV file"),
    ],
)
def test_wrong_paths_and_settings_are_one_line(
    tmp_path: Path, path: str, settings: dict[str, Any], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    (tmp_path / "hollow").mkdir()
    Image.fromarray(noise(0)).save(tmp_path / "image.png")
    with pytest.raises(UserError, match=message):
        open_split(tmp_path / path, "train", size=32, **settings)
    with pytest.raises(UserError, match="split must be one of"):
        open_split(tmp_path, "exam", size=32)
