"""The check of an application's settings that are read only together with others."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from polyscale.errors import UserError
from polyscale.settings import Preset, Settings, record, resolve, resolve_for

Row = tuple[Mapping[str, Any], Mapping[str, Any]]


def check_needs(tree: type[Settings], presets: Mapping[str, Preset], rows: Sequence[Row], folder: Path) -> None:
    """Check that what nothing reads is refused in one line, and that presets and runs of before still load.

    Args:
        tree: the settings.
        presets: of the application.
        rows: overrides of which nothing reads the first, and what makes it read. They name every key of `tree.needs`.
        folder: an empty one.
    """
    for number, (given, remedy) in enumerate(rows):
        key = next(iter(given))
        line = rf"^{key}: is read only [^\n]+; leave it out$"
        with pytest.raises(UserError, match=line):
            resolve(tree, overrides=given)
        resolve(tree, overrides={**given, **remedy})
        run = folder / str(number)
        run.mkdir()
        written = record(resolve(tree, Preset(_nested(given), "")))  # a preset asks for nothing
        (run / "config.yaml").write_text(written, encoding="utf-8")
        with pytest.raises(UserError, match=r"config\.yaml: [\w., ]+: (is|are) read only"):
            resolve(tree, file=run / "config.yaml")
        (run / "log.jsonl").touch()
        assert record(resolve_for(tree, run, {})) == written
    tested = {next(iter(given)) for given, _ in rows}
    assert tested == {key for need in tree.needs for key in need.keys}
    for name in presets:
        config = resolve(tree, name, presets=presets)
        assert tree.model_validate(config.model_dump()) == config, name  # nothing of it goes unread


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = value
    return nested
