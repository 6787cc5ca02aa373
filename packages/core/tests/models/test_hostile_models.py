"""Folders of strangers: each of a corpus is one line that names the file, quickly, and the hub is never asked."""

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from polyscale import __version__
from polyscale.errors import UserError
from polyscale.models.backbones import create_backbone
from polyscale.models.tensors import load_tensors, read_tensors, write_tensors
from polyscale.models.weights import Pretrained, find


class Net(Pretrained):
    """A model with every kind of argument that a configuration holds."""

    def __init__(
        self,
        backbone: str = "test_resnet",
        scales: Sequence[float] = (0.5, 1.0),
        fusion: Literal["a", "b"] = "a",
        width: int = 4,
        low: float = 0.0,
        heads: bool = True,
        note: str | None = None,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.net = create_backbone(backbone, pretrained=pretrained) if ":" in backbone else nn.Conv2d(3, 4, 1)
        self.scales = nn.ModuleList(nn.Linear(width, width) for _ in scales)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    Net().save_pretrained(folder)
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("polyscale.models.hub._why_unreachable", refuse)


def argument(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda config: {**config, "arguments": {**config["arguments"], name: value}}


def key(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda config: {**config, name: value}


CONFIGS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a list": lambda config: [config],
    "null": lambda config: None,
    "text": lambda config: "config",
    "a number": lambda config: 7,
    "nothing": lambda config: {},
    "no class": lambda config: {"arguments": config["arguments"]},
    "no arguments": lambda config: {"class": config["class"]},
    "class a list": key("class", ["a"]),
    "class null": key("class", None),
    "class of another": key("class", "os.system"),
    "arguments a list": key("arguments", [1, 2]),
    "arguments null": key("arguments", None),
    "arguments text": key("arguments", "width"),
    "about a list": key("about", [1]),
    "format newer": key("format", 99),
    "format text": key("format", "one"),
    "format a float": key("format", 1.5),
    "format negative": key("format", -1),
    "unknown argument": argument("evil", 1),
    "self": argument("self", 1),
    "long unknown argument": argument("x" * 10_000, 1),
    "width text": argument("width", "3"),
    "width null": argument("width", None),
    "width a list": argument("width", [3]),
    "width a float": argument("width", 3.5),
    "width true": argument("width", True),
    "width negative": argument("width", -4),
    "width huge": argument("width", 10**5),
    "width beyond memory": argument("width", 10**9),
    "width beyond 64 bits": argument("width", 10**30),
    "width of 5,000 digits": argument("width", 10**4000),
    "scales 10,000": argument("scales", [1.0] * 10_000),
    "scales null": argument("scales", None),
    "scales text": argument("scales", "0.5,1"),
    "scales of text": argument("scales", ["0.5"]),
    "scales of lists": argument("scales", [[1.0]]),
    "scales a mapping": argument("scales", {"0": 1}),
    "scales of NaN": argument("scales", [float("nan")]),
    "low NaN": argument("low", float("nan")),
    "low infinite": argument("low", float("inf")),
    "fusion unknown": argument("fusion", "c"),
    "fusion null": argument("fusion", None),
    "heads a number": argument("heads", 2),
    "note a list": argument("note", [1]),
    "backbone of the hub": argument("backbone", "hf-hub:someone/evil"),
    "backbone a number": argument("backbone", 3),
    "other sizes": argument("width", 5),
    "fewer tensors": argument("scales", [1.0]),
}
RAW = {
    "empty": b"",
    "NUL bytes": b"\0" * 1000,
    "half": b'{"class": "x", "argum',
    "not UTF-8": b'{"class": "\xff\xfe", "arguments": {}}',
    "UTF-16": '{"class": "x", "arguments": {}}'.encode("utf-16"),
    "100,000 deep": b"[" * 100_000,
    "100,000 deep in arguments": b'{"class": "x", "arguments": ' + b'{"a":' * 100_000,
    "1e999": b'{"class": "CLASS", "arguments": {"low": 1e999}}',
    "2 MB": b'{"class": "' + b"x" * (2 << 20) + b'"}',
}
WEIGHTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-100],
    "cut in the header": lambda content: content[:20],
    "header of 2^63": lambda content: b"\xff" * 7 + b"\x7f" + content[8:],
    "header not JSON": lambda content: content[:8] + b"x" * 50 + content[58:],
    "longer": lambda content: content + b"\0" * 64,
    "a pickle": lambda content: b"\x80\x04\x95.",
    "NUL bytes": lambda content: b"\0" * len(content),
    "alias of nothing": lambda content: _safetensors({"a": torch.zeros(1)}, {"tied": '{"b": "none"}'}),
    "alias not JSON": lambda content: _safetensors({"a": torch.zeros(1)}, {"tied": "{"}),
    "alias a list": lambda content: _safetensors({"a": torch.zeros(1)}, {"tied": "[1]"}),
    "integers": lambda content: _safetensors({k: v.to(torch.int64) for k, v in Net().state_dict().items()}, None),
    "complex": lambda content: _safetensors({k: v.to(torch.complex64) for k, v in Net().state_dict().items()}, None),
    "bool": lambda content: _safetensors({k: v.bool() for k, v in Net().state_dict().items()}, None),
    "no tensor": lambda content: _safetensors({}, None),
}


def _safetensors(tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None) -> bytes:
    from safetensors.torch import save

    return save(tensors, metadata)


def one_line(folder: Path) -> str:
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        Net.from_pretrained(folder)
    assert time.monotonic() - start < 5
    text = str(error.value)
    assert "\n" not in text
    assert str(folder) in text
    assert len(text) < 700
    return text


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.usefixtures("no_network")
def test_a_hostile_configuration_is_one_line(sound: Path, tmp_path: Path, name: str) -> None:
    config = CONFIGS[name](json.loads((sound / "config.json").read_text()))
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((sound / "model.safetensors").read_bytes())
    one_line(tmp_path)


@pytest.mark.parametrize("name", RAW)
@pytest.mark.usefixtures("no_network")
def test_what_is_no_configuration_is_one_line(sound: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_bytes(
        RAW[name].replace(b"CLASS", json.loads((sound / "config.json").read_text())["class"].encode())
    )
    (tmp_path / "model.safetensors").write_bytes((sound / "model.safetensors").read_bytes())
    assert "config.json" in one_line(tmp_path)


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.usefixtures("no_network")
def test_hostile_weights_are_one_line(sound: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_bytes((sound / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS[name]((sound / "model.safetensors").read_bytes()))
    assert "model.safetensors" in one_line(tmp_path)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_what_is_no_file_is_one_line(sound: Path, tmp_path: Path, file: str) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((sound / name).read_bytes())
    (tmp_path / file).unlink()
    if file != "config.json":
        assert "no such file" in one_line(tmp_path)
    (tmp_path / file).mkdir()
    assert "file" in one_line(tmp_path)
    (tmp_path / file).rmdir()
    (tmp_path / file).symlink_to(file)
    one_line(tmp_path)
    if hasattr(os, "mkfifo"):
        (tmp_path / file).unlink()
        os.mkfifo(tmp_path / file)
        assert "file" in one_line(tmp_path)


@pytest.mark.usefixtures("no_network")
def test_what_can_only_be_a_path_never_asks_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for source in ("runs/x", "mine/x", "./a/b", "../a", "/a/b", "~/a", "a/b/c", "a\\b", "none", "x/..", "a/b\0", "é/b"):
        with pytest.raises(UserError, match="no such model"):
            find(source)
    with pytest.raises(UserError, match=r"no config\.json"):
        find("mine")
    with pytest.raises(UserError, match="no such model"):
        find("x" * 10_000)


def test_a_folder_of_before_loads_and_a_newer_one_says_what_to_do(sound: Path, tmp_path: Path) -> None:
    config = json.loads((sound / "config.json").read_text())
    assert (config["format"], config["polyscale"]) == (1, __version__)
    (tmp_path / "model.safetensors").write_bytes((sound / "model.safetensors").read_bytes())
    old = {name: value for name, value in config.items() if name not in ("format", "polyscale")}
    (tmp_path / "config.json").write_text(json.dumps(old))
    Net.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "format": 2, "polyscale": "9.9.9"}))
    with pytest.raises(UserError, match=r"config\.json: format 2 was written by 9\.9\.9; .*upgrade polyscale"):
        Net.from_pretrained(tmp_path)


class Tied(Pretrained):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(50, 8), nn.Linear(8, 50, bias=False)
        self.head.weight = self.embed.weight


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    model = Tied()
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 1.3 * 50 * 8 * 4
    loaded = Tied.from_pretrained(tmp_path)
    assert loaded.head.weight is loaded.embed.weight
    assert torch.equal(loaded.head.weight, model.head.weight)
    save_file({k: v.clone() for k, v in model.state_dict().items()}, tmp_path / "model.safetensors")
    assert torch.equal(Tied.from_pretrained(tmp_path).head.weight, model.head.weight)  # stored twice, as before


def test_only_whole_tensors_are_shared(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    tensors = {"all": base, "same": base, "part": base[:6], "table": base.view(3, 4), "turned": base.view(3, 4).T}
    tensors |= {"none": torch.empty(0), "none too": torch.empty(0, 3)}
    write_tensors(tmp_path / "a.safetensors", tensors, dtype=torch.float16)
    read = read_tensors(tmp_path / "a.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name].float(), value) for name, value in tensors.items())


def test_other_kinds_of_numbers_do_not_fit() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(UserError, match=r"2 of another kind of number \(weight, bias\)"):
        load_tensors(model, {k: v.long() for k, v in model.state_dict().items()}, "x")
    load_tensors(model, {k: v.half() for k, v in model.state_dict().items()}, "x")
