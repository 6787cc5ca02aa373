import multiprocessing
import os
from pathlib import Path

import pytest
import torch

from polyscale.testing import ranks
from polyscale.testing.ranks import run_ranks

pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")


def note_place(folder: Path, rank: int) -> None:
    (folder / str(rank)).write_text(f"{os.environ['RANK']} of {os.environ['WORLD_SIZE']}, {torch.get_num_threads()}")


def fail_on_one(rank: int) -> None:
    raise SystemExit(3 * rank)


def stall(rank: int) -> None:
    multiprocessing.Event().wait()


def test_each_rank_knows_its_place_and_computes_in_one_thread(tmp_path: Path) -> None:
    run_ranks(note_place, 2, tmp_path)()
    assert [(tmp_path / str(rank)).read_text() for rank in (0, 1)] == ["0 of 2, 1", "1 of 2, 1"]
    assert "RANK" not in os.environ  # of the parent


def test_a_failed_rank_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"ended with \[0, 3\]"):
        run_ranks(fail_on_one, 2)()


def test_a_rank_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "TIMEOUT_S", 0.2)
    with pytest.raises(RuntimeError, match=r"ended with \[None\]"):
        run_ranks(stall, 1)()
