"""Findings of a check: files that cannot be read, images that splits share."""

from pathlib import Path

import numpy as np

from polyscale.data.check import Finding, digest_files, digest_image, find_copies
from polyscale.data.images import save_png


def picture(seed: int) -> np.ndarray:
    """Return an image uint8 [40, 50, 3] of smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), np.uint8)
    return coarse.repeat(5, 0).repeat(5, 1)


def test_copies_are_found_within_and_across_splits() -> None:
    nearly = np.clip(picture(0).astype(int) + 2, 0, 255).astype(np.uint8)
    flat = {level: np.full((40, 50, 3), level, np.uint8) for level in (10, 200)}
    images = {
        "train": {"a": picture(0), "b": picture(1), "c": picture(1), "flat": flat[10]},
        "val": {"d": picture(2)},
        "test": {"e": nearly, "f": picture(2), "g": picture(3), "flat": flat[200]},
    }
    splits = {split: [(name, digest_image(image)) for name, image in part.items()] for split, part in images.items()}
    assert [finding.line() for finding in find_copies(splits)] == [
        "1 image of train there more than once: b = c",
        "1 image of test, pixel for pixel in train or val too: f = d",
        "1 image of test with near-duplicates in train or val (dHash, 20 of 256 bits): e",
    ]
    assert list(find_copies({"train": splits["train"][:2], "test": []})) == []


def test_files_are_digested_and_broken_ones_named(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for i, file in enumerate(files):
        save_png(file, picture(i))
    files[1].write_bytes(files[1].read_bytes()[:60])
    done: list[tuple[int, int]] = []
    digests, (broken,) = digest_files(files, lambda *state: done.append(state))
    assert list(digests) == [files[0], files[2]]
    assert digests[files[0]].size == (40, 50)
    assert (broken.level, broken.text) == ("error", "1 image not readable")
    assert "1.png" in broken.names[0]
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_a_line_has_the_first_ten_names() -> None:
    assert Finding("note", "many", [str(i) for i in range(12)]).line().endswith("8, 9 and 2 more")
    assert Finding("note", "alone").line() == "alone"
