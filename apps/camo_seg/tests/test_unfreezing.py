"""A mixture of experts behind a backbone that unfreezes: in two processes, killed and resumed, averaged, optimised.

Where two processes with half a batch each are compared with one, no batch norm sees a batch: the backbone has none, the
decoder's are `still`.
"""

import multiprocessing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from torch import Tensor, nn

from camo_seg.build import build_model
from camo_seg.config import Config, LossSettings
from camo_seg.model import CamoSegmenter
from camo_seg.model.freezing import parts
from camo_seg.model.mixture import Routing
from camo_seg.model.network import TrainingOutput
from camo_seg.objective import Objective
from camo_seg.train import parameter_groups, train
from polyscale.testing.apps.base import Killed, count_steps
from polyscale.testing.ranks import run_ranks
from polyscale.training import read_journal
from polyscale.training.checkpoints.snapshot import read_tree

STEPS, EPOCHS, EMA = 2, 3, 0.5  # steps of an epoch
NETWORK: dict[str, Any] = {"backbone": "test_efficientnet_gn", "width": 8, "image_size": 32, "experts": 3}
NETWORK |= {"scales": (1.0, 1.5), "fusion": "window", "deep_heads": True}

pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a training on discs of many colours, from a network whose router sends them to different experts."""
    folder, rng = tmp_path_factory.mktemp("unfreezing"), np.random.default_rng(0)
    y, x = np.mgrid[:40, :48]
    for kind in ("images", "masks"):
        (folder / "data" / kind).mkdir(parents=True)
    for i in range(30):
        disc = (y - rng.integers(10, 30)) ** 2 + (x - rng.integers(10, 38)) ** 2 < rng.integers(20, 90)
        ground = rng.integers(60, 120, (40, 48, 3)) * rng.random(3) + 100 * rng.random(3)
        Image.fromarray((ground + 40 * disc[..., None]).astype(np.uint8)).save(folder / f"data/images/{i:02}.png")
        Image.fromarray((disc * 255).astype(np.uint8)).save(folder / f"data/masks/{i:02}.png")
    torch.manual_seed(0)
    start = CamoSegmenter(**NETWORK)
    with torch.no_grad():
        start.decoder.router.layers[-1].weight.mul_(20)
    start.save_pretrained(folder / "start")
    network = {name: value for name, value in NETWORK.items() if name != "deep_heads"}
    return {
        "data": {"path": str(folder / "data")},
        "model": {**network, "weights": str(folder / "start")},
        "loss": {"deep": 0.3, "balance": 0.5},
        "optim": {"unfreeze_epochs": EPOCHS - 1},
        "train": {"epochs": EPOCHS, "ema": EMA, "lr": 0.01, "log_every": 1, "save_minutes": 1e-6, "keep": 99},
    }  # a checkpoint after every step


class StillNorm(nn.BatchNorm2d):
    """A batch norm that sees no batch: that of a process is another than that of all."""

    def train(self, mode: bool = True) -> "StillNorm":
        return super().train(False)


def still(config: Config) -> CamoSegmenter:
    network = build_model(config)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = StillNorm
    return network


def run(settings: Mapping[str, Any], out: Path, stop_at: int = 0, *, resume: bool = False, **training: Any) -> None:
    """Train with these settings; `stop_at` is the step before which Killed is raised."""
    AcceleratorState._reset_state(True)
    config = Config.model_validate({**settings, "train": settings["train"] | training})
    with pytest.MonkeyPatch.context() as patch:
        count_steps(patch, stop_at, by_signal=False)
        if config.train.optimizer == "sgd":
            patch.setattr("camo_seg.train.build_model", still)
        train(config, out, resume=resume)


def run_as_rank(settings: Mapping[str, Any], out: Path, stop_at: int, resume: bool, rank: int) -> None:
    """One of two processes of a training by SGD: AdamW's first steps make whole steps of the rounding of a gradient."""
    run(settings, out, stop_at, resume=resume, optimizer="sgd", batch_size=4)


@pytest.fixture(scope="module")
def adam(settings: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in one process."""
    out = tmp_path_factory.mktemp("adam") / "run"
    run(settings, out)
    return out


@pytest.fixture(scope="module")
def pair(settings: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in two processes."""
    out = tmp_path_factory.mktemp("pair") / "run"
    run_ranks(run_as_rank, 2, settings, out, 0, False)()
    return out


def log(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_journal(folder / "log.jsonl")]


def at(folder: Path, step: int, name: str = "model") -> Any:
    return read_tree(folder / f"checkpoints/step-{step:08d}/{name}.safetensors")


def test_two_processes_train_as_one(settings: Mapping[str, Any], pair: Path, tmp_path: Path) -> None:
    run(settings, tmp_path / "one", optimizer="sgd")
    for step in range(1, STEPS * EPOCHS + 1):
        for name in ("model", "ema"):
            one, two = at(tmp_path / "one", step, name), at(pair, step, name)
            for key, value in one.items():
                torch.testing.assert_close(two[key], value, rtol=0, atol=1e-5, msg=f"{key} after step {step}")
    use = set()
    for one, two in zip(log(tmp_path / "one"), log(pair), strict=True):
        assert two == pytest.approx(one, abs=1e-3)
        use.add(tuple(one.get(f"use_{name}") for name in ("edge", "texture", "context")))
    assert len(use) > 3  # the experts' shares differ from step to step


def test_the_balance_of_two_processes_is_that_of_all_images() -> None:
    torch.manual_seed(0)
    probabilities = torch.randn(8, 3).softmax(1)
    routing = Routing(probabilities, probabilities.topk(2).indices)
    halves = [Routing(*(x[half] for x in routing)) for half in (slice(0, 4), slice(4, 8))]

    def balance(routing: Routing, use: Tensor) -> float:
        output = TrainingOutput(torch.zeros(1, 1, 8, 8), [], [], routing)
        objective = Objective(LossSettings(balance=2.0), (1.0,), 1, over_processes=lambda _: use)
        return objective(output, torch.zeros(1, 1, 8, 8), 0)["balance"].item()

    together = [balance(half, routing.use) for half in halves]
    assert sum(together) / 2 == pytest.approx(balance(routing, routing.use))
    alone = [balance(half, half.use) for half in halves]
    assert sum(alone) / 2 != pytest.approx(balance(routing, routing.use), abs=1e-3)


def test_killed_while_unfreezing_and_resumed_ends_bit_equal(
    settings: Mapping[str, Any], adam: Path, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        run(settings, tmp_path / "run", STEPS + 2)
    run(settings, tmp_path / "run", resume=True)
    same(tmp_path / "run", adam)


def test_two_processes_killed_while_unfreezing_end_bit_equal(
    settings: Mapping[str, Any], pair: Path, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="the ranks ended with"):
        run_ranks(run_as_rank, 2, settings, tmp_path / "run", STEPS + 2, False)()
    run_ranks(run_as_rank, 2, settings, tmp_path / "run", 0, True)()
    same(tmp_path / "run", pair)


def same(one: Path, other: Path) -> None:
    for name in ("best", "last"):
        weights = [(folder / name / "model.safetensors").read_bytes() for folder in (one, other)]
        assert weights[0] == weights[1], name
    assert log(one) == log(other)


def test_optimizer_and_average_take_up_what_unfreezes(adam: Path) -> None:
    start = CamoSegmenter(**NETWORK)
    names = {id(p): name for name, p in start.named_parameters()}
    part_of = {names[id(p)]: i for i, part in enumerate(parts(start)) for p in part.parameters()}
    groups = parameter_groups(start, Config.model_validate({"train": {"weight_decay": 0.05}}))
    order = [names[id(p)] for group in groups for p in group["params"]]
    first = at(adam, 1)
    average = {name: first[name].clone() for name in order}
    learned = dict.fromkeys(order, 0)
    for step in range(2, STEPS * EPOCHS + 1):
        before, now, ema = at(adam, step - 1), at(adam, step), at(adam, step, "ema")
        share = 1 - min(EMA, step / (9 + step))
        for name in order:
            learned[name] += not torch.equal(now[name], before[name])
            average[name].lerp_(now[name], share)
            torch.testing.assert_close(ema[name], average[name], rtol=0, atol=1e-6)
        if step % STEPS == 0:
            epoch = step // STEPS - 1
            moved = {part_of[name] for name in order if name in part_of and learned[name]}
            count = len(parts(start))
            assert moved == set(range(count - count * epoch // (EPOCHS - 1), count)), epoch
            state = at(adam, step, "optimizer")["state"]
            assert {part_of[order[i]] for i in state if order[i] in part_of} == moved
    assert all(learned[name] for name in part_of)
