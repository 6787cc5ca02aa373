"""Settings files of strangers: each of a corpus is read or refused in one line, within seconds."""

import time
from pathlib import Path

import pytest
from pydantic import Field

from polyscale import __version__
from polyscale.errors import UserError
from polyscale.settings import Preset, Settings, read_yaml, resolve, to_yaml


class Optim(Settings):
    lr: float = 0.1
    extra: dict[str, float] = Field(default_factory=dict)


class Config(Settings):
    seed: int = 0
    name: str = "a"
    scales: tuple[float, ...] = (1.0,)
    mixed: int | str = 3
    optim: Optim = Optim()


def lists(levels: int, width: int) -> str:
    lines = ["a0: &a0 [x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]")
    return "\n".join(lines)


def mappings(levels: int) -> str:
    lines = ["a0: &a0 {k: 1}"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} {{l: *a{level - 1}, m: *a{level - 1}}}")
    return "\n".join(lines)


def merges(levels: int) -> str:
    lines = ["a0: &a0 {k: 1}"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} {{<<: [*a{level - 1}, *a{level - 1}]}}")
    return "\n".join(lines)


REFUSED = {
    "alias bomb of lists": lists(9, 9),
    "alias bomb in a value": lists(9, 9) + "\nscales: *a8",
    "alias bomb of mappings": mappings(40),
    "alias bomb of merges": merges(30),
    "alias bomb as a key": "name: &a [x]\n? *a\n: 1",
    "alias bomb of long texts": "name: &a " + "x" * 10_000 + "\nscales: [" + "*a, " * 25_000 + "]",
    "alias of itself": "scales: &a [*a]",
    "alias of itself in a mapping": "optim: &a {extra: *a}",
    "alias of itself twice": "scales: &a [*a, *a]",
    "alias of nothing": "name: *nothing",
    "merge of a number": "optim: {<<: 3}",
    "merge of itself": "optim: &a {<<: *a}",
    "merge of a list of numbers": "optim: {<<: [1, 2]}",
    "deep lists": "[" * 50_000,
    "deep mappings": "{a: " * 20_000,
    "deep blocks": "\n".join(" " * level + "a:" for level in range(500)),
    "deep dashes": "- " * 50_000,
    "large": "name: " + "x" * (1 << 21),
    "many values": "scales: [" + "1," * 100_000 + "]",
    "int of 5,000 digits": "seed: " + "9" * 5000,
    "int beyond 64 bits": "seed: 9223372036854775808",
    "int beyond 64 bits as text": 'seed: "99999999999999999999999"',
    "negative int": "seed: -1" + "0" * 30,
    "float 1e999": "optim: {lr: 1e999}",
    "float .nan": "optim: {lr: .nan}",
    "float -.inf": "optim: {lr: -.inf}",
    "float in a list": "scales: [.nan]",
    "float in a mapping": "optim: {extra: {a: .inf}}",
    "duplicate key": "seed: 1\nseed: 2",
    "duplicate quoted key": 'seed: 1\n"seed": 2',
    "int key": "1: 2",
    "null key": "~: 2",
    "list key": "? [a]\n: 2",
    "mapping key": "? {a: b}\n: 2",
    "long key": "x" * 900 + ": 1",
    "key with an escape": '"\\e[31mred\\e[0m": 1',
    "key with a line break": '"a\\nb": 1',
    "timestamp": "seed: 2024-01-02",
    "timestamp by tag": "seed: !!timestamp 2024-01-02",
    "timestamp that is none": "seed: !!timestamp x",
    "binary": "name: !!binary aGVsbG8=",
    "broken binary": "name: !!binary '%%%'",
    "set": "scales: !!set {1, 2}",
    "omap": "scales: !!omap [1]",
    "pairs": "scales: !!pairs [1]",
    "float by tag": "optim: {lr: !!float x}",
    "int by tag": "seed: !!int x",
    "bool by tag": "seed: !!bool x",
    "python": "name: !!python/object/apply:os.system [true]",
    "own tag": "name: !evil x",
    "null byte": 'name: "a\\0b"',
    "escape in a text": 'name: "\\e]0;title\\a"',
    "raw escape": "name: \x1b[31m",
    "tab": "optim:\n\tlr: 3",
    "percent": "%YAML 9.9\n---\na: 1",
    "directive": "%TAG ! tag:evil,2000:\n---\nname: !x y",
    "two documents": "seed: 1\n---\nseed: 2",
    "a list": "- 1",
    "a number": "3",
    "text": "hello",
    "half": "optim: {lr: 3",
    "quote": 'name: "x',
    "section a list": "optim: [1]",
    "section a number": "optim: 3",
    "number a section": "seed: {a: 1}",
    "text a mapping": "name: {a: {b: [1]}}",
    "union of neither": "mixed: [1]",
    "newer version": 'polyscale: "99.0.0"',
    "version a list": "polyscale: [1]",
    "version a number": "polyscale: 1",
    "huge version": 'polyscale: "' + "9" * 5000 + '.0"',
}
REFUSED_BYTES = {"not UTF-8": b"name: \xff", "UTF-16": "seed: 1".encode("utf-16"), "NUL bytes": b"\0" * 100}


@pytest.mark.parametrize("name", [*REFUSED, *REFUSED_BYTES])
def test_a_hostile_file_is_one_line_within_seconds(tmp_path: Path, name: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(REFUSED_BYTES[name] if name in REFUSED_BYTES else REFUSED[name].encode())
    start = time.process_time()
    with pytest.raises(UserError) as error:
        resolve(Config, file=file, presets={"a": Preset({}, "")})
    assert time.process_time() - start < 5
    text = str(error.value)
    assert text.startswith(f"{file}: ")
    assert text.isprintable()
    assert len(text) < 500


def test_a_pipe_does_not_wait(tmp_path: Path) -> None:
    os = pytest.importorskip("os")
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with a name here")
    os.mkfifo(tmp_path / "c.yaml")
    with pytest.raises(UserError, match="is not a regular file"):
        read_yaml(tmp_path / "c.yaml")


def test_a_few_aliases_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("optim: {lr: &a 0.5, extra: {x: *a, y: *a}}\nname: 日本\n", encoding="utf-8")
    config = resolve(Config, file=file)
    assert (config.optim.lr, config.optim.extra, config.name) == (0.5, {"x": 0.5, "y": 0.5}, "日本")


def test_options_are_bounded_as_files_are() -> None:
    for key, text in (("seed", "9" * 40), ("seed", "9" * 5000), ("optim.lr", "nan"), ("mixed", "9" * 40)):
        try:
            resolve(Config, overrides={key: text})
        except UserError as error:
            assert str(error).startswith(f"{key}: ")  # noqa: PT017  a text may also be taken as text
        else:
            assert key == "mixed"
    resolve(Config, overrides={"mixed": "[" * 5000})


def test_a_file_names_the_version_that_wrote_it(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(to_yaml(Config(seed=5)), encoding="utf-8")
    assert file.read_text(encoding="utf-8").startswith(f'polyscale: "{__version__}"\n')
    assert resolve(Config, file=file).seed == 5
    file.write_text("seed: 6\n", encoding="utf-8")  # as before
    assert resolve(Config, file=file).seed == 6
    file.write_text('polyscale: "99.0.0"\nseed: 6\n', encoding="utf-8")
    with pytest.raises(UserError, match=rf"polyscale: written by 99\.0\.0, this is {__version__}: upgrade polyscale"):
        resolve(Config, file=file)
