"""Checkpoint folders: whole or absent, verified, and free of pickles."""

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from polyscale.errors import UserError
from polyscale.training.checkpoints import checkpoint
from polyscale.training.checkpoints.snapshot import (
    Frozen,
    load_state,
    random_states,
    read_tree,
    restore_random_states,
    write_tree,
)
from polyscale.training.journal import Journal, read_journal


def sealed(root: Path, step: int) -> Path:
    folder = checkpoint.step_folder(root, step)
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(f'{{"step": {step}}}')
    write_tree(folder / "model.safetensors", {"weight": torch.arange(4.0)})
    checkpoint.seal(folder)
    return folder


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
    checkpoint.recover(tmp_path)
    assert (tmp_path / "best").is_dir()


def test_newest_goes_by_number_and_ignores_unfinished(tmp_path: Path) -> None:
    for name in ("step-00000010", "step-00000009", ".step-00000011.unfinished", "step-x", "best"):
        (tmp_path / name).mkdir()
    assert checkpoint.newest(tmp_path) == tmp_path / "step-00000010"
    checkpoint.prune(tmp_path, tmp_path / "step-00000010", keep=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best", "step-00000010", "step-x"]


def test_a_damaged_later_checkpoint_does_not_outlive_the_one_written_after_it(tmp_path: Path) -> None:
    for step in (4, 8, 12):
        sealed(tmp_path, step)
    checkpoint.prune(tmp_path, tmp_path / "step-00000008", keep=1)
    assert checkpoint.checkpoints(tmp_path) == [tmp_path / "step-00000008"]


DAMAGES = {
    "a flipped bit": lambda f: (f / "model.safetensors").write_bytes(
        bytes([*(f / "model.safetensors").read_bytes()[:-1], 1])
    ),
    "cut": lambda f: os.truncate(f / "model.safetensors", 20),
    "empty": lambda f: (f / "model.safetensors").write_bytes(b""),
    "missing": lambda f: (f / "model.safetensors").unlink(),
    "a number": lambda f: (f / "state.json").write_text('{"step": 9}'),
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "half a manifest": lambda f: os.truncate(f / "manifest.json", 30),
    "a list": lambda f: (f / "manifest.json").write_text("[]"),
    "nothing but its name": lambda f: (shutil.rmtree(f), f.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_one_line_and_the_older_checkpoint_is_used(tmp_path: Path, damage: str) -> None:
    older, newer = sealed(tmp_path, 4), sealed(tmp_path, 8)
    assert checkpoint.newest_sound(tmp_path) == (newer, [])
    DAMAGES[damage](newer)
    found, (line,) = checkpoint.newest_sound(tmp_path)
    assert found == older
    assert line.startswith(str(newer))
    assert "\n" not in line
    DAMAGES[damage](older)
    assert checkpoint.newest_sound(tmp_path)[0] is None


def test_a_pickled_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = checkpoint.step_folder(tmp_path / "run/checkpoints", 3)
    folder.mkdir(parents=True)
    (folder / "custom_checkpoint_0.pkl").write_bytes(b"cos\nmkdir\n(S'/tmp/made'\ntR.")
    with pytest.raises(UserError, match=r"written by an older version.*start a new run \(the weights in .*/run/best"):
        checkpoint.newest_sound(tmp_path / "run/checkpoints")


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    images = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    shared = torch.arange(6)
    tree = {
        0: {"exp_avg": images, "step": torch.tensor(3.0)},
        "betas": (0.9, 0.999),
        "half": torch.rand(3).bfloat16(),
        "views": [shared[:3], shared[1:], shared.expand(2, 6)],
        "nothing": None,
        "text": "x",
        "inf": float("inf"),
        "empty": {},
    }
    write_tree(tmp_path / "t.safetensors", tree)
    assert load_file(tmp_path / "t.safetensors").keys() == {str(i) for i in range(6)}
    back = read_tree(tmp_path / "t.safetensors")
    assert list(back) == list(tree)
    assert back[0]["exp_avg"].stride() == images.stride()
    assert torch.equal(back[0]["exp_avg"], images)
    assert all(torch.equal(a, b) for a, b in zip(back["views"], tree["views"], strict=True))
    assert back["half"].dtype is torch.bfloat16
    assert {k: back[k] for k in ("betas", "nothing", "text", "inf", "empty")} == {
        k: tree[k] for k in ("betas", "nothing", "text", "inf", "empty")
    }
    with pytest.raises(TypeError, match=r"a checkpoint holds tensors, numbers, .* not object"):
        write_tree(tmp_path / "t.safetensors", {"a": object()})


def test_random_numbers_go_on(tmp_path: Path) -> None:
    def draw() -> list[float]:
        return [float(torch.rand(())), random.random(), float(np.random.rand()), float(np.random.randn())]  # noqa: NPY002

    draw()  # leaves NumPy's second normal number waiting
    write_tree(tmp_path / "r.safetensors", random_states(torch.device("cpu")))
    expected = draw()
    restore_random_states(read_tree(tmp_path / "r.safetensors"), torch.device("cpu"))
    assert draw() == expected


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.clip = nn.Linear(4, 4).requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)


def test_trained_state_leaves_out_frozen_parameters_and_holds_tied_ones_once(tmp_path: Path) -> None:
    model = Tied()
    frozen = Frozen(model)
    state = frozen.trained_state(model)
    buffers = {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert state.keys() == {"embedding.weight", "norm.weight", "norm.bias"} | buffers
    write_tree(tmp_path / "m.safetensors", state)
    other = Tied()
    assert Frozen(other).digest != frozen.digest
    other.clip.load_state_dict(model.clip.state_dict())
    assert Frozen(other).digest == frozen.digest
    load_state(other, tmp_path / "m.safetensors")
    assert torch.equal(other.head.weight, model.head.weight)
    with torch.no_grad():  # a teacher that is moved by hand
        model.clip.bias.lerp_(torch.ones(4), 0.1)
    assert "clip.bias" in frozen.trained_state(model)
    model.clip.weight.requires_grad_(True)
    assert "clip.weight" in frozen.trained_state(model)
    with pytest.raises(UserError, match=r"embedding\.weight is not that of this model"):
        load_state(nn.Linear(1, 1), tmp_path / "m.safetensors")


def test_the_log_is_cut_where_the_checkpoint_stands(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    journal = Journal(path)
    for step in range(3):
        journal.write({"step": step, "loss": 0.1})
    length = journal.length
    journal.write({"step": 3})
    assert [r["step"] for r in read_journal(path)] == [0, 1, 2, 3]
    Journal(path, length).write({"step": 9})
    assert [r["step"] for r in read_journal(path)] == [0, 1, 2, 9]
    os.truncate(path, 40)  # in the middle of the second line
    Journal(path, length).write({"step": 10})
    assert [r["step"] for r in read_journal(path)] == [0, 10]
    assert b"\0" not in path.read_bytes()
    assert all(json.loads(line) for line in path.read_text().splitlines())
