"""--help is instant: no command of any application imports torch, or what takes as long, to show it."""

import json
import os
import subprocess
import sys
import tomllib

import pytest
from product import ROOT

MANIFESTS = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(ROOT.glob("apps/*/pyproject.toml"))]
PROGRAMS = {name: code for manifest in MANIFESTS for name, code in manifest["project"]["scripts"].items()}
SLOW = {"torch", "timm", "torchvision", "accelerate", "transformers", "scipy", "onnxruntime", "sklearn", "PIL"}
# every command of the group, in one process: what any of them imports stays in sys.modules
SHOW_ALL = """
import importlib, json, sys
from typer.main import get_command
from typer.testing import CliRunner
module = importlib.import_module(sys.argv[1])
commands = get_command(module.app).commands
results = {name: CliRunner().invoke(module.app, [name, "--help"]) for name in ["--help", *commands]}
failed = [name for name, result in results.items() if name != "--help" and result.exit_code]
print(json.dumps({"commands": list(commands), "failed": failed, "modules": sorted(sys.modules)}))
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_of_every_command_imports_nothing_slow(program: str) -> None:
    module = PROGRAMS[program].partition(":")[0]
    done = subprocess.run(
        [sys.executable, "-c", SHOW_ALL, module],
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    expected = {"data"} if program == "event-det" else {"train", "eval", "predict", "info", "data"}  # no detector yet
    assert expected <= set(shown["commands"])
    assert not shown["failed"]
    assert not SLOW & set(shown["modules"])
