"""A finished run's own settings: found by its folder, taken for its own data, left aside for other data."""

import re
from pathlib import Path

import pytest

from polyscale.errors import UserError
from polyscale.settings import Settings, begin_run, resolve, resolve_for, run_config, to_yaml


class Data(Settings):
    path: str = "synthetic"
    val_fraction: float = 0.15
    masks: str | None = None


class Config(Settings):
    data: Data = Data()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "a"
    (folder / "best").mkdir(parents=True)
    config = resolve(Config, overrides={"data.path": str(tmp_path / "photos"), "data.val_fraction": 0.1})
    (folder / "config.yaml").write_text(to_yaml(config))
    return folder


def test_a_run_is_found_by_its_folder_or_its_weights(run: Path) -> None:
    assert run_config(run) == run_config(run / "best") == run / "config.yaml"
    assert run_config(run.parent) is None
    assert run_config("nano") is None


def test_its_own_data_are_split_as_it_split_them(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (None, tmp_path / "photos", "photos", "runs/../photos/"):
        found = resolve_for(Config, run, {"path": path and str(path), "masks": "m"}).data
        assert (found.val_fraction, found.masks) == (0.1, "m"), path


def test_other_data_take_the_defaults(run: Path, tmp_path: Path) -> None:
    assert resolve_for(Config, run, {"path": str(tmp_path / "others")}).data.val_fraction == 0.15
    assert resolve_for(Config, "nano", {"path": None}) == Config()
    assert resolve_for(Config, None, {}) == Config()


def test_a_run_begins_in_a_folder_of_its_own_or_goes_on_by_its_own_settings(run: Path) -> None:
    known: dict = {"presets": {}, "default_preset": None}
    config, out = begin_run(Config(), None, None, **known)
    assert config == Config()
    assert re.fullmatch(r"runs/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", out.as_posix())
    assert begin_run(Config(), run, None, **known) == (Config(), run)
    config, out = begin_run(Config(), None, run, **known)
    assert (config.data.val_fraction, out) == (0.1, run)
    with pytest.raises(UserError, match="no run to resume"):
        begin_run(Config(), None, run.parent, **known)
    for changed, folder in ((Config(data=Data(masks="m")), None), (Config(), run.parent)):
        with pytest.raises(UserError, match="leave the other options out"):
            begin_run(changed, folder, run, **known)
