"""Reading numbers and texts of a MATLAB file (level 5, MATLAB 5 to 7.2), for two benchmarks that come as such.

Our own reader, because scipy's ends the whole process on some damaged files (3 of 300 mutations), and because what is
read here is small: arrays of numbers, characters and cells. Layout: "MAT-File Format" of MathWorks.
"""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from polyscale.errors import UserError, foreign, read_bounded

MAX_BYTES = 1 << 26  # of the file, and of what it unpacks to
MAX_DEPTH = 20
MAX_ARRAYS = 1_000_000
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _CHAR, _NUMBERS = 1, 4, range(6, 16)


def read_matlab(path: Path, key: str) -> Any:
    """Return the variable `key`: an array of numbers or of texts, flat, in MATLAB's order (column by column).

    Raises:
        UserError: the file is missing, damaged, of another version, larger than the bounds, or has no such variable.
    """
    content = read_bounded(path, MAX_BYTES)
    with foreign(path, "a MATLAB file"):
        variables = _Reader(content).read()
    if key not in variables:
        raise UserError(f"{path}: has no variable {key}; it has {', '.join(variables)[:200] or 'none'}")
    return variables[key]


class _Reader:
    def __init__(self, content: bytes) -> None:
        if content.startswith(b"MATLAB 7.3") or content[:8] == b"\x89HDF\r\n\x1a\n":
            raise ValueError("version 7.3 (HDF5); save it with -v7")
        self.order = {b"IM": "<", b"MI": ">"}.get(content[126:128], "")
        if not self.order:
            raise ValueError("no header of level 5")
        self.content, self.arrays, self.unpacked = content, 0, 0

    def read(self) -> dict[str, Any]:
        """Return the variables of the file."""
        variables, data, at = {}, self.content, 128
        while at < len(data):
            kind, body, at = self._element(data, at)
            if kind == _COMPRESSED:
                unpacker = zlib.decompressobj()
                body = unpacker.decompress(body, MAX_BYTES - self.unpacked + 1)
                self.unpacked += len(body)
                if self.unpacked > MAX_BYTES:
                    raise ValueError(f"unpacks to more than {MAX_BYTES >> 20} MB")
                kind, body, _ = self._element(body, 0)
            if kind == _MATRIX:
                name, value = self._matrix(body, 0)
                variables[name] = value
        return variables

    def _element(self, data: bytes, at: int) -> tuple[int, bytes, int]:
        """Return the type of the element at a place, its bytes, and where the next begins."""
        kind, size = struct.unpack_from(f"{self.order}II", data, at)
        if kind >> 16:  # the small format: up to 4 bytes within the tag
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if size > 4:
                raise ValueError("a damaged tag")
        else:
            start = at + 8
            end = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(data):
            raise ValueError("cut short")
        return kind, data[start : start + size], end

    def _matrix(self, data: bytes, depth: int) -> tuple[str, Any]:
        self.arrays += 1
        if depth > MAX_DEPTH or self.arrays > MAX_ARRAYS:
            raise ValueError("nested too deeply, or more than a million arrays")
        if not data:
            return "", np.empty(0)
        _, flags, at = self._element(data, 0)
        _, _, at = self._element(data, at)  # its shape: callers want it flat
        _, name, at = self._element(data, at)
        kind = flags[0 if self.order == "<" else 3]
        if kind == _CELL:
            cells = []
            while at < len(data):
                inner, body, at = self._element(data, at)
                if inner != _MATRIX:
                    raise ValueError("a cell that holds no array")
                cells.append(self._matrix(body, depth + 1)[1])
            value: Any = cells
        elif kind == _CHAR or kind in _NUMBERS:
            stored, body, _ = self._element(data, at)
            value = self._text(stored, body) if kind == _CHAR else self._numbers(stored, body)
        else:
            value = None  # a structure, an object, a sparse array
        return name.decode("ascii"), value

    def _numbers(self, kind: int, body: bytes) -> Any:
        if kind not in _TYPES:
            raise ValueError(f"numbers of the unknown type {kind}")
        return np.frombuffer(body, np.dtype(self.order + _TYPES[kind]))

    def _text(self, kind: int, body: bytes) -> str:
        if kind not in _TEXTS:
            raise ValueError(f"characters of the unknown type {kind}")
        name = _TEXTS[kind]
        ends = {"<": "-le", ">": "-be"}[self.order] if name in ("utf-16", "utf-32") else ""
        return body.decode(name + ends)
