"""Two gloo processes: evaluation gives the metrics of one, uneven training data do not hang, both end alike."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from product import TINY, call


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def launch(*arguments: object) -> subprocess.CompletedProcess[str]:
    options = ["--cpu", "--num_processes", 2, "--num_machines", 1, "--main_process_port", free_port(), "--module"]
    words = [sys.executable, "-m", "accelerate.commands.launch", *options, "camo_seg", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        list(map(str, words)), env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_two_processes_train_on_uneven_data_and_evaluate_as_one(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = launch("train", "--data.path", pairs, "--out", out, "--train.epochs", 2, *TINY, "--train.batch_size", 3)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("made ") == 1
    two = json.loads((out / "metrics.json").read_text())
    one = json.loads(call("camo-seg", "eval", out, "--json").stdout)
    assert one["model"] == two["model"]
    assert one["baselines"] == two["baselines"]
    both = launch("eval", out, "--json")
    assert json.loads(both.stdout)["model"] == one["model"]
