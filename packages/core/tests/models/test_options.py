"""The source of pretrained weights as a setting: named, and a boolean in the files of before."""

from pathlib import Path

import pytest

from polyscale.errors import UserError
from polyscale.models.options import WeightSource
from polyscale.settings import Settings, resolve, schema, to_yaml


class Model(Settings):
    """A section."""

    pretrained: WeightSource = "none"
    """Where the weights come from."""


class Tree(Settings):
    """A tree."""

    model: Model = Model()


@pytest.mark.parametrize(
    ("written", "meant"),
    [("true", "hub"), ("false", "none"), ("none", "none"), ("hub", "hub"), ("package", "package")],
)
def test_files_of_before_name_a_source_too(tmp_path: Path, written: str, meant: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"model:\n  pretrained: {written}\n", encoding="utf-8")
    tree = resolve(Tree, file=file)
    assert tree.model.pretrained == meant
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(tree), encoding="utf-8")
    assert resolve(Tree, file=again) == tree


def test_another_word_is_refused_with_the_words_there_are() -> None:
    with pytest.raises(UserError, match=r"model\.pretrained: .*none.*hub.*package") as caught:
        resolve(Tree, overrides={"model.pretrained": "timm"})
    assert "\n" not in str(caught.value)
    assert '"package"' in str(schema(Tree)).replace("'", '"')
