"""The settings tree and how its layers become one checked object: defaults < preset < YAML file < options.

Every layer is flattened to dotted keys ("optim.lr") and remembers where it came from, so that one line can name the
key and the file at fault. Values are checked once, by pydantic, on the merged tree.
"""

import difflib
import functools
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from polyscale import __version__
from polyscale.errors import UserError
from polyscale.settings.needs import Needs, check_needs, is_run
from polyscale.settings.reading import MAX_INT, parse_value, read_yaml, show


class Settings(BaseModel):
    """A section of the tree: frozen, unknown keys refused; the string under a field is its help.

    A field whose type is another Settings class is a nested section and needs a default (`optim: Optim = Optim()`).
    Prefer tuples to lists: a frozen section does not freeze a list inside it.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )
    renamed: ClassVar[Mapping[str, str]] = {}
    """Keys of older settings files and what they are called now."""
    retired: ClassVar[Mapping[str, Any]] = {}
    """Keys of older settings files that are gone, each with the value that means what is done now: it is passed over,
    another is refused (... passes over any)."""
    needs: ClassVar[Sequence[Needs]] = ()
    """Settings of the whole tree that are read only together with others."""

    @model_validator(mode="after")
    def _what_is_asked_for_is_read(self, info: ValidationInfo) -> Self:
        if type(self).needs:
            asked = None if info.context is None else info.context["asked"]
            values = {
                key: (functools.reduce(getattr, key.split("."), self), field.default)
                for key, field in leaves(type(self))
                if asked is None or key in asked
            }
            check_needs(self, type(self).needs, values)
        return self


class Preset(NamedTuple):
    """A named starting point: nested values that differ from the defaults, and what to expect of them.

    `about` states the hardware, the time and the expected result; its first line is shown in --help.
    """

    values: Mapping[str, Any]
    about: str


SELF_EXPLAINING = ("value_error", "assertion_error", "missing", "too_long", "too_short")
WHOLE, NUMBER, TRUTH = "should be a whole number", "should be a number", "should be true or false"
WORDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), WHOLE),
    **dict.fromkeys(("float_type", "float_parsing"), NUMBER),
    **dict.fromkeys(("bool_type", "bool_parsing"), TRUTH),
    "string_type": "should be text",
    "missing": "is missing",
}
Tree = TypeVar("Tree", bound=Settings)
VERSION = "polyscale"  # key of a settings file: the version that wrote it
NO_PRESETS: Mapping[str, Preset] = types.MappingProxyType({})


def is_section(field: FieldInfo) -> bool:
    """Return whether the field is a nested section and not a value."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, Settings)


def leaves(tree: type[Settings], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every value of the tree as (dotted key, field), in the order of definition, sections depth first."""
    for name, field in tree.model_fields.items():
        if is_section(field):
            yield from leaves(field.annotation, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            yield f"{prefix}{name}", field


def resolve(
    tree: type[Tree],
    preset: str | Preset | None = None,
    file: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    presets: Mapping[str, Preset] = NO_PRESETS,
    default_preset: str | None = None,
) -> Tree:
    """Build the tree from defaults < preset < YAML file < overrides.

    Args:
        tree: the class of the settings.
        preset: a name in `presets` or a Preset; without it the file's own `preset:` entry, else `default_preset`.
        file: a YAML file.
        overrides: keyed by dotted names ("optim.lr"); a string is read as the command line reads it ("0.5,1,1.5").
        presets: the named starting points.
        default_preset: one of their names.

    Returns:
        The frozen, checked tree.

    Raises:
        UserError: (exit code 2) an unreadable file, an unknown preset or key, a wrong type or range; one line names
            the file and the key.
    """
    given: dict[str, Any] = {}
    origin: dict[str, str] = {}

    def add(layer: Mapping[str, Any], source: str) -> None:
        given.update(layer)
        origin.update(dict.fromkeys(layer, source))

    content = read_yaml(file) if file is not None else {}
    _check_version(content.pop(VERSION, None), f"{file}: {VERSION}: ")
    named = content.pop("preset", None) if "preset" not in tree.model_fields else None
    chosen, name = _choose(preset, named, f"{file}: ", default_preset, presets)
    if chosen is not None:
        add(flatten(tree, chosen.values, f"preset {name}: "), f"preset {name}: ")
    written = flatten(tree, content, f"{file}: ")
    add(written, f"{file}: ")
    add(_parsed(tree, overrides or {}), "")
    asked = _asked(tree, written, file, presets) | (overrides or {}).keys()
    try:
        config = tree.model_validate(_nested(given), context={"asked": asked})
    except ValidationError as error:
        raise UserError(_one_line(tree, error.errors(), origin), exit_code=2) from None
    for key in given:
        value = functools.reduce(getattr, key.split("."), config)
        if isinstance(value, int) and abs(value) >= MAX_INT:
            raise UserError(f"{origin[key]}{key}: should be within 64 bits, got {show(value)}", exit_code=2)
    return config


def _asked(
    tree: type[Settings], written: Mapping[str, Any], file: str | Path | None, presets: Mapping[str, Preset]
) -> set[str]:
    """Return the keys of a file that a user asked for: a run's file, and one that `config` wrote, hold all of them."""
    if file is None or is_run(Path(file).parent) or not tree.needs:
        return set()
    given = [flatten(tree, preset.values, "") for preset in presets.values()]
    return {key for key, value in written.items() if not any(key in one and one[key] == value for one in given)}


def _check_version(written: Any, source: str) -> None:
    """Refuse settings that a newer polyscale wrote; files without a version are older."""
    if written is None:
        return
    if not isinstance(written, str) or not re.match(r"\d+\.\d+", written):
        raise UserError(f'{source}should be a version such as "{__version__}", got {show(written)}', exit_code=2)
    newer, own = ([int(part) for part in re.findall(r"\d{1,9}", text)[:2]] for text in (written, __version__))
    if newer > own:
        raise UserError(f"{source}written by {show(written)}, this is {__version__}: upgrade polyscale", exit_code=2)


def _choose(
    preset: str | Preset | None, named: Any, file: str, default: str | None, presets: Mapping[str, Preset]
) -> tuple[Preset | None, str]:
    if isinstance(preset, Preset):
        return preset, "given"
    source, name = ("", preset) if preset is not None else (file, named) if named is not None else ("", default)
    if name is None:
        return None, ""
    if not isinstance(name, str) or name not in presets:
        known = ", ".join(presets) or "there are none"
        raise UserError(f"{source}preset: no such preset {show(name)} (choose from: {known})", exit_code=2)
    return presets[name], name


def flatten(tree: type[Settings], layer: Mapping[str, Any], source: str, prefix: str = "") -> dict[str, Any]:
    """Flatten a nested mapping to {dotted key: value}; UserError for a key that the tree does not have."""
    flat: dict[str, Any] = {}
    for written, value in layer.items():
        if written in tree.retired:
            if (now := tree.retired[written]) not in (..., value):
                gone = f"is gone, as if always {show(now)}; got {show(value)}: take it out and train anew"
                raise UserError(f"{source}{prefix}{written}: {gone}", exit_code=2)
            continue
        name = tree.renamed.get(written, written) if isinstance(written, str) else written
        field = tree.model_fields.get(name) if isinstance(name, str) else None
        key = f"{prefix}{name if field else show(name)}"
        if field is None:
            raise UserError(f"{source}{key}: no such key{_suggestion(tree, name, prefix)}", exit_code=2)
        if name != written and name in layer:
            raise UserError(f"{source}{prefix}{written}: is called {name} now, and both are there", exit_code=2)
        if not is_section(field):
            flat[key] = value
        elif isinstance(value, Mapping):
            flat |= flatten(field.annotation, value, source, f"{key}.")  # type: ignore[arg-type]
        elif value is not None:  # a section whose lines are all commented out reads as None
            names = ", ".join(field.annotation.model_fields)  # type: ignore[union-attr]
            raise UserError(f"{source}{key}: should be a section with keys {names}, got {show(value)}", exit_code=2)
    return flat


def _suggestion(tree: type[Settings], name: object, prefix: str = "") -> str:
    """Suggest what a misspelt key may have meant: a neighbour, or the same name in another section."""
    keys = [key for key, _ in leaves(tree, prefix)]
    if str(name) in keys:
        return " (nest it: one line per section, indented)"
    close = difflib.get_close_matches(str(name), tree.model_fields, n=1)
    close = close or [key for key in keys if key.rpartition(".")[2] == name]
    close = close or difflib.get_close_matches(str(name), keys, n=1)
    return f" (did you mean {close[0]}?)" if close else f" (known: {', '.join(tree.model_fields)})"


def _parsed(tree: type[Settings], overrides: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(leaves(tree))
    for key in overrides:
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise UserError(f"{key}: no such key{hint}", exit_code=2)
    return {
        key: parse_value(value, fields[key].annotation) if isinstance(value, str) else value
        for key, value in overrides.items()
    }


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, name = key.split(".")
        here = tree
        for section in sections:
            here = here.setdefault(section, {})
        here[name] = value
    return tree


def _one_line(tree: type[Settings], errors: list[ErrorDetails], origin: Mapping[str, str]) -> str:
    """Format the first fault in one line; a union reports one error per member, joined by "or"."""
    first = errors[0]
    key, rest = _locate(first["loc"], origin)
    same = [error for error in errors if _locate(error["loc"], origin)[0] == key]
    texts = list(dict.fromkeys(_text(error) for error in same))
    text = " or ".join([texts[0], *(text.removeprefix("should be ") for text in texts[1:])])
    mapping = get_origin(dict(leaves(tree))[key].annotation) is dict if rest else False
    item = f"{rest[0]} " if mapping else next((f"item {part + 1} " for part in rest if isinstance(part, int)), "")
    got = "" if first["type"] in SELF_EXPLAINING else f", got {show(first['input'])}"
    others = len({_locate(error["loc"], origin)[0] for error in errors}) - 1
    more = f" (and {others} more)" if others else ""
    source = origin.get(key or re.split("[:,]", text)[0], "")  # a rule of several settings names the key itself
    return f"{source}{key + ': ' if key else ''}{item}{text}{got}{more}"


def _locate(loc: tuple[int | str, ...], origin: Mapping[str, str]) -> tuple[str, tuple[int | str, ...]]:
    """Return the dotted key at fault and what follows it in pydantic's location (item numbers, union members)."""
    for length in range(1, len(loc) + 1):
        key = ".".join(str(part) for part in loc[:length])
        if key in origin:
            return key, loc[length:]
    return ".".join(str(part) for part in loc), ()


def _text(error: ErrorDetails) -> str:
    """Return pydantic's message as "should be ...", in the words of a settings file."""
    if error["type"] in WORDS:
        return WORDS[error["type"]]
    text = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    text = re.sub(r"^(Input|\w+) should", "should", text)
    return text.replace(" after validation", "").replace(" valid ", " ")
