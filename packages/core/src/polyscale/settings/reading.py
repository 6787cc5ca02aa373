"""Reading settings from YAML files and from single command-line values.

YAML is read by its 1.2 core rules instead of PyYAML's 1.1: `1e-4` is a number, `no`, `on` and `1:30` are text, `010`
is ten. A key given twice is an error, not the last one silently.
"""

import re
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from polyscale.errors import UserError


class _Loader(yaml.SafeLoader):
    """SafeLoader with the YAML 1.2 core scalars and without duplicate keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                fault = "a key should be text, not a list or a mapping"
            elif key_node.value in seen:
                fault = f"{key_node.value} is given twice"
            else:
                seen.add(key_node.value)
                continue
            raise yaml.constructor.ConstructorError(None, None, fault, key_node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        return int(node.value)


FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$")
for _tag, _pattern, _first in (
    ("null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"[-+]?[0-9]+$"), list("-+0123456789")),
    ("float", FLOAT, list("-+.0123456789")),
    ("merge", re.compile(r"<<$"), ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_decimal)


def read_yaml(path: str | Path) -> dict[Any, Any]:
    """The mapping in a YAML file; {} for an empty one.

    Raises UserError naming the file (exit code 2) where it cannot be read, is not YAML or is not a mapping.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8-sig"), _Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", exit_code=2) from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not a YAML file", exit_code=2) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", exit_code=2) from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not a UTF-8 text file", exit_code=2) from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {_fault(error)}", exit_code=2) from None
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply", exit_code=2) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "a single value"
        raise UserError(f"{path}: should be keys with values, got {kind}", exit_code=2)
    return content


def _fault(error: yaml.YAMLError) -> str:
    """PyYAML's multi-line message as one line with the line number."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return f"is not YAML text ({getattr(error, 'reason', 'unreadable')})"
    problem = str(getattr(error, "problem", None) or "not valid YAML")
    if r"'\t'" in problem:
        problem = "a tab where YAML wants spaces"
    return f"line {mark.line + 1}: {problem}"


def parse_value(text: str, annotation: Any) -> Any:
    """One command-line value as a Python value for pydantic to check: "none", "0.5,1,1.5", or a YAML scalar.

    A sequence is split at commas (numbers at spaces too); text, paths and numbers are left to pydantic; a union or a
    mapping is read as YAML (`{a: 1}`).
    """
    kind, optional = without_none(annotation)
    if optional and text.strip().lower() in ("none", "null"):
        return None
    if literals := choices(kind):
        return next((literal for literal in literals if str(literal) == text), text)
    if get_origin(kind) in (list, tuple, set, frozenset):
        items = [item for item in get_args(kind) if item is not ...] or [str]
        parts = re.split(r"\s*,\s*|\s+" if items[0] in (int, float) else r"\s*,\s*", text.strip())
        parts = [] if parts == [""] else parts
        kinds = items * len(parts) if len(items) == 1 else items + [str] * len(parts)
        return [parse_value(part, kind) for part, kind in zip(parts, kinds, strict=False)]
    if isinstance(kind, type) and get_origin(kind) is None and kind is not dict:
        return text
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        return text


def without_none(annotation: Any) -> tuple[Any, bool]:
    """(the type without None, whether None was allowed)."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    members = [member for member in get_args(annotation) if member is not type(None)]
    optional = len(members) < len(get_args(annotation))
    return (members[0] if len(members) == 1 else Union[tuple(members)]), optional  # noqa: UP007


def choices(annotation: Any) -> tuple[Any, ...]:
    """The values of a Literal, else nothing."""
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def show(value: object) -> str:
    """A value as the user wrote it, short enough for one line."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    text = value if isinstance(value, str) and value and not any(map(str.isspace, value)) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
