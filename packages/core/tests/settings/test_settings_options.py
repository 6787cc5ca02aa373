"""The command line made from a settings tree: what --help says, what an option gives, how a wrong one is refused."""

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from polyscale.commands import application
from polyscale.errors import UserError
from polyscale.settings import Preset, Settings, configured


class Neck(Settings):
    """How the scales are fused."""

    fusion: Literal["absi", "hierarchical"] = "absi"
    """Fusion [of] the scales."""


class Model(Settings):
    """The network."""

    scales: tuple[float, ...] = (0.5, 1.0, 1.5)
    """Scales of the input."""
    width: int | None = Field(None, gt=0)
    neck: Neck = Neck()


class Train(Settings):
    batch_size: int = Field(8, ge=1, le=64)
    """Images a step."""
    ema: bool = True
    """Keep an average of the weights."""
    amp: bool | None = None
    """Mixed precision."""
    checkpoint_activations: bool = False
    """Recompute activations."""


class Config(Settings):
    seed: int = 0
    """Seed of every random draw."""
    out: Path = Path("runs/camo")
    """Folder of the run."""
    model: Model = Model()
    train: Train = Train()


PRESETS = {
    "nano": Preset({"train": {"batch_size": 4}}, "2 CPU cores, 4 minutes.\nWeighted F about 0.6."),
    "base": Preset({"model": {"width": 64}}, "One GPU."),
}
seen: list = []
app = application("demo", "A demo.", distribution="polyscale")


@app.command()
@configured(Config, PRESETS, "nano")
def train(
    config: Config,
    images: Annotated[list[Path] | None, typer.Argument(help="Images.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on.")] = False,
) -> None:
    """Trains it."""
    seen.append((config, images, resume))


@app.command()
def other() -> None:
    """Another command."""


def call(*args: str) -> Any:
    seen.clear()
    result = CliRunner().invoke(app, ["train", *args], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert "Traceback" not in result.output
    return result


def config_of(*args: str) -> Config:
    result = call(*args)
    assert result.exit_code == 0, result.output
    return seen[0][0]


def refused(*args: str) -> str:
    result = call(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert not seen
    return result.stderr.strip()


def test_no_option_gives_the_default_preset() -> None:
    assert config_of() == Config(train=Train(batch_size=4))


def test_options_win_over_file_and_preset(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("preset: base\ntrain: {batch_size: 16, ema: false}\nseed: 3\n")
    config = config_of("-c", str(file), "--train.batch_size", "2", "--train.ema", "--model.scales", "0.5, 1,2")
    assert (config.train.batch_size, config.train.ema, config.seed, config.model.width) == (2, True, 3, 64)
    assert config.model.scales == (0.5, 1.0, 2.0)
    assert config_of("--config", str(file), "--preset", "nano").model.width is None


@pytest.mark.parametrize(
    ("args", "key", "value"),
    [
        (["--no-train.ema"], "train.ema", False),
        (["--train.checkpoint_activations"], "train.checkpoint_activations", True),
        (["--train.amp", "true"], "train.amp", True),
        (["--preset", "base", "--model.width", "none"], "model.width", None),
        (["--model.width=5"], "model.width", 5),
        (["--out", "some where/x"], "out", Path("some where/x")),
        (["--model.neck.fusion", "hierarchical"], "model.neck.fusion", "hierarchical"),
        (["--seed", "-4"], "seed", -4),
    ],
)
def test_options_of_every_kind(args: list[str], key: str, value: bool | int | Path | str | None) -> None:
    found = config_of(*args)
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value


def test_own_parameters_pass_through() -> None:
    call("a.png", "b.png", "--resume", "--seed", "2")
    config, images, resume = seen[0]
    assert (config.seed, images, resume) == (2, [Path("a.png"), Path("b.png")], True)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--train.batch_size", "65"], "error: train.batch_size: should be less than or equal to 64, got 65"),
        (["--model.neck.fusion", "x"], "error: model.neck.fusion: should be 'absi' or 'hierarchical', got x"),
        (["--preset", "big"], "error: preset: no such preset big (choose from: nano, base)"),
        (["-c", "none.yaml"], "error: none.yaml: no such file"),
    ],
)
def test_wrong_values_are_one_line(args: list[str], message: str) -> None:
    assert refused(*args) == message


def test_a_switch_is_not_both_on_and_off() -> None:
    assert (
        refused("--no-train.ema", "--train.ema") == "error: train.ema: both --train.ema and --no-train.ema were given"
    )


def test_no_option_name_is_cut_off_at_80_columns() -> None:
    result = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "80"})
    assert "…" not in result.output
    assert "--train.checkpoint_activations" in result.output


def test_wrong_option_names_are_one_line_with_a_suggestion() -> None:
    message = refused("--train.batch_sise", "3")
    assert message.startswith("error: No such option: --train.batch_sise")
    assert "--train.batch_size" in message


def test_wrong_key_in_the_file_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("modle: {}\n")
    assert refused("-c", str(file)) == f"error: {file}: modle: no such key (did you mean model?)"


@pytest.fixture(scope="module")
def help_text() -> str:
    result = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    return re.sub(r"[│\s]+", " ", result.output)


@pytest.mark.parametrize(
    "words",
    [
        "--train.batch_size Images a step. [int; 1 to 64; default: 4]",
        "--model.scales Scales of the input. [float,...; default: 0.5,1,1.5]",
        "--model.width width [int|none; > 0; default: none]",
        "--model.neck.fusion Fusion [of] the scales. [absi|hierarchical; default: absi]",
        "--train.ema Keep an average of the weights. [default: true; off: --no-train.ema]",
        "--train.amp Mixed precision. [true|false|none; default: none]",
        "--train.checkpoint_activations Recompute activations. [default: false]",
        "--seed Seed of every random draw. [int; default: 0]",
        "--out Folder of the run. [path; default: runs/camo]",
        "--preset Named settings to start from. [default: nano] nano: 2 CPU cores, 4 minutes. base: One GPU.",
        "--config -c YAML file of settings",
        "─ model: The network ─",
        "─ model.neck: How the scales are fused ─",
        "─ train ─",
        "--resume --no-resume",
        "Trains it.",
    ],
)
def test_help_lists_every_option_with_meaning_default_and_range(help_text: str, words: str) -> None:
    assert words in help_text


def test_literals_and_presets_complete() -> None:
    parameters = inspect.signature(train).parameters

    def complete(name: str, text: str) -> list[str]:
        return parameters[name].annotation.__metadata__[0].autocompletion(text)

    assert complete("model__neck__fusion", "h") == ["hierarchical"]
    assert complete("preset", "") == ["nano", "base"]
    assert complete("train__amp", "") == ["true", "false", "none"]
    env = {"_DEMO_COMPLETE": "complete_bash", "COMP_WORDS": "demo train --model.neck.fusion ", "COMP_CWORD": "3"}
    result = CliRunner().invoke(app, [], prog_name="demo", env=env)
    assert result.stdout.split() == ["absi", "hierarchical"]


def test_a_function_without_the_tree_is_refused() -> None:
    with pytest.raises(TypeError, match="needs a parameter annotated with Config"):
        configured(Config)(lambda: None)


def test_a_wrong_default_preset_is_found_at_once() -> None:
    with pytest.raises(UserError, match="preset bad: sed: no such key"):
        configured(Config, {"bad": Preset({"sed": 1}, "")}, "bad")


HELP = """
import sys
from polyscale.commands import application, run
from polyscale.settings import Settings, configured
class Config(Settings):
    rate: float = 0.1
app = application("demo", "A demo.")
@app.command()
@configured(Config)
def train(config: Config): pass
sys.argv = ["demo", "train", "--help"]
try: run(app)
finally: print("heavy:", sorted({"torch", "torchvision", "timm", "numpy", "accelerate"} & set(sys.modules)))
"""


def test_help_is_instant_because_torch_is_not_imported() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--rate" in done.stdout
    assert done.stdout.endswith("heavy: []\n")
