"""The promises of the training loop: order, schedule, exact resume, signals, NaN, atomic checkpoints."""

import json
import math
import subprocess
import sys
from pathlib import Path

import accelerate
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import nn

from polyscale.errors import UserError
from polyscale.training import Run, TrainSettings, checkpoint, lr_factor, param_groups, read_journal
from polyscale.training.loader import EpochBatches, Seeded, epoch_order
from polyscale.training.state import averaged

PROGRAM = Path(__file__).with_name("tiny_run.py")


def tiny(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), str(out), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def state(out: Path) -> dict[str, torch.Tensor]:
    """Everything that a finished run ends with: raw weights, averaged weights, optimizer moments."""
    last = checkpoint.newest(out / "checkpoints")
    assert last is not None
    tensors = load_file(last / "model.safetensors") | {
        f"ema.{k}": v for k, v in load_file(out / "last/model.safetensors").items()
    }
    optimizer = torch.load(last / "optimizer.bin", weights_only=True)
    for i, moments in optimizer["state"].items():
        tensors |= {f"optimizer.{i}.{k}": v for k, v in moments.items()}
    return tensors


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    result = tiny(out)
    assert result.returncode == 0, result.stderr
    return out


def assert_same_end(a: Path, b: Path) -> None:
    left, right = state(a), state(b)
    assert left.keys() == right.keys()
    assert [k for k in left if not torch.equal(left[k], right[k])] == []
    strip = [
        [{k: v for k, v in r.items() if k != "seconds"} for r in read_journal(out / "log.jsonl")] for out in (a, b)
    ]
    assert strip[0] == strip[1]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_killed_in_an_epoch_and_resumed_ends_bit_equal(tmp_path: Path, uninterrupted: Path, workers: str) -> None:
    out = tmp_path / "run"
    killed = tiny(
        out, "die=6", "save_minutes=1e-9", f"workers={workers}"
    )  # 4 steps an epoch: in the middle of the second
    assert killed.returncode == -9
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None
    assert checkpoint.step_of(newest) == 6
    resumed = tiny(out, "resume=1", f"workers={workers}")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_end(out, uninterrupted)


def test_resume_repeats_what_a_kill_lost(tmp_path: Path, uninterrupted: Path) -> None:
    out = tmp_path / "run"
    assert tiny(out, "die=6").returncode == -9  # only the checkpoint of the first epoch's end is there
    assert tiny(out, "resume=1").returncode == 0
    assert_same_end(out, uninterrupted)


def test_sigterm_saves_and_exits_143(tmp_path: Path, uninterrupted: Path) -> None:
    out = tmp_path / "run"
    stopped = tiny(out, "term=5")
    assert stopped.returncode == 143, stopped.stderr
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None
    assert checkpoint.step_of(newest) == 6  # the running step was finished first
    assert f"stopped after step 6, saved; go on with --resume {out}" in stopped.stderr
    assert tiny(out, "resume=1").returncode == 0
    assert_same_end(out, uninterrupted)


def test_nan_stops_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = tiny(out, "nan=6", "save_minutes=1e-9")
    assert result.returncode == 1
    assert "not finite at step 7" in result.stderr
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None
    assert str(newest) in result.stderr
    assert all(v.isfinite().all() for v in load_file(newest / "model.safetensors").values())


def test_a_used_folder_is_refused_and_an_empty_one_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(UserError, match="already holds a run"):
        Run(TrainSettings(), tmp_path)
    with pytest.raises(UserError, match="no run to resume"):
        Run(TrainSettings(), tmp_path / "none", resume=True)


def test_what_accelerate_refuses_is_one_line_naming_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerate.tracking, "_available_trackers", [])
    with pytest.raises(UserError, match=r"^train\.tracker: wandb is not installed"):
        Run(TrainSettings(tracker="wandb"), tmp_path)
    AcceleratorState._reset_state(True)
    Accelerator()  # settles the precision of this process
    with pytest.raises(UserError, match=r"^train\.precision: bf16 cannot be used: AcceleratorState has already"):
        Run(TrainSettings(precision="bf16"), tmp_path)
    AcceleratorState._reset_state(True)


def test_failed_save_leaves_the_checkpoint_before_it(tmp_path: Path) -> None:
    folder = tmp_path / "best"
    checkpoint.write_whole(folder, lambda f: (f / "x").write_text("old"))

    def full_disk(target: Path) -> None:
        (target / "x").write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        checkpoint.write_whole(folder, full_disk)
    assert (folder / "x").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["best"]


def test_interrupted_replacement_is_undone(tmp_path: Path) -> None:
    (tmp_path / ".best.old").mkdir()
    checkpoint.recover(tmp_path / "best")
    assert (tmp_path / "best").is_dir()


def test_newest_goes_by_number_and_ignores_unfinished(tmp_path: Path) -> None:
    for name in ("step-00000010", "step-00000009", ".step-00000011.unfinished", "step-x", "best"):
        (tmp_path / name).mkdir()
    assert checkpoint.newest(tmp_path) == tmp_path / "step-00000010"
    checkpoint.prune(tmp_path, keep=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best", "step-00000010", "step-x"]


@pytest.mark.parametrize(
    ("count", "batch", "world"), [(23, 3, 1), (23, 3, 2), (5, 8, 1), (5, 8, 3), (1, 4, 2), (12, 4, 3)]
)
def test_every_process_gets_the_same_number_of_equal_batches(count: int, batch: int, world: int) -> None:
    shares = [list(EpochBatches(count, batch, seed=1, rank=r, world=world)) for r in range(world)]
    assert len({len(s) for s in shares}) == 1
    assert len({len(b) for s in shares for b in s}) == 1
    seen = [index for share in shares for b in share for index, _ in b]
    assert set(seen) <= set(range(count))
    if count >= batch * world:
        assert len(seen) == len(set(seen)) == count // (batch * world) * batch * world


def test_order_is_a_function_of_seed_and_epoch_and_resumes_in_the_middle() -> None:
    assert (epoch_order(50, 1, 2) == epoch_order(50, 1, 2)).all()
    assert (epoch_order(50, 1, 2) != epoch_order(50, 1, 3)).any()
    assert (epoch_order(50, 1, 2) != epoch_order(50, 2, 2)).any()
    batches = EpochBatches(50, 4, seed=1)
    batches.epoch = 3
    whole = list(batches)
    batches.start = 5
    assert list(batches) == whole[5:]


def test_seeded_samples_leave_the_global_generator_alone() -> None:
    class Random(torch.utils.data.Dataset):
        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.randn(3)

    torch.manual_seed(0)
    expected = torch.randn(2)
    torch.manual_seed(0)
    data = Seeded(Random())
    assert torch.equal(data[(0, 5)], data[(0, 5)])
    assert not torch.equal(data[(0, 5)], data[(0, 6)])
    assert torch.equal(torch.randn(2), expected)


def test_schedules() -> None:
    cosine = [lr_factor(s, 100, 10, "cosine", 0.1) for s in range(101)]
    assert cosine[0] == pytest.approx(0.1)
    assert max(cosine) == cosine[9] == cosine[10] == 1.0
    assert cosine[55] == pytest.approx(0.1 + 0.9 / 2)
    assert cosine[100] == pytest.approx(0.1)
    assert lr_factor(66, 99, 0, "step") == pytest.approx(0.1)
    assert lr_factor(65, 99, 0, "step") == 1.0
    assert lr_factor(88, 99, 0, "step") == pytest.approx(0.01)
    assert lr_factor(50, 100, 0, "linear") == pytest.approx(0.5)
    assert lr_factor(99, 100, 0, "constant") == 1.0


def test_param_groups_decay_matrices_only_and_scale_by_prefix() -> None:
    net = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))})
    groups = {(g["lr_scale"], g["weight_decay"]): len(g["params"]) for g in param_groups(net, 0.1, {"backbone.": 0.2})}
    assert groups == {(0.2, 0.1): 1, (0.2, 0.0): 1, (1.0, 0.1): 1, (1.0, 0.0): 3}


def test_average_follows_the_warm_up_and_copies_integers() -> None:
    net = nn.BatchNorm1d(1)
    average = averaged(net, 0.9)
    with torch.no_grad():
        net.weight.fill_(3.0)
        net.num_batches_tracked.fill_(7)
    average.update_parameters(net)  # the first update of AveragedModel copies
    with torch.no_grad():
        net.weight.fill_(5.0)
    average.update_parameters(net)
    d = min(0.9, 2 / 11)
    assert average.module.weight.item() == pytest.approx(3 * d + 5 * (1 - d))
    assert average.module.num_batches_tracked.item() == 7


def test_log_holds_losses_and_validations(uninterrupted: Path) -> None:
    records = read_journal(uninterrupted / "log.jsonl")
    training = [r for r in records if r["kind"] == "training"]
    assert [r["step"] for r in training] == list(range(1, 13))
    assert all(math.isfinite(r["loss"]) and r["lr"] > 0 for r in training)
    assert [r["epoch"] for r in records if r["kind"] == "validation"] == [0, 1, 2]
    assert json.loads((uninterrupted / "best/config.json").read_text())["class"].endswith("Net")
    assert (uninterrupted / "config.yaml").read_text() == "tiny: true\n"


def test_accumulation_equals_one_large_batch(tmp_path: Path) -> None:
    """Without BatchNorm and dropout, 2 x 3 samples give the gradient of 6."""
    ends = []
    for name, batch, accumulate in (("a", 3, 2), ("b", 6, 1)):
        run = Run(TrainSettings(batch_size=batch, accumulate=accumulate, epochs=1, max_steps=2), tmp_path / name)
        net = _Linear()
        model, _ = run.prepare(net, param_groups(net, 0.0))
        for _ in run.epochs():
            for batch_x in run.steps(torch.arange(24, dtype=torch.float32).view(24, 1) / 24):
                run.backward({"loss": model(batch_x).square().mean()})
        assert run.progress.step == 2
        ends.append(load_file(tmp_path / name / "last/model.safetensors"))
    for key, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][key])


class _Linear(nn.Linear):
    def __init__(self) -> None:
        super().__init__(1, 2)

    def save_pretrained(self, folder: Path) -> None:
        from safetensors.torch import save_file

        save_file(self.state_dict(), folder / "model.safetensors")
