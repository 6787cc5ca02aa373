"""Dealing batches to processes and gathering rows: nothing twice, nothing lost; modes are restored."""

import numpy as np
import pytest
import torch
from torch import nn

from polyscale.errors import UserError
from polyscale.evaluation.shard import eval_mode, gather_rows, most_batches, shard_batches
from polyscale.models.cost import cost_row, count


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
    passes = [most_batches(11, 3, Ranks(i, processes)) for i in range(processes)]
    assert passes == [max(len(share) for share in shares)] * processes


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
