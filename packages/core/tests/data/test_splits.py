"""Seeded cuts: whole groups, the asked share, the same draw for everybody, and a note for each of them."""

from typing import Any, NamedTuple

import pytest

from polyscale.data.splits import complete_splits, split_off
from polyscale.errors import UserError


class Item(NamedTuple):
    name: str
    group: str


def of(item: Any) -> Any:
    return item.group


def items(count: int, per_group: int = 1) -> list[Any]:
    return [Item(f"p{i}", f"g{i // per_group}") for i in range(count)]


def test_cut_takes_its_share_in_whole_groups() -> None:
    rest, taken = split_off(items(100, 5), of, 0.2, seed=3)
    assert len(taken) == 20
    assert len(rest) == 80
    assert not {one.group for one in rest} & {one.group for one in taken}
    assert split_off(items(100, 5), of, 0.2, seed=3)[1] == taken
    assert split_off(items(100, 5), of, 0.2, seed=4)[1] != taken
    uneven = [Item(f"p{i}", "big" if i < 60 else "small") for i in range(80)]
    assert {one.group for one in split_off(uneven, of, 0.05, seed=0)[1]} == {"small"}


def test_cut_does_not_depend_on_the_order_of_the_list() -> None:
    taken = split_off(items(60, 3), of, 0.25, seed=1)[1]
    assert sorted(split_off(items(60, 3)[::-1], of, 0.25, seed=1)[1]) == sorted(taken)
    assert taken == sorted(taken, key=lambda item: int(item.name[1:]))


@pytest.mark.parametrize(("count", "per_group", "fraction"), [(4, 4, 0.2), (2, 1, 0.8), (1, 1, 0.2), (0, 1, 0.2)])
def test_no_part_is_left_empty(count: int, per_group: int, fraction: float) -> None:
    with pytest.raises(UserError, match=f"{count} images in .* groups are too few"):
        split_off(items(count, per_group), of, fraction, seed=0)


def test_completed_makes_test_and_validation_and_says_so() -> None:
    splits, notes = complete_splits({"": items(100)}, of, val_fraction=0.15, test_fraction=0.2, seed=0)
    assert {name: len(part) for name, part in splits.items()} == {"train": 65, "test": 20, "val": 15}
    assert sorted(item for part in splits.values() for item in part) == sorted(items(100))
    assert "20 images drawn with seed 0" in notes[0]
    assert "15 images cut from train with seed 0" in notes[1]


def test_completed_keeps_what_is_given() -> None:
    given = {"train": items(8), "val": items(2), "test": items(3)}
    assert complete_splits(given, of, val_fraction=0.1, test_fraction=0.2, seed=0) == (given, [])
    splits, notes = complete_splits(
        {"train": items(8), "val": items(3)}, of, val_fraction=0.25, test_fraction=0.2, seed=0
    )
    assert [len(splits[name]) for name in ("train", "val", "test")] == [6, 2, 3]
    assert "the val split is the test split" in notes[0]
    assert complete_splits({"test": items(3)}, of, val_fraction=0.1, test_fraction=0.2, seed=0) == (
        {"test": items(3)},
        [],
    )
