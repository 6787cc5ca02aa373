"""ONNX files of strangers: metadata need no ONNX library, and what could reach out of the file is refused."""

import json

import pytest

from polyscale.errors import UserError
from polyscale.inference.onnx_file import read_metadata


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, value: bytes | int) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def metadata(**entries: str) -> bytes:
    return b"".join(field(14, field(1, k.encode()) + field(2, v.encode())) for k, v in entries.items())


PLAIN = field(8, b"weight") + field(9, b"\0" * 400)  # a tensor: name and raw data
EXTERNAL = field(8, b"weight") + field(13, field(1, b"location") + field(2, b"../../etc/passwd"))
ELSEWHERE = field(8, b"weight") + field(14, 1)


def test_metadata_are_decoded_where_they_are_json() -> None:
    model = field(1, 8) + metadata(low="0.5", name='"a"', card=json.dumps("# Ü\n"), note="plain {", pair="[1, 2]")
    model += field(7, field(5, PLAIN) + field(1, field(4, b"Relu") + field(7, b"")))
    found = read_metadata(model, "a.onnx")
    assert found == {"low": 0.5, "name": "a", "card": "# Ü\n", "note": "plain {", "pair": [1, 2]}


@pytest.mark.parametrize("tensor", [EXTERNAL, ELSEWHERE])
@pytest.mark.parametrize(
    "place",
    [
        lambda t: field(7, field(5, t)),  # an initializer
        lambda t: field(7, field(1, field(5, field(5, t)))),  # a constant
        lambda t: field(7, field(1, field(5, field(10, t)))),
        lambda t: field(7, field(1, field(5, field(6, field(5, t))))),  # in the branch of an If
        lambda t: field(7, field(15, field(1, t))),  # the values of a sparse one
        lambda t: field(25, field(7, field(5, field(5, t)))),  # in a function of the file
    ],
)
def test_tensors_in_other_files_are_refused_wherever_they_are(tensor: bytes, place: object) -> None:
    assert callable(place)
    assert read_metadata(place(PLAIN), "a.onnx") == {}
    with pytest.raises(UserError, match=r"a\.onnx: keeps tensors in other files, which are not read"):
        read_metadata(place(tensor), "a.onnx")


def test_operators_of_another_maker_are_refused() -> None:
    with pytest.raises(UserError, match=r"a\.onnx: has the operators of 'com\.acme'; only those of ONNX are run"):
        read_metadata(field(7, field(1, field(4, b"Run") + field(7, b"com.acme"))), "a.onnx")


@pytest.mark.parametrize(
    "content",
    [
        b"no model at all",
        b"\x80" * 20,
        field(7, field(5, PLAIN))[:-9],
        metadata(a="1")[:-1],
        metadata(a="\ud8ff"[:0]) + b"\x0b",
    ],
)
def test_what_is_no_onnx_file_is_one_line(content: bytes) -> None:
    with pytest.raises(UserError, match=r"a\.onnx: cannot be read as an ONNX file") as caught:
        read_metadata(content, "a.onnx")
    assert "\n" not in str(caught.value)


def test_deep_nesting_ends() -> None:
    graph = field(5, PLAIN)
    for _ in range(200):
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(UserError, match="nested"):
        read_metadata(field(7, graph), "a.onnx")
