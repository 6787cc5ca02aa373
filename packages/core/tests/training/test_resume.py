"""The promises of a run: killed or stopped at any point and resumed it ends bit-equal, with the same log."""

import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import Net, tiny

from polyscale.training import read_journal
from polyscale.training.checkpoints import checkpoint
from polyscale.training.checkpoints.snapshot import read_tree

pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
KINDS = {
    "plain": (),
    "log every third step, a part in every fourth": ("log_every=3", "part=4"),
    "streams": ("streams=1", "steps_per_epoch=5", "log_every=2", "epochs=2"),
}


def leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [leaf for item in tree.values() for leaf in leaves(item)]
    return [leaf for item in tree for leaf in leaves(item)] if isinstance(tree, list | tuple) else [tree]


def state(out: Path) -> list[Any]:
    """Everything that a run ends with: weights, optimizer, random numbers, memory, saved models, log."""
    last = checkpoint.newest(out / "checkpoints")
    assert last is not None
    assert checkpoint.find_damage(last) is None
    trees: list[Any] = [read_tree(file) for file in sorted(last.glob("*.safetensors"))]
    trees += [load_file(out / name / "model.safetensors") for name in ("best", "last")]
    about = json.loads((last / "state.json").read_text())
    del about["progress"]["seconds"], about["progress"]["journal"], about["settings"]
    log = [{k: v for k, v in r.items() if k != "seconds"} for r in read_journal(out / "log.jsonl")]
    return [*leaves(trees), about, log]


def assert_same_end(a: Path, b: Path) -> None:
    left, right = state(a), state(b)
    assert len(left) == len(right)
    for x, y in zip(left, right, strict=True):
        assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def uninterrupted(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    result = tiny(out, *KINDS[kind])
    assert result.returncode == 0, result.stderr
    return out


@pytest.mark.parametrize("workers", ["0", "2"])
def test_killed_in_an_epoch_and_resumed_ends_bit_equal(
    tmp_path: Path, uninterrupted: Path, kind: str, workers: str
) -> None:
    out = tmp_path / "run"
    words = (*KINDS[kind], f"workers={workers}")
    assert tiny(out, "die=7", "save_minutes=1e-9", *words).returncode == -9
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None
    assert checkpoint.step_of(newest) == 7  # in the middle of the second epoch
    resumed = tiny(out, "resume=1", *words)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_end(out, uninterrupted)


def test_resume_repeats_what_a_kill_lost(tmp_path: Path, uninterrupted: Path, kind: str) -> None:
    out = tmp_path / "run"
    assert tiny(out, "die=7", *KINDS[kind]).returncode == -9  # only the checkpoint of the first epoch's end is there
    assert tiny(out, "resume=1", *KINDS[kind]).returncode == 0
    assert_same_end(out, uninterrupted)


def test_killed_while_a_checkpoint_is_written(tmp_path: Path, uninterrupted: Path, kind: str) -> None:
    out = tmp_path / "run"
    assert tiny(out, "die=7", "save_minutes=1e-9", *KINDS[kind]).returncode == -9
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None
    shutil.copytree(newest, out / "checkpoints/.step-00000008.unfinished")
    (out / "checkpoints/.step-00000009.unfinished").write_text("a file of that name")
    newest.rename(newest.with_name(f".{newest.name}.old"))  # between taking the old away and putting the new in place
    resumed = tiny(out, "resume=1", "save_minutes=1e-9", *KINDS[kind])
    assert resumed.returncode == 0, resumed.stderr
    assert_same_end(out, uninterrupted)
    assert not list((out / "checkpoints").glob(".*"))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_sigterm_to_the_process_group_saves_and_exits_143(
    tmp_path: Path, uninterrupted: Path, kind: str, workers: str
) -> None:
    out = tmp_path / "run"
    words = (*KINDS[kind], f"workers={workers}")
    stopped = tiny(out, "term=6", *words)
    assert stopped.returncode == 143, stopped.stderr
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None
    assert checkpoint.step_of(newest) == 7  # the running step was finished first
    assert f"stopped after step 7, saved; go on with --resume {out}" in stopped.stderr
    assert tiny(out, "resume=1", *words).returncode == 0
    assert_same_end(out, uninterrupted)


def test_sigterm_interrupts_a_validation_which_is_done_again(tmp_path: Path, uninterrupted: Path, kind: str) -> None:
    out = tmp_path / "run"
    stopped = tiny(out, "validating=1", "eval_every=1", *KINDS[kind])
    assert stopped.returncode == 143, stopped.stderr
    assert "stopped in the validation after step" in stopped.stderr
    assert [r["epoch"] for r in read_journal(out / "log.jsonl") if r["kind"] == "validation"] == [0]
    assert tiny(out, "resume=1", *KINDS[kind]).returncode == 0
    assert_same_end(out, uninterrupted)


def test_a_dry_run_of_some_steps_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    assert tiny(tmp_path / "whole").returncode == 0
    assert tiny(tmp_path / "part", "max_steps=8").returncode == 0
    assert tiny(tmp_path / "part", "resume=1").returncode == 0
    assert_same_end(tmp_path / "whole", tmp_path / "part")
    assert tiny(tmp_path / "middle", "max_steps=6").returncode == 0  # in an epoch, where it validates once more
    assert tiny(tmp_path / "middle", "resume=1").returncode == 0
    steps = [r["step"] for r in read_journal(tmp_path / "middle/log.jsonl") if r["kind"] == "training"]
    assert steps == list(range(1, 13))


def test_the_log_after_a_resume_holds_the_right_means(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("constant=1.0", "log_every=5", "part=4")
    assert tiny(out, "die=6", "save_minutes=1e-9", *words).returncode == -9
    assert tiny(out, "resume=1", *words).returncode == 0
    training = [r for r in read_journal(out / "log.jsonl") if r["kind"] == "training"]
    assert [r["step"] for r in training] == [4, 5, 8, 10, 12]  # every fifth step and at the end of an epoch
    assert [r["loss"] for r in training] == [1.0] * 5
    assert [r.get("part") for r in training] == [1.0, 1.0, None, 1.0, None]


def test_a_run_shorter_than_log_every_is_logged(tmp_path: Path) -> None:
    assert tiny(tmp_path / "run", "constant=2.0", "log_every=100", "epochs=1").returncode == 0
    records = read_journal(tmp_path / "run/log.jsonl")
    assert [(r["kind"], r["step"], r.get("loss")) for r in records] == [("training", 4, 2.0), ("validation", 4, None)]


def test_nan_stops_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = tiny(out, "nan=6", "save_minutes=1e-9")
    assert result.returncode == 1
    assert "not finite at step 7" in result.stderr
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None
    assert str(newest) in result.stderr
    assert all(v.isfinite().all() for v in read_tree(newest / "model.safetensors").values())


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    assert tiny(tmp_path / "whole").returncode == 0
    out = tmp_path / "run"
    assert tiny(out, "die=6", "save_minutes=1e-9").returncode == -9
    kept = checkpoint.newest(out / "checkpoints")
    full = tiny(out, "resume=1", "limit=3000")
    assert full.returncode == 1
    assert full.stderr.count("\n") == 1, full.stderr
    assert full.stderr.startswith(f"error: {out}: cannot be written (")
    assert f"{kept} is kept; once there is room, go on with --resume {out}" in full.stderr
    assert checkpoint.newest(out / "checkpoints") == kept
    assert not list((out / "checkpoints").glob(".*"))  # what was half-written takes no room
    assert tiny(out, "resume=1").returncode == 0
    assert_same_end(out, tmp_path / "whole")


def test_nothing_in_a_run_is_pickled(tmp_path: Path) -> None:
    assert tiny(tmp_path / "run", "epochs=1").returncode == 0
    kinds = {path.suffix for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert kinds == {".safetensors", ".json", ".jsonl", ".yaml", ""}  # the last is the lock, which is empty
    assert (tmp_path / "run/.lock").stat().st_size == 0


def test_a_checkpoint_holds_no_frozen_parameter_and_a_saved_model_holds_all(tmp_path: Path) -> None:
    assert tiny(tmp_path / "run", "epochs=1").returncode == 0
    newest = checkpoint.newest(tmp_path / "run/checkpoints")
    assert newest is not None
    for name in ("model", "ema"):
        assert not any(key.startswith("stem") for key in read_tree(newest / f"{name}.safetensors"))
    torch.manual_seed(0)
    built = Net()
    assert torch.equal(Net.from_pretrained(tmp_path / "run/last").stem.weight, built.stem.weight)
