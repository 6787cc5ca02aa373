"""Two gloo processes: evaluation gives the metrics of one, uneven training data do not hang, both end alike."""

import json
import multiprocessing
from pathlib import Path

import pytest
import torch._dynamo  # noqa: F401
from product import TINY, call

import camo_seg.train  # noqa: F401 - what the ranks would each import, which takes half a minute
from polyscale.testing.ranks import run_ranks

pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")


def command(folder: Path, words: list[object], rank: int) -> None:
    result = call("camo-seg", *words)
    (folder / f"stdout-{rank}").write_text(result.stdout)
    (folder / f"stderr-{rank}").write_text(result.stderr)
    raise SystemExit(result.returncode)


def in_two(folder: Path, *words: object) -> tuple[str, str]:
    """(stdout, stderr) of the main one of two ranks: `accelerate launch --cpu --num_processes 2` would start one."""
    run_ranks(command, 2, folder, list(words))()
    assert (folder / "stdout-1").read_text() == ""
    return (folder / "stdout-0").read_text(), (folder / "stderr-0").read_text()


def test_two_processes_train_on_uneven_data_and_evaluate_as_one(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["train", "--data.path", pairs, "--out", out, "--train.epochs", 2, *TINY, "--train.batch_size", 3]
    _, notes = in_two(tmp_path, *words)
    assert notes.count("made ") == 1
    for folder in (out / "checkpoints").iterdir():
        assert json.loads((folder / "state.json").read_text())["processes"] == 2
        assert {file.name for file in folder.glob("rank-*")} == {"rank-0.safetensors", "rank-1.safetensors"}
    two = json.loads((out / "metrics.json").read_text())
    one = json.loads(call("camo-seg", "eval", out, "--json").stdout)
    assert one["model"] == two["model"]
    assert one["baselines"] == two["baselines"]
    both, _ = in_two(tmp_path, "eval", out, "--json")
    assert json.loads(both)["model"] == one["model"]
