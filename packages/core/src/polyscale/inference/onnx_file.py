"""The metadata of an ONNX file, and a refusal of what a file from a stranger should not hold.

Only the few fields of ONNX's protobuf schema that matter are looked at, so that neither the package onnx nor
onnxruntime is needed. Tensors that lie in other files and operators of other makers are refused: the first let a file
read any other on the machine, the second need libraries that a stranger would have to bring.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polyscale.errors import UserError, foreign

# message -> {number of a field: message in it}, of onnx.proto3
_INSIDE = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_METADATA, _DOMAIN, _EXTERNAL, _LOCATION = 14, 7, 13, 14  # fields of a model, a node, a tensor, a tensor
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
MAX_BYTES = 1 << 31  # the most that a protobuf message can hold
_MAX_DEPTH = 50

Field = tuple[int, int | memoryview]


def read_metadata(content: bytes, source: Path | str) -> dict[str, Any]:
    """Return the metadata of an ONNX file by key, JSON decoded; text that is no JSON stays text.

    Args:
        content: the file.
        source: named in errors.

    Raises:
        UserError: no ONNX file, or one with tensors in other files or operators of another maker.
    """
    with foreign(source, "an ONNX file"):
        model = memoryview(content)
        _refuse_foreign("model", model, source, 0)
        entries = [dict(_fields(value)) for number, value in _fields(model) if number == _METADATA and _is_bytes(value)]
        return {_text(entry[1]): _value(_text(entry[2])) for entry in entries if entry.keys() >= {1, 2}}


def _refuse_foreign(message: str, data: memoryview, source: Path | str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise UserError(f"{source}: graphs are nested more than {_MAX_DEPTH} deep")
    for number, value in _fields(data):
        if message == "tensor" and (number == _EXTERNAL or (number == _LOCATION and value == 1)):
            raise UserError(f"{source}: keeps tensors in other files, which are not read; export it into one file")
        if message == "node" and number == _DOMAIN and _is_bytes(value) and _text(value) not in ("", "ai.onnx"):
            raise UserError(f"{source}: has the operators of {_text(value)[:60]!r}; only those of ONNX are run")
        inside = _INSIDE.get(message, {}).get(number)
        if inside is not None and _is_bytes(value):
            _refuse_foreign(inside, value, source, depth + 1)


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield (number, value) of the fields of a protobuf message. Raises ValueError where it ends too soon."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        if kind not in (_FIXED64, _BYTES, _FIXED32):
            raise ValueError("not protobuf")
        length = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
        if kind == _BYTES:
            length, place = _varint(data, place)
        if place + length > len(data):
            raise ValueError("it is cut short")
        yield number, data[place : place + length]
        place += length


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if place >= len(data):
            raise ValueError("it is cut short")
        byte, place = data[place], place + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise ValueError("not protobuf")


def _is_bytes(value: object) -> bool:
    return isinstance(value, memoryview)


def _text(value: Any) -> str:
    return bytes(value).decode("utf-8")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
