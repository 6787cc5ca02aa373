"""Dealing batches to processes and gathering rows: nothing twice, nothing lost; modes are restored."""

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from polyscale.errors import UserError
from polyscale.evaluation.shard import (
    WINDOW,
    eval_mode,
    gather,
    gather_rows,
    iterate_batches,
    shard_batches,
)
from polyscale.models.cost import cost_row, count
from polyscale.testing import run_ranks


class Ranks:
    """What the dealing asks of an Accelerator."""

    def __init__(self, index: int, count: int) -> None:
        self.process_index, self.num_processes = index, count


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_shares_are_the_batches_of_one_process_dealt_out(processes: int) -> None:
    single = [list(batch) for batch in shard_batches(11, 3)]
    assert single == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10]]
    shares = [[list(b) for b in shard_batches(11, 3, Ranks(i, processes))] for i in range(processes)]
    assert sorted(batch for share in shares for batch in share) == single


def test_nothing_to_deal_is_one_line() -> None:
    with pytest.raises(UserError, match="has no image"):
        shard_batches(0, 3)
    with pytest.raises(UserError, match="batch_size is 0; at least 1"):
        shard_batches(3, 0)


def test_rows_come_in_order_and_a_lost_one_is_noticed() -> None:
    table = gather_rows({2: (5.0, 6.0), 0: (1.0, 2.0), 1: (3.0, float("nan"))}, (3, 2))
    np.testing.assert_array_equal(table, [[1, 2], [3, np.nan], [5, 6]])
    assert gather_rows({}, (0, 2)).shape == (0, 2)
    with pytest.raises(RuntimeError, match="2 rows were gathered for 3 samples"):
        gather_rows({0: (1.0,), 2: (1.0,)}, (3, 1))


class Other:
    """An Accelerator of two processes, the other one holding `rows` already padded."""

    device, num_processes = torch.device("cpu"), 2

    def __init__(self, rows: list[list[float]]) -> None:
        self.rows = torch.tensor(rows, dtype=torch.float64)

    def pad_across_processes(self, table: torch.Tensor, pad_index: int) -> torch.Tensor:
        short = torch.full((len(self.rows) - len(table), table.shape[1]), float(pad_index), dtype=table.dtype)
        return torch.cat([table, short])

    def gather(self, table: torch.Tensor) -> torch.Tensor:
        return torch.cat([table, self.rows])


def test_padding_is_not_counted() -> None:
    table = gather_rows({1: (0.5,)}, (3, 1), Other([[0, 0.1], [2, 0.2]]))
    np.testing.assert_array_equal(table, [[0.1], [0.5], [0.2]])


def test_every_module_is_afterwards_as_it_was() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout()).train()
    model[0].eval()
    with eval_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == [True, False, True]


def test_costs_are_counted_by_hand() -> None:
    with torch.device("meta"):
        cost = count(nn.Conv2d(3, 8, 3, padding=1).eval(), torch.empty(1, 3, 10, 12))
    assert cost == (3 * 8 * 9 + 8, 3 * 8 * 9 * 120)
    row = cost_row("three", (3_000_000, 4_000_000_000), (1_500_000, 1_000_000_000))
    assert list(row.values()) == ["three", 3.0, 2.0, 4.0, 4.0]


class Uneven:
    """`count` samples of two shapes in turn; sample i is filled with i."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return {"image": torch.full((1, 4, 4 + index % 2), float(index)), "index": index}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_hold_equal_shapes_and_every_sample_once(workers: int) -> None:
    progress: list[tuple[int, int]] = []
    batches = list(iterate_batches(Uneven(21), 2, workers=workers, progress=lambda *at: progress.append(at)))
    assert sorted(index for indices, _ in batches for index in indices) == list(range(21))
    for indices, samples in batches:
        assert indices == [sample["index"] for sample in samples]
        assert len({sample["image"].shape for sample in samples}) == 1
        assert len(indices) <= 2
        assert len({index // (2 * WINDOW) for index in indices}) == 1  # so that few wait for the rest of their batch
    assert progress == [(sum(len(b[0]) for b in batches[: i + 1]), 21) for i in range(len(batches))]


def test_rows_of_any_kind_are_gathered_in_order() -> None:
    assert gather({2: "two", 0: "", 1: [1, 2]}, 3) == ["", [1, 2], "two"]
    with pytest.raises(RuntimeError, match="1 rows were gathered for 2 samples"):
        gather({1: "x"}, 2)


def evaluate_in_ranks(out: Path, count: int, rank: int) -> None:
    """Evaluate with a DDP model, whose passes wait for each other, as BatchNorm's buffers are broadcast."""
    from accelerate import Accelerator

    accelerator = Accelerator()
    model = accelerator.prepare(nn.BatchNorm2d(1))
    assert isinstance(model, nn.parallel.DistributedDataParallel)
    rows, objects, passes = {}, {}, 0
    with eval_mode(model), torch.no_grad():
        for indices, samples in iterate_batches(Uneven(count), 2, accelerator=accelerator):
            found = model(torch.stack([sample["image"] for sample in samples])).mean((1, 2, 3))
            passes += 1
            rows |= {index: [value] for index, value in zip(indices, found.tolist(), strict=False)}
            objects |= {index: "x" * (index % 5) for index in indices}
    table = gather_rows(rows, (count, 1), accelerator)
    document = {
        "world": accelerator.num_processes,
        "passes": passes,
        "own": sorted(rows),
        "table": table[:, 0].tolist(),
        "objects": gather(objects, count, accelerator),
    }
    (out / f"{rank}.json").write_text(json.dumps(document))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.parametrize("count", [1, 11, 21])
def test_two_ranks_go_in_step_and_gather_the_rows_of_one(tmp_path: Path, count: int) -> None:
    run_ranks(evaluate_in_ranks, 2, tmp_path, count)()
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["world"] == second["world"] == 2
    assert first["passes"] == second["passes"]
    assert sorted(first["own"] + second["own"]) == list(range(count))
    for rank in (first, second):
        assert rank["table"] == pytest.approx([index / (1 + 1e-5) ** 0.5 for index in range(count)])
        assert rank["objects"] == ["x" * (index % 5) for index in range(count)]
