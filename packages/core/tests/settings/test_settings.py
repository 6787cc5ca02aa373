"""Settings: the order of the layers, one-line errors that name the key, YAML traps, and what is written back."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from polyscale.errors import UserError
from polyscale.settings import Preset, Settings, read_yaml, resolve, schema, to_yaml


class Neck(Settings):
    """How the scales are fused."""

    fusion: Literal["absi", "hierarchical"] = "absi"
    """Fusion of the scales."""
    heads: Literal[1, 2, 4] = 1


class Model(Settings):
    """The network."""

    scales: tuple[float, ...] = (0.5, 1.0, 1.5)
    """Scales of the input."""
    size: int = Field(352, ge=32, le=1024, multiple_of=32)
    """Side of the input in pixels."""
    weights: Path | None = None
    """Weight file; none starts from scratch."""
    neck: Neck = Neck()


class Colour(Enum):
    RED = "red"


class Optim(Settings):
    """Optimiser and schedule."""

    lr: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    groups: list[str] = Field(["backbone"])
    clip: Annotated[float, Field(gt=0)] | None = 1.0
    workers: int | Literal["auto"] = "auto"
    extra: dict[str, float] = Field({})

    @field_validator("groups")
    @classmethod
    def known_groups(cls, groups: list[str]) -> list[str]:
        if "nothing" in groups:
            raise ValueError("nothing is not a group")
        return groups


class Config(Settings):
    """Everything."""

    seed: int = 0
    name: str = "run"
    """Name of the run."""
    ema: bool = True
    amp: bool | None = None
    colour: Colour = Colour.RED
    model: Model = Model()
    optim: Optim = Optim()

    @model_validator(mode="after")
    def sizes_agree(self) -> "Config":
        if self.seed == 13:
            raise ValueError("seed 13 brings bad luck")
        return self


PRESETS = {
    "nano": Preset({"optim": {"lr": 0.002}, "model": {"size": 192}}, "2 CPU cores, 4 minutes, weighted F 0.6."),
    "base": Preset({"model": {"size": 384, "neck": {"fusion": "hierarchical"}}}, "One GPU, 2 hours."),
    "typo": Preset({"modle": {}}, "A preset with a wrong key."),
    "range": Preset({"optim": {"lr": 0}}, "A preset out of range."),
}


def make(
    preset: Any = None, overrides: Any = None, text: str | None = None, tmp_path: Path | None = None, **named: Any
) -> Any:
    file = None
    if text is not None:
        file = tmp_path / "config.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return resolve(Config, preset, file, overrides, presets=PRESETS, **named)


def fault(*args: object, **named: Any) -> str:
    with pytest.raises(UserError) as caught:
        make(*args, **named)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    if named.get("tmp_path"):
        return message.replace(f"{named['tmp_path']}/", "")
    return message


def test_each_layer_wins_over_the_one_before(tmp_path: Path) -> None:
    assert make().optim.lr == 1e-3
    assert make("nano").optim.lr == 2e-3
    text = "optim:\n  lr: 0.003\n"
    assert make("nano", text=text, tmp_path=tmp_path).optim.lr == 3e-3
    config = make("nano", {"optim.lr": "0.004"}, text=text, tmp_path=tmp_path)
    assert config.optim.lr == 4e-3
    assert config.model.size == 192, "the preset's other values stay"
    assert config.model.scales == (0.5, 1.0, 1.5), "the other defaults stay"


def test_yaml_may_name_its_preset_and_the_argument_wins(tmp_path: Path) -> None:
    text = "preset: base\n"
    assert make(text=text, tmp_path=tmp_path, default_preset="nano").model.size == 384
    assert make("nano", text=text, tmp_path=tmp_path).model.size == 192
    assert make(default_preset="nano").model.size == 192
    assert make(Preset({"seed": 5}, "own")).seed == 5


def test_overrides_take_python_values_too() -> None:
    assert make(overrides={"model.scales": (1.0,), "model.neck.heads": 4}).model.scales == (1.0,)


def test_tree_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make().optim.lr = 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"optim.lr": "-1"}, "optim.lr: should be greater than 0, got -1"),
        ({"optim.lr": "fast"}, "optim.lr: should be a number, got fast"),
        ({"optim.lr": ""}, "optim.lr: should be a number, got ''"),
        ({"model.size": "100"}, "model.size: should be a multiple of 32, got 100"),
        ({"model.size": "2048"}, "model.size: should be less than or equal to 1024, got 2048"),
        ({"model.size": "64.5"}, "model.size: should be a whole number, got 64.5"),
        ({"model.scales": "0.5,big"}, "model.scales: item 2 should be a number, got big"),
        ({"optim.betas": "0.9"}, "optim.betas: item 2 is missing"),
        ({"optim.betas": "0.9,0.99,0.999"}, "optim.betas: should have at most 2 items, not 3"),
        ({"model.neck.fusion": "abs"}, "model.neck.fusion: should be 'absi' or 'hierarchical', got abs"),
        ({"model.neck.heads": "3"}, "model.neck.heads: should be 1, 2 or 4, got 3"),
        ({"optim.clip": "0"}, "optim.clip: should be greater than 0, got 0"),
        ({"optim.workers": "many"}, "optim.workers: should be a whole number or 'auto', got many"),
        ({"optim.extra": "{a: b}"}, "optim.extra: a should be a number, got b"),
        ({"optim.groups": "nothing"}, "optim.groups: nothing is not a group"),
        ({"colour": "blue"}, "colour: should be 'red', got blue"),
        ({"seed": "13"}, "seed 13 brings bad luck"),
        ({"seed": "none"}, "seed: should be a whole number, got none"),
        ({"optim.lr": "-1", "seed": "x"}, "seed: should be a whole number, got x (and 1 more)"),
        ({"optim.lrr": 3}, "optim.lrr: no such key (did you mean optim.lr?)"),
        ({"name": 5}, "name: should be text, got 5"),
    ],
)
def test_wrong_option_values(overrides: dict[str, Any], message: str) -> None:
    assert fault(overrides=overrides) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle:\n  size: 3\n", "config.yaml: modle: no such key (did you mean model?)"),
        ("model:\n  neck:\n    fuson: absi\n", "config.yaml: model.neck.fuson: no such key (did you mean fusion?)"),
        ("lr: 3\n", "config.yaml: lr: no such key (did you mean optim.lr?)"),
        ("optim.lr: 3\n", "config.yaml: optim.lr: no such key (nest it: one line per section, indented)"),
        ("zzzz: 3\n", "config.yaml: zzzz: no such key (known: seed, name, ema, amp, colour, model, optim)"),
        ("1: 3\n", "config.yaml: 1: no such key (known: seed, name, ema, amp, colour, model, optim)"),
        (
            "optim: 3\n",
            "config.yaml: optim: should be a section with keys lr, betas, groups, clip, workers, extra, got 3",
        ),
        ("optim:\n  lr: -0.1\n", "config.yaml: optim.lr: should be greater than 0, got -0.1"),
        ("optim:\n  lr:\n", "config.yaml: optim.lr: should be a number, got none"),
        ("optim: {clip: [1]}\n", "config.yaml: optim.clip: should be a number, got [1]"),
        ("ema: perhaps\n", "config.yaml: ema: should be true or false, got perhaps"),
        ("- 1\n- 2\n", "config.yaml: should be keys with values, got a list"),
        ("hello\n", "config.yaml: should be keys with values, got a single value"),
        ("optim:\n\tlr: 3\n", "config.yaml: line 2: a tab where YAML wants spaces"),
        ("optim: {lr: 3\n", "config.yaml: line 2: expected ',' or '}', but got '<stream end>'"),
        ("seed: 1\nseed: 2\n", "config.yaml: line 2: seed is given twice"),
        ("seed: 1\n---\nseed: 2\n", "config.yaml: line 2: but found another document"),
        ("seed: !!python/object:os.system x\n", "config.yaml: line 1: could not determine a constructor for the tag "),
        ("? [a, b]\n: 3\n", "config.yaml: line 1: a key should be text, not a list or a mapping"),
        ("preset: nan\n", "config.yaml: preset: no such preset nan (choose from: nano, base, typo, range)"),
        ("preset: [nano]\n", "config.yaml: preset: no such preset ['nano'] (choose from: nano, base, typo, range)"),
        (b"seed: \xff\xfe\n", "config.yaml: is not a UTF-8 text file"),
        (b"seed: \x00\n", "config.yaml: is not YAML text (special characters are not allowed)"),
        ("[" * 700, "config.yaml: is nested too deeply"),
        ("model: &m\n  neck: *m\n", "config.yaml: line 1: more than 20,000 values, aliases counted"),
    ],
)
def test_wrong_files(text: str | bytes, message: str, tmp_path: Path) -> None:
    assert fault(text=text, tmp_path=tmp_path).startswith(message)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for file, message in ((tmp_path / "no.yaml", "no such file"), (tmp_path, "is a folder, not a file")):
        with pytest.raises(UserError, match=message) as caught:
            resolve(Config, file=file)
        assert str(caught.value).startswith(str(file))
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml("x" * 5000)


def test_wrong_presets() -> None:
    assert fault("nan") == "preset: no such preset nan (choose from: nano, base, typo, range)"
    assert fault("typo") == "preset typo: modle: no such key (did you mean model?)"
    assert fault("range") == "preset range: optim.lr: should be greater than 0, got 0"
    with pytest.raises(UserError, match="there are none"):
        resolve(Config, "nano")


def test_yaml_follows_the_1_2_core_rules(tmp_path: Path) -> None:
    text = "seed: 010\nname: no\nema: off\noptim: {lr: 1e-4, betas: [.5, 9E-1]}\n"
    config = make(text=text, tmp_path=tmp_path)
    assert (config.seed, config.name, config.ema, config.optim.lr) == (10, "no", False, 1e-4)
    assert config.optim.betas == (0.5, 0.9)
    file = tmp_path / "scalars.yaml"
    file.write_text("a: 1:30\nb: 2024-01-02\nc: ~\nd: yes\ne: -.inf\nf: +3\ng: 1_000\nh:\ni: 'true'\nj: true\n")
    expected = {"a": "1:30", "b": "2024-01-02", "c": None, "d": "yes", "e": float("-inf"), "f": 3, "g": "1_000"}
    assert read_yaml(file) == expected | {"h": None, "i": "true", "j": True}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "optim:\n  # lr: 3\n", b"\xef\xbb\xbfseed: 0\n", "{}"])
def test_empty_files_and_sections_change_nothing(text: str | bytes, tmp_path: Path) -> None:
    assert make(text=text, tmp_path=tmp_path) == Config()


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    text = "model: &m {size: 64, neck: &n {heads: 2}}\noptim: {extra: {<<: {a: 1}, b: 2}}\n"
    config = make(text=text, tmp_path=tmp_path)
    assert config.model.neck.heads == 2
    assert config.optim.extra == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("model.scales", "0.5,1,1.5", (0.5, 1.0, 1.5)),
        ("model.scales", " 0.5, 1 ,2 ", (0.5, 1.0, 2.0)),
        ("model.scales", "0.5 1 2", (0.5, 1.0, 2.0)),
        ("model.scales", "1", (1.0,)),
        ("model.scales", "", ()),
        ("optim.groups", "a b, c", ["a b", "c"]),
        ("optim.betas", "0.8,0.9", (0.8, 0.9)),
        ("optim.clip", "none", None),
        ("optim.clip", "0.5", 0.5),
        ("optim.workers", "3", 3),
        ("optim.workers", "auto", "auto"),
        ("optim.extra", "{a: 1e-2}", {"a": 0.01}),
        ("model.weights", "a/b c.pt", Path("a/b c.pt")),
        ("model.weights", "None", None),
        ("model.neck.heads", "4", 4),
        ("amp", "true", True),
        ("amp", "none", None),
        ("colour", "red", Colour.RED),
        ("name", "none", "none"),
        ("name", "1e-4", "1e-4"),
        ("seed", "-3", -3),
    ],
)
def test_option_text_becomes_the_value(key: str, text: str, value: Any) -> None:
    found = make(overrides={key: text})
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


STRANGE = {
    "name": "no",
    "optim.lr": 1e-5,
    "optim.clip": None,
    "model.weights": Path("a: b #c.pt"),
    "optim.groups": ["1e-4", "010", "true", "~", "", "it's", "ünï", "a\nb", "1:30", "- x"],
    "optim.extra": {"1e3": 1e300, "no": 1.0},
    "model.scales": (),
    "seed": -7,
    "amp": False,
}


@pytest.mark.parametrize("commented", [False, True])
@pytest.mark.parametrize("overrides", [{}, STRANGE])
def test_yaml_round_trip(overrides: Any, commented: bool, tmp_path: Path) -> None:
    config = make("base", overrides)
    text = to_yaml(config, commented=commented)
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    assert resolve(Config, file=file) == config
    if not overrides:  # other tools read it by YAML 1.1
        assert yaml.safe_load(text)["model"]["scales"] == [0.5, 1.0, 1.5]


def test_every_string_survives_a_round_trip(tmp_path: Path) -> None:
    for text in [
        "1e5",
        ".5",
        "+.inf",
        ".nan",
        "0x1F",
        "0o17",
        "null",
        "yes",
        "0.0",
        "1_0",
        "=",
        "<<",
        "!x",
        "&x",
        "*x",
        "?",
    ]:
        (tmp_path / "c.yaml").write_text(to_yaml(make(overrides={"name": text})), encoding="utf-8")
        assert resolve(Config, file=tmp_path / "c.yaml").name == text


def test_commented_yaml_carries_help_and_ranges() -> None:
    text = to_yaml(Config(), commented=True)
    assert "# The network\nmodel:\n  # Scales of the input.\n  scales: [0.5, 1.0, 1.5]\n" in text
    assert "  # Side of the input in pixels. (32 to 1024, multiple of 32)\n  size: 352\n" in text
    assert "  # Peak learning rate. (> 0)\n  lr: 0.001\n" in text


def test_schema_describes_the_file() -> None:
    document = schema(Config)
    assert document["properties"]["preset"]["type"] == "string"
    assert document["additionalProperties"] is False
    assert document["$defs"]["Optim"]["properties"]["lr"]["exclusiveMinimum"] == 0
    assert document["$defs"]["Optim"]["properties"]["lr"]["description"] == "Peak learning rate."


def test_a_default_out_of_range_is_found() -> None:
    class Wrong(Settings):
        rate: float = Field(-1, gt=0)

    with pytest.raises(UserError, match="rate: should be greater than 0, got -1"):
        resolve(Wrong)
