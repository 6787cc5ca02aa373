"""Run's loop: its loaders, gradients by count, epochs of steps, and what it refuses before it starts."""

import json
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

import accelerate
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from tiny_run import forked, tiny
from torch import Tensor, nn

from polyscale.errors import UserError
from polyscale.testing.ranks import run_ranks
from polyscale.training import Run, TrainSettings, param_groups, read_journal
from polyscale.training.checkpoints import checkpoint
from polyscale.training.folder import RunFolder
from polyscale.training.launch import create_accelerator
from polyscale.training.lock import lock_folder

needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
NUMBERS = torch.arange(24, dtype=torch.float32).view(24, 1) / 24


class Line(nn.Linear):
    def __init__(self) -> None:
        super().__init__(1, 2)

    def save_pretrained(self, folder: Path) -> None:
        save_file(self.state_dict(), folder / "model.safetensors")


def line(out: Path, **settings: object) -> tuple[Run, nn.Module]:
    run = Run(TrainSettings(**{"batch_size": 6, "epochs": 1, "lr": 0.01, **settings}), out)
    net = Line()
    return run, run.prepare(net, param_groups(net, 0.0))[0]


def end(out: Path) -> dict[str, Tensor]:
    return load_file(out / "last/model.safetensors")


def test_accumulation_equals_one_large_batch(tmp_path: Path) -> None:
    """Without BatchNorm and dropout, 2 x 3 samples give the gradient of 6."""
    for name, batch, accumulate in (("a", 3, 2), ("b", 6, 1)):
        run, model = line(tmp_path / name, batch_size=batch, accumulate=accumulate, max_steps=2)
        loader = run.loader(NUMBERS)
        for _ in run.epochs():
            for x in run.steps(loader):
                run.backward({"loss": model(x).square().mean()})
        assert run.progress.step == 2
    for key, value in end(tmp_path / "a").items():
        torch.testing.assert_close(value, end(tmp_path / "b")[key])


def train_by_count(out: Path, batch_size: int, accumulate: int, rank: int = 0) -> None:
    """The loss is the mean over the samples above one half: a different number in every batch, 0 in some."""
    run, model = line(out, batch_size=batch_size, accumulate=accumulate, clip=0.0, optimizer="sgd", ema=0.0)
    loader = run.loader(NUMBERS)
    for _ in run.epochs():
        for x in run.steps(loader):
            wanted = model(x)[x[:, 0] > 0.5]
            run.backward({"loss": wanted.square().mean()}, count=len(wanted))


@needs_fork
def test_a_mean_over_items_is_that_of_the_whole_step(tmp_path: Path) -> None:
    """One batch of 12, six of 2, and two processes with three of 2 each: the same items, so the same weights."""
    torch.set_num_threads(1)
    train_by_count(tmp_path / "one", 12, 1)
    train_by_count(tmp_path / "six", 2, 6)
    run_ranks(train_by_count, 2, tmp_path / "ranks", 2, 3)()
    about = json.loads((checkpoint.newest(tmp_path / "ranks/checkpoints") / "state.json").read_text())  # type: ignore[operator]
    assert about["processes"] == 2
    accelerate.utils.set_seed(0)
    start = Line().state_dict()
    for name in ("six", "ranks"):
        for key, value in end(tmp_path / name).items():
            torch.testing.assert_close(value, end(tmp_path / "one")[key], rtol=0, atol=1e-6)
            assert not torch.allclose(value, start[key], atol=1e-4)
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines()[-1] for name in ("one", "six", "ranks")]
    losses = [json.loads(log)["loss"] for log in logs]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)


def test_each_loader_serves_its_own_data(tmp_path: Path) -> None:
    run, model = line(tmp_path, epochs=2)
    first, second = run.loader(NUMBERS), run.loader(NUMBERS + 10)
    assert run.total_steps == 8  # before the first step
    seen = []
    for epoch in run.epochs():
        for x in run.steps(second if epoch else first):
            seen.append(float(x.min()) >= 10)
            run.backward({"loss": model(x).square().mean()})
    assert seen == [False] * 4 + [True] * 4


def test_two_loaders_go_in_step_each_through_its_own_data(tmp_path: Path) -> None:
    run, model = line(tmp_path, epochs=2)
    first, small = run.loader(NUMBERS), run.loader(NUMBERS[:5], batch_size=2)
    seen: list[float] = []
    for _ in run.epochs():
        for x, y in zip(run.steps(first), run.steps(small), strict=True):
            seen += (y[:, 0] * 24).round().tolist()
            run.backward({"loss": model(x).square().mean() + model(y).square().mean()})
    assert (run.progress.step, first.position, small.position) == (8, 8, 8)
    assert len(seen) == 16
    assert set(seen) == {0.0, 1.0, 2.0, 3.0, 4.0}


def test_an_epoch_may_be_a_number_of_steps(tmp_path: Path) -> None:
    run, model = line(tmp_path, epochs=3, steps_per_epoch=5, accumulate=2)
    assert run.total_steps == 15
    loader = run.loader(NUMBERS)  # 4 batches in a pass
    steps = []
    for _ in run.epochs():
        for x in run.steps(loader):
            run.backward({"loss": model(x).square().mean()})
        steps.append(run.progress.step)
        assert run.validation_due
    assert steps == [5, 10, 15]
    assert loader.position == 30


def test_what_accelerate_refuses_is_one_line_naming_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerate.tracking, "_available_trackers", [])
    with pytest.raises(UserError, match=r"^train\.tracker: wandb is not installed"):
        Run(TrainSettings(tracker="wandb"), tmp_path)
    AcceleratorState._reset_state(True)
    Accelerator()  # settles the precision of this process
    with pytest.raises(UserError, match=r"^train\.precision: bf16 cannot be used: AcceleratorState has already"):
        Run(TrainSettings(precision="bf16"), tmp_path)
    AcceleratorState._reset_state(True)


def test_a_used_folder_is_refused_and_an_empty_one_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(UserError, match="already holds a run"):
        Run(TrainSettings(), tmp_path)
    with pytest.raises(UserError, match="no run to resume"):
        Run(TrainSettings(), tmp_path / "none", resume=True)
    with pytest.raises(UserError, match="is a file; a run needs a folder"):
        Run(TrainSettings(), tmp_path / "log.jsonl")


def test_runs_of_one_second_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    accelerator = create_accelerator(TrainSettings())
    folders = [RunFolder(None, accelerator) for _ in range(3)]
    assert not Path("runs").exists()  # a start that fails now leaves nothing behind
    for folder in folders:
        folder.path = Path("runs/2026-01-02_03-04-05")
        folder.make(resume=False, record="")
    assert [folder.path.name[19:] for folder in folders] == ["", "_2", "_3"]


def hold(out: Path, ready: Event, go: Event) -> None:
    """A run that has its folder and has written nothing else yet."""
    AcceleratorState._reset_state(True)
    line(out)
    (out / "log.jsonl").unlink()
    ready.set()
    go.wait(30)


def hold_resumed(out: Path, ready: Event, go: Event) -> None:
    lock_folder(out)
    ready.set()
    go.wait(30)


@needs_fork
@pytest.mark.parametrize(("holder", "words"), [(hold, ()), (hold_resumed, ("resume=1", "epochs=1"))])
def test_a_folder_holds_one_run_at_a_time(tmp_path: Path, holder: Callable[..., None], words: tuple[str, ...]) -> None:
    out = tmp_path / "run"
    if words:
        assert tiny(out, "epochs=1", "max_steps=2").returncode == 0
    context = multiprocessing.get_context("fork")
    ready, go = context.Event(), context.Event()
    first = context.Process(target=holder, args=(out, ready, go))
    first.start()
    assert ready.wait(30)
    second = tiny(out, *words)
    go.set()
    first.join()
    assert second.returncode == 1
    assert second.stderr == f"error: {out}: another run is at work here; wait for it or choose another --out\n"
    third = tiny(out, *words)  # the lock of a process that ended does not block
    assert third.returncode == 0, third.stderr


@needs_fork
@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("lr=0.1", "train.lr: 0.1 does not fit the run, which was trained with 0.01; set it back in"),
        ("ema=0", "train.ema: 0.0 does not fit"),
        ("optimizer=sgd", "train.optimizer: sgd does not fit"),
        ("schedule=step", "train.schedule: step does not fit"),
        ("accumulate=1", "train.accumulate: 1 does not fit"),
        ("batch_size=4", "train.batch_size: 4 does not fit"),
        ("seed=1", "train.seed: 1 does not fit"),
        ("epochs=2", "train.epochs: 2 does not fit"),
        ("steps_per_epoch=2", "train.steps_per_epoch: 2 does not fit the run, which was trained with None"),
        ("count=22", "22 samples do not fit the run, which was trained with 23; restore the data set"),
    ],
)
def test_what_no_longer_fits_is_one_line(tmp_path: Path, word: str, line: str) -> None:
    out = tmp_path / "run"
    assert tiny(out, "max_steps=2").returncode == 0
    result = tiny(out, "resume=1", word)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert line in result.stderr


@needs_fork
def test_what_no_result_depends_on_may_change(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert tiny(out, "max_steps=2").returncode == 0
    result = tiny(out, "resume=1", "workers=1", "keep=1", "save_minutes=9")
    assert result.returncode == 0, result.stderr


@needs_fork
def test_a_finished_run_may_train_longer(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert tiny(out, "epochs=2").returncode == 0
    result = tiny(out, "resume=1", "epochs=3")
    assert result.returncode == 0, result.stderr
    assert "training for 3 epochs, not 2" in result.stderr
    log = read_journal(out / "log.jsonl")
    assert [record["epoch"] for record in log if record["kind"] == "validation"] == [0, 1, 2]
    assert [record["step"] for record in log if record["kind"] == "training"] == list(range(1, 13))


def resume_alone(out: Path) -> None:
    Run(
        TrainSettings(batch_size=2, accumulate=3, clip=0.0, optimizer="sgd", ema=0.0, epochs=1, lr=0.01),
        out,
        resume=True,
    )


@needs_fork
def test_another_number_of_processes_is_one_line(tmp_path: Path) -> None:
    run_ranks(train_by_count, 2, tmp_path / "run", 2, 3)()
    result = forked(resume_alone, tmp_path / "run")
    assert result.returncode == 1
    assert "trained by 2 processes, not 1; start as many" in result.stderr


@needs_fork
def test_a_damaged_checkpoint_is_named_and_the_older_one_used(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert tiny(tmp_path / "whole").returncode == 0
    assert tiny(out, "die=7", "save_minutes=1e-9").returncode == -9
    older, newer = checkpoint.checkpoints(out / "checkpoints")
    file = newer / "rank-0.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    resumed = tiny(out, "resume=1")
    assert resumed.returncode == 0, resumed.stderr
    assert f"{file}: not as it was written (its checksum differs); going on from {older.name}" in resumed.stderr
    for name in ("best", "last"):
        assert (out / name / "model.safetensors").read_bytes() == (
            tmp_path / "whole" / name / "model.safetensors"
        ).read_bytes()
    for folder in checkpoint.checkpoints(out / "checkpoints"):
        os.truncate(folder / "optimizer.safetensors", 100)
    result = tiny(out, "resume=1")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "optimizer.safetensors: not as it was written" in result.stderr
    assert "no older checkpoint can be used" in result.stderr
