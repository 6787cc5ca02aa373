"""Order of samples: a function of seed, epoch and position, in equal shares, along recordings where asked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from polyscale.errors import UserError
from polyscale.training import Loader, Shuffled, Streams
from polyscale.training.loader import Key, permutation


class Indices(torch.utils.data.Dataset):
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"i": torch.tensor(index), "noise": torch.rand(())}


def shares(order: Shuffled | Streams, batch: int, world: int, seed: int = 1) -> list[list[list[Key]]]:
    return [list(order.epoch([seed, 0], batch, rank, world)) for rank in range(world)]


@pytest.mark.parametrize(
    ("count", "batch", "world"), [(23, 3, 1), (23, 3, 2), (5, 8, 1), (5, 8, 3), (1, 4, 2), (12, 4, 3)]
)
def test_every_process_gets_the_same_number_of_equal_batches(count: int, batch: int, world: int) -> None:
    dealt = shares(Shuffled(count), batch, world)
    assert {len(share) for share in dealt} == {Shuffled(count).batches(batch, world)}
    assert len({len(b) for share in dealt for b in share}) == 1
    seen = [key.sample for share in dealt for b in share for key in b]
    assert set(seen) <= set(range(count))
    if count >= batch * world:
        assert len(seen) == len(set(seen)) == count // (batch * world) * batch * world


def test_order_is_a_function_of_seed_and_epoch() -> None:
    assert (permutation(50, [1, 2]) == permutation(50, [1, 2])).all()
    assert (permutation(50, [1, 2]) != permutation(50, [1, 3])).any()
    assert (permutation(50, [1, 2]) != permutation(50, [2, 2])).any()


def served(loader: Loader, count: int) -> list[list[int]]:
    return [batch["i"].tolist() for batch in loader.take(count)]


@pytest.mark.parametrize("order", [Shuffled(17), Streams((4, 6, 2, 5))])
def test_a_loader_goes_on_in_the_middle_and_over_epochs(order: Shuffled | Streams) -> None:
    def loader(seed: int = 1) -> Loader:
        return Loader(Indices(17), order, None, 3, seed=(seed,))

    whole = served(loader(), 20)
    assert len(whole) == 20 > 2 * loader().batches
    other = loader()
    assert served(other, 7) + served(other, 1) + served(other, 12) == whole
    resumed = loader()
    resumed.load_state_dict({**loader().state_dict(), "position": 7}, Path("run"))
    assert served(resumed, 13) == whole[7:]
    assert served(loader(2), 20) != whole


def test_seeded_samples_leave_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.randn(2)
    torch.manual_seed(0)
    first, second = (next(iter(Loader(Indices(4), Shuffled(4), None, 4, seed=(1,)).take(1))) for _ in range(2))
    assert torch.equal(first["noise"], second["noise"])
    assert len(first["noise"].unique()) == 4
    assert torch.equal(torch.randn(2), expected)


@pytest.mark.parametrize(("batch", "world"), [(1, 1), (2, 1), (2, 2), (4, 2), (1, 3)])
def test_a_slot_stays_on_its_recording(batch: int, world: int) -> None:
    lengths = (5, 3, 7, 2, 6)
    recording = np.repeat(np.arange(5), lengths)
    chunk = np.concatenate([np.arange(length) for length in lengths])
    order = Streams(lengths)
    for share in shares(order, batch, world):
        assert len(share) == order.batches(batch, world)
        for slot in zip(*share, strict=True):
            for before, key in zip((None, *slot), slot, strict=False):
                if key.first:
                    assert chunk[key.sample] == 0
                    assert before is None or chunk[before.sample] == lengths[recording[before.sample]] - 1
                else:  # the chunk that follows, with the same random numbers for its augmentation
                    assert before is not None
                    assert (key.sample, key.seed) == (before.sample + 1, before.seed)
    seen = {key.sample for share in shares(order, batch, world) for b in share for key in b}
    assert seen == set(range(23))  # every chunk of every recording, however many slots
    assert shares(order, batch, world) != shares(order, batch, world, seed=2)


def test_streams_are_as_short_as_they_can_be() -> None:
    assert Streams((5, 3, 7, 2, 6)).batches(1, 1) == 23
    assert Streams((5, 3, 7, 2, 6)).batches(2, 1) == 12  # 23 / 2
    assert Streams((100, 1, 1, 1)).batches(2, 1) == 100  # the longest is played whole


def numbers(samples: list[dict[str, Tensor]]) -> dict[str, list[int]]:
    """Collates; workers that are not forked (macOS, Windows, Python 3.14) need it at the top of a module."""
    return {"i": [int(sample["i"]) for sample in samples]}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_of_streams_tells_where_recordings_begin(workers: int) -> None:
    loader = Loader(Indices(7), Streams((3, 4)), numbers, 2, seed=(0,), workers=workers)
    batches = list(loader.take(4))
    loader.close()
    for batch in batches:
        assert batch["first"].tolist() == [i in (0, 3) for i in batch["i"]]
    with pytest.raises(TypeError, match="must be a dict, to which first is added; got list"):
        list(Loader(Indices(7), Streams((3, 4)), list, 2, seed=(0,)).take(1))


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ValueError, match="the data set holds no sample"):
        Shuffled(0)
    with pytest.raises(ValueError, match="at least 1 chunk"):
        Streams((3, 0))
    with pytest.raises(ValueError, match="order must be of the data set's samples, got 4 of them"):
        Loader(Indices(5), Streams((3, 1)), None, 2, seed=(0,))
    state = Loader(Indices(5), Shuffled(5), None, 2, seed=(0,)).state_dict()
    with pytest.raises(UserError, match=r"^r: 6 samples do not fit the run, which was trained with 5; restore"):
        Loader(Indices(6), Shuffled(6), None, 2, seed=(0,)).load_state_dict(state, Path("r"))
    with pytest.raises(UserError, match=r"^r: 3 batch size do not fit the run, which was trained with 2"):
        Loader(Indices(5), Shuffled(5), None, 3, seed=(0,)).load_state_dict(state, Path("r"))
