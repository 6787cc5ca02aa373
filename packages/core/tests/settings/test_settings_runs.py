"""A finished run's own settings: found by its folder, taken for its own data, left aside for other data."""

import inspect
from pathlib import Path
from typing import Any

import pytest

from polyscale.errors import UserError
from polyscale.settings import (
    DiskPath,
    OptionalDiskPath,
    Preset,
    Settings,
    configured,
    read_yaml,
    record,
    resolve,
    resolve_for,
    resume_config,
    run_config,
    to_yaml,
)


class Data(Settings):
    path: DiskPath = "synthetic"
    val_fraction: float = 0.15
    masks: OptionalDiskPath = None


class Config(Settings):
    data: Data = Data()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "a"
    (folder / "best").mkdir(parents=True)
    config = resolve(Config, overrides={"data.path": str(tmp_path / "photos"), "data.val_fraction": 0.1})
    (folder / "config.yaml").write_text(to_yaml(config))
    return folder


def test_a_run_is_found_by_its_folder_its_saved_models_and_its_checkpoints(run: Path) -> None:
    (run / "checkpoints/step-00000004").mkdir(parents=True)
    for place in (run, run / "best", run / "last", run / "checkpoints", run / "checkpoints/step-00000004"):
        place.mkdir(exist_ok=True)
        assert run_config(place) == run / "config.yaml"
    assert run_config(run.parent) is None
    assert run_config("nano") is None


def test_a_config_file_of_something_else_makes_no_run(tmp_path: Path) -> None:
    (tmp_path / "models/mine").mkdir(parents=True)
    (tmp_path / "config.yaml").write_text("data: {path: mine}\n")
    assert run_config(tmp_path / "models/mine") is None
    assert run_config(tmp_path / "models") is None


def test_paths_are_recorded_absolute_and_words_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "synthetic", "masks"):
        Path(name).mkdir()

    def recorded(**data: Any) -> dict[str, Any]:
        (tmp_path / "c.yaml").write_text(record(Config(data=Data(**data))))
        values: dict[str, Any] = read_yaml(tmp_path / "c.yaml")["data"]
        return values

    both = recorded(path="photos", masks="masks")
    assert (both["path"], both["masks"]) == (str(tmp_path / "photos"), str(tmp_path / "masks"))
    assert recorded(path="synthetic")["path"] == "synthetic"  # the embedded set, whatever folder is here
    assert recorded(path="owner/name")["path"] == "owner/name"  # not on disk: a hub id
    assert recorded()["masks"] is None
    assert resolve(Config, overrides={"data.path": "010"}).data.path == "010"  # still text on the command line


def test_its_own_data_are_split_as_it_split_them(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (None, tmp_path / "photos", "photos", "runs/../photos/"):
        found = resolve_for(Config, run, {"path": path and str(path), "masks": "m"}).data
        assert (found.val_fraction, found.masks) == (0.1, "m"), path


def test_other_data_take_the_defaults(run: Path, tmp_path: Path) -> None:
    assert resolve_for(Config, run, {"path": str(tmp_path / "others")}).data.val_fraction == 0.15
    assert resolve_for(Config, "nano", {"path": None}) == Config()
    assert resolve_for(Config, None, {}) == Config()


@configured(Config, {"fast": Preset({"data": {"val_fraction": 0.5}}, "")}, "fast")
def train(config: Config, out: Path | None = None, resume: Path | None = None) -> tuple[Config, Path | None]:
    return config, out


def call(**given: Any) -> tuple[Config, Path | None]:
    """Call `train` as Typer does: what was not given is None."""
    command: Any = train
    return command(**{name: given.get(name) for name in inspect.signature(train).parameters})


def test_a_run_begins_in_a_folder_of_its_own(run: Path) -> None:
    config, out = call()
    assert config.data.val_fraction == 0.5
    assert out is None  # Run makes a new one in runs/
    assert call(out=run)[1] == run


def test_a_run_goes_on_by_its_own_settings(run: Path) -> None:
    for out in (None, run):
        config, folder = call(resume=run, out=out)
        assert (config.data.val_fraction, folder) == (0.1, run)
    with pytest.raises(UserError, match="no run to resume"):
        call(resume=run.parent)
    # refused because it was given, whether or not it is the default
    for given in (
        {"data__masks": "m"},
        {"data__val_fraction": "0.5"},
        {"preset": "fast"},
        {"config": run / "config.yaml"},
    ):
        with pytest.raises(UserError, match="leave the other options out"):
            call(resume=run, **given)
    with pytest.raises(UserError, match="leave the other options out"):
        call(resume=run, out=run.parent)


def test_a_run_trains_for_as_long_as_was_asked(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("train: {epochs: 9}\n", encoding="utf-8")

    class Train(Settings):
        epochs: int = 3

    class Tree(Settings):
        train: Train = Train()

    assert resume_config(Tree, tmp_path, {}).train.epochs == 9
    assert (
        resume_config(Tree, tmp_path, {"train.epochs": "3"}).train.epochs == 3
    )  # the default is a number like another
