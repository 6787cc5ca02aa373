"""Settings that need others: who asked for one decides whether it is refused."""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import ValidationError

from polyscale.errors import UserError
from polyscale.settings import Needs, Preset, Settings, resolve
from polyscale.training.options import TRAIN_NEEDS, TrainSettings


class Model(Settings):
    experts: int = 0
    top_k: int = 2
    balance: float = 0.1


class Config(Settings):
    needs: ClassVar = (Needs("with experts", lambda c: c.model.experts > 0, ("model.top_k", "model.balance")),)
    model: Model = Model()


PRESETS = {"three": Preset({"model": {"top_k": 3}}, "")}


def test_options_and_files_are_refused_and_presets_are_not(tmp_path: Path) -> None:
    for key, value in (("top_k", 4), ("balance", 0.5)):
        with pytest.raises(UserError, match=rf"^model\.{key}: is read only with experts; leave it out$"):
            resolve(Config, overrides={f"model.{key}": value}, presets=PRESETS)
    both = {"model.top_k": 4, "model.balance": 0.5}
    with pytest.raises(UserError, match=r"^model\.top_k, model\.balance: are read only with experts; leave them out$"):
        resolve(Config, overrides=both)
    assert resolve(Config, overrides={**both, "model.experts": 5}).model.top_k == 4
    assert resolve(Config, "three", presets=PRESETS).model.top_k == 3
    file = tmp_path / "my.yaml"
    file.write_text("model: {top_k: 4}\n")
    with pytest.raises(UserError, match=r"^[^:]+my\.yaml: model\.top_k: is read only with experts"):
        resolve(Config, file=file, presets=PRESETS)
    file.write_text("model: {top_k: 3}\n")  # as `config` writes it of that preset
    assert resolve(Config, file=file, presets=PRESETS).model.top_k == 3
    with pytest.raises(UserError, match="top_k"):
        resolve(Config, file=file)


def test_defaults_and_what_is_off_ask_for_nothing() -> None:
    assert resolve(Config, overrides={"model.top_k": 2, "model.balance": 0}).model.balance == 0


def test_a_tree_that_is_built_by_hand_is_checked() -> None:
    with pytest.raises(ValidationError, match=r"model\.top_k: is read only with experts"):
        Config(model=Model(top_k=3))
    assert Config(model=Model(top_k=3, experts=4)).model.experts == 4


def test_what_a_run_recorded_loads(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("model: {top_k: 4}\n")
    (tmp_path / "best").mkdir()
    assert resolve(Config, file=file).model.top_k == 4
    with pytest.raises(UserError, match="balance"):
        resolve(Config, file=file, overrides={"model.balance": 0.5})


def test_retired_keys_are_passed_over(tmp_path: Path) -> None:
    class Old(Settings):
        retired: ClassVar = {"gone": ..., "fixed": False}
        kept: int = 1

    (tmp_path / "a.yaml").write_text("gone: 3\nfixed: false\nkept: 2\n")
    assert resolve(Old, file=tmp_path / "a.yaml").kept == 2
    (tmp_path / "b.yaml").write_text("fixed: true\n")
    with pytest.raises(UserError, match=r"b\.yaml: fixed: is gone, as if always false; got true: take it out"):
        resolve(Old, file=tmp_path / "b.yaml")
    with pytest.raises(UserError, match="gone: no such key"):
        resolve(Old, overrides={"gone": 3})


def test_the_needs_of_training() -> None:
    class Tree(Settings):
        needs: ClassVar = TRAIN_NEEDS
        train: TrainSettings = TrainSettings()

    with pytest.raises(UserError, match=r"train\.min_lr: is read only with a falling train\.schedule"):
        resolve(Tree, overrides={"train.min_lr": 0.1, "train.schedule": "constant"})
