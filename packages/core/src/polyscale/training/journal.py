"""log.jsonl: one line per logged step and per validation, and its way into an experiment tracker."""

import json
from pathlib import Path
from typing import Any


class Journal:
    """Appends JSON lines to `path`; `length` in bytes is kept in every checkpoint, so that a resumed run cuts off
    what was logged after it and no step stands twice."""

    def __init__(self, path: Path, length: int = 0) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.truncate(length)
        self.length = length

    def write(self, record: dict[str, Any]) -> None:
        """Append one record; floats are kept to six significant digits."""
        line = json.dumps({k: _short(v) for k, v in record.items()}) + "\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)
        self.length += len(line.encode())


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The records of a log.jsonl, oldest first; a half-written last line is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value
