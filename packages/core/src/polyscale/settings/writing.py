"""Settings written for people: YAML that reads back to the same tree, JSON schema, types and ranges in words."""

import textwrap
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, get_args, get_origin

import annotated_types
import yaml
from pydantic.fields import FieldInfo

from polyscale import __version__
from polyscale.settings.reading import FLOAT, choices, without_none
from polyscale.settings.tree import VERSION, Settings, is_section

BOUNDS = (
    (annotated_types.Gt, "gt", ">"),
    (annotated_types.Ge, "ge", ">="),
    (annotated_types.Lt, "lt", "<"),
    (annotated_types.Le, "le", "<="),
    (annotated_types.MultipleOf, "multiple_of", "multiple of"),
)
SCALARS = {int: "int", float: "float", str: "text", bool: "true|false"}


class _Dumper(yaml.SafeDumper):
    """SafeDumper that also quotes text which our YAML 1.2 loader would take for a number ("1e-4")."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))


def to_yaml(config: Settings, *, commented: bool = False) -> str:
    """Write every value of the tree as YAML that resolves back to an equal tree.

    Args:
        config: the settings.
        commented: add each field's help and range.

    Returns:
        The text of a file, with the version of polyscale as its first entry.
    """
    return "\n".join([f'{VERSION}: "{__version__}"', *_lines(config, "", commented)]) + "\n"


def _lines(section: Settings, indent: str, commented: bool) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Settings) and is_section(field):
            if commented and (about := headline(type(value))):
                yield f"{indent}# {about}"
            yield f"{indent}{name}:"
            yield from _lines(value, f"{indent}  ", commented) if type(value).model_fields else [f"{indent}  {{}}"]
            continue
        if commented:
            words = " ".join(filter(None, [field.description, f"({span})" if (span := range_text(field)) else ""]))
            yield from textwrap.wrap(words, 110, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        text = yaml.dump(plain(value), Dumper=_Dumper, default_flow_style=True, width=2**31, allow_unicode=True)
        yield f"{indent}{name}: {text.removesuffix('...' + chr(10)).strip()}"


def plain(value: Any) -> Any:
    """Convert a value to the types of YAML and JSON: paths to text, tuples and sets to lists, sections to mappings."""
    if isinstance(value, Settings):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, PurePath):
        return str(value)
    return value.value if isinstance(value, Enum) else value


def schema(tree: type[Settings]) -> dict[str, Any]:
    """Return the JSON schema of a settings file (for editors), with the `preset` entry that a file may have."""
    document = tree.model_json_schema()
    about = {"type": "string", "description": "Named settings to start from."}
    written = {"type": "string", "description": "Version of polyscale that wrote the file."}
    document["properties"] = {"preset": about, VERSION: written} | document["properties"]
    return document


def headline(section: type[Settings]) -> str:
    """Return the first line of a section's docstring, without its full stop."""
    text = vars(section).get("__doc__") or ""
    return text.strip().partition("\n")[0].rstrip(".")


def type_text(annotation: Any) -> str:
    """Describe the value an option takes: int, float, text, path, a|b, float,float,..., and |none if allowed."""
    kind, optional = without_none(annotation)
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if literals := choices(kind):
        text = "|".join(map(str, literals))
    elif get_origin(kind) in (list, tuple, set, frozenset):
        items = [item for item in get_args(kind) if item is not ...] or [str]
        open_ended = get_origin(kind) is not tuple or ... in get_args(kind)
        text = ",".join([type_text(item) for item in items] + ["..."] * open_ended)
    elif isinstance(kind, type) and issubclass(kind, PurePath):
        text = "path"
    elif isinstance(kind, type) and issubclass(kind, Enum):
        text = "|".join(str(member.value) for member in kind)
    elif without_none(kind) == (kind, False) and get_args(kind) and get_origin(kind) is not dict:
        text = "|".join(dict.fromkeys(type_text(member) for member in get_args(kind)))
    else:
        text = SCALARS.get(kind, "yaml")
    return f"{text}|none" if optional else text


def range_text(field: FieldInfo) -> str:
    """Describe the allowed range ("> 0", "0 to 1", "multiple of 32"); empty if any value is allowed."""
    kind, _ = without_none(field.annotation)
    metadata = [*field.metadata]
    for part in (kind, *get_args(kind)):
        if get_origin(part) is Annotated:
            nested = get_args(part)[1:]
            metadata += [item for info in nested for item in (info.metadata if isinstance(info, FieldInfo) else [info])]
    found = {sign: getattr(item, name) for item in metadata for kind, name, sign in BOUNDS if isinstance(item, kind)}
    if ">=" in found and "<=" in found:
        found = {"": f"{found['>=']} to {found['<=']}"} | {k: v for k, v in found.items() if k not in (">=", "<=")}
    return ", ".join(f"{sign} {value}".strip() for sign, value in found.items())


def value_text(value: Any) -> str:
    """Format a value as typed on the command line: 0.5,1.0,1.5 or none or true."""
    value = plain(value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(value_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
