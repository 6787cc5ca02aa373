"""log.jsonl: one line per logged step and per validation, and its way into an experiment tracker."""

import json
from pathlib import Path
from typing import Any


class Journal:
    """Appends JSON lines to `path`, after cutting it to the `length` in bytes that a checkpoint recorded.

    A resumed run thereby drops what was logged after its checkpoint, so that no step is logged twice. A file that is
    shorter than recorded is cut at the end of its last whole line.
    """

    def __init__(self, path: Path, length: int = 0) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.seek(0)
            kept = file.read(length)
            self.length = length if len(kept) == length else kept.rfind(b"\n") + 1
            file.truncate(self.length)

    def write(self, record: dict[str, Any]) -> None:
        """Append one record; floats are kept to six significant digits."""
        line = json.dumps({k: _short(v) for k, v in record.items()}) + "\n"
        with self.path.open("a", encoding="utf-8", newline="\n") as file:  # as long on Windows as counted
            file.write(line)
        self.length += len(line.encode())


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Read the records of a log.jsonl, oldest first; a half-written last line is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value
