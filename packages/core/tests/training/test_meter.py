"""Means of losses: over what was seen, by weight, over processes with different parts."""

import json
import multiprocessing
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from polyscale.testing.ranks import run_ranks
from polyscale.training.meter import Meter


def values(**parts: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in parts.items()}


def test_a_part_is_averaged_over_the_steps_it_appears_in() -> None:
    meter = Meter()
    for step in range(4):
        meter.add(values(loss=float(step)) | (values(part=1.0) if step == 2 else {}))
    assert meter.mean() == {"loss": 1.5, "part": 1.0}
    assert meter.mean() == {}


def test_weights_count_and_a_mean_over_nothing_does_not() -> None:
    meter = Meter()
    meter.add(values(loss=1.0), weight=3)
    meter.add(values(loss=5.0), weight=torch.tensor(1.0))
    meter.add(values(loss=float("nan")), weight=0)
    meter.add(values(part=float("nan")), weight=0)
    assert meter.mean() == {"loss": 2.0}


def test_its_sums_go_on_after_a_resume() -> None:
    meter, resumed = Meter(), Meter()
    meter.add(values(loss=1.0, part=0.1))
    resumed.load_state_dict(json.loads(json.dumps(meter.state_dict())), torch.device("cpu"))
    for one in (meter, resumed):
        one.add(values(loss=2.0))
    assert meter.mean() == resumed.mean()


def log_parts(folder: Path, rank: int) -> None:
    Accelerator()
    meter = Meter()
    meter.add(values(loss=float(rank)) | (values(boxes=4.0) if rank == 0 else values(words=5.0)))
    (folder / f"{rank}.json").write_text(json.dumps(meter.mean()))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_ranks_with_different_parts_do_not_wait_for_each_other(tmp_path: Path) -> None:
    run_ranks(log_parts, 2, tmp_path)()
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == {"loss": 0.5, "boxes": 4.0, "words": 5.0}
