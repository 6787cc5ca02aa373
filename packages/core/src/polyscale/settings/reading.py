"""Reading settings from YAML files and from single command-line values.

YAML is read by its 1.2 core rules instead of PyYAML's 1.1: `1e-4` is a number, `no`, `on` and `1:30` are text, `010`
is ten. A key given twice is an error. A file from a stranger is bounded in bytes and in values, aliases counted as
often as they are used, so that no alias bomb is ever unfolded.
"""

import itertools
import re
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from polyscale.errors import UserError, foreign, read_bounded

MAX_BYTES = 1 << 18  # PyYAML reads about 100 kB a second
MAX_VALUES = 20_000
MAX_INT = 2**63


class _Loader(yaml.SafeLoader):
    """SafeLoader with the YAML 1.2 core scalars, without duplicate keys, bounded."""

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

    composed = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.composed += 1
        if self.composed > MAX_VALUES:
            mark = self.peek_event().start_mark
            raise yaml.constructor.ConstructorError(None, None, f"more than {MAX_VALUES:,} values", mark)
        return super().compose_node(parent, index)

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        waiting = [] if node is None else [node]
        for count in itertools.count():
            if not waiting:
                return node
            if count > MAX_VALUES:  # an alias within its own anchor never ends
                fault = f"more than {MAX_VALUES:,} values, aliases counted"
                raise yaml.constructor.ConstructorError(None, None, fault, node.start_mark)  # type: ignore[union-attr]
            here = waiting.pop()
            if isinstance(here, yaml.MappingNode):
                waiting += [part for pair in here.value for part in pair]
            elif isinstance(here, yaml.SequenceNode):
                waiting += here.value
        raise AssertionError("unreachable: counting does not end")

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        value = int(node.value) if len(node.value) < 30 else MAX_INT
        if abs(value) >= MAX_INT:
            raise yaml.constructor.ConstructorError(None, None, "a whole number beyond 64 bits", node.start_mark)
        return value

    def construct_text(self, node: yaml.ScalarNode) -> str:
        if any(letter < " " and letter not in "\t\n" for letter in node.value):
            raise yaml.constructor.ConstructorError(None, None, "a control character in a text", node.start_mark)
        return str(node.value)


FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$")
for _tag, _pattern, _first in (
    ("null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"[-+]?[0-9]+$"), list("-+0123456789")),
    ("float", FLOAT, list("-+.0123456789")),
    ("merge", re.compile(r"<<$"), ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)
_Loader.yaml_constructors = {  # the other tags (timestamp, binary, set, omap) have no place in settings
    None: yaml.SafeLoader.construct_undefined,
    "tag:yaml.org,2002:int": _Loader.construct_decimal,
    "tag:yaml.org,2002:str": _Loader.construct_text,
    **{
        f"tag:yaml.org,2002:{tag}": yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{tag}"]
        for tag in ("null", "bool", "float", "seq", "map")
    },
}


def read_yaml(path: str | Path) -> dict[Any, Any]:
    """Return the mapping in a YAML file; {} for an empty one.

    Raises:
        UserError: (exit code 2) the file cannot be read, is larger than MAX_BYTES, is not YAML, is no mapping, or
            holds what settings do not have.
    """
    text = read_bounded(path, MAX_BYTES, exit_code=2)
    with foreign(path, "YAML", exit_code=2):
        try:
            content = yaml.load(text.decode("utf-8-sig"), _Loader)
        except UnicodeDecodeError:
            raise UserError(f"{path}: is not a UTF-8 text file", exit_code=2) from None
        except yaml.YAMLError as error:
            raise UserError(f"{path}: {_describe(error)}", exit_code=2) from None
        except RecursionError:
            raise UserError(f"{path}: is nested too deeply", exit_code=2) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "a single value"
        raise UserError(f"{path}: should be keys with values, got {kind}", exit_code=2)
    return content


def _describe(error: yaml.YAMLError) -> str:
    """Return PyYAML's multi-line message as one line with the line number."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return f"is not YAML text ({getattr(error, 'reason', 'unreadable')})"
    problem = str(getattr(error, "problem", None) or "not valid YAML")
    if r"'\t'" in problem:
        problem = "a tab where YAML wants spaces"
    return f"line {mark.line + 1}: {problem}"


def parse_value(text: str, annotation: Any) -> Any:
    """Parse one command-line value ("none", "0.5,1,1.5", a YAML scalar) for pydantic to check.

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
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def without_none(annotation: Any) -> tuple[Any, bool]:
    """Return the type without None, and whether None was allowed."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    members = [member for member in get_args(annotation) if member is not type(None)]
    optional = len(members) < len(get_args(annotation))
    return (members[0] if len(members) == 1 else Union[tuple(members)]), optional  # noqa: UP007


def choices(annotation: Any) -> tuple[Any, ...]:
    """Return the values of a Literal; () for another type."""
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def show(value: object) -> str:
    """Format a value as the user wrote it, short enough for one line."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    text = value if isinstance(value, str) and value and not any(map(str.isspace, value)) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
