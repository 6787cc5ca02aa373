"""What produced a result: weights, versions, commit, date and time, for metrics.json and the report."""

from __future__ import annotations

import datetime
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from polyscale.version import version_of


class Stopwatch:
    """Seconds since it was made, and the moment that was."""

    def __init__(self) -> None:
        self.date = datetime.datetime.now().astimezone().replace(microsecond=0).isoformat()
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Elapsed time, to a tenth."""
        return round(time.monotonic() - self._start, 1)


def provenance(distribution: str, weights: str | Path, watch: Stopwatch, **more: Any) -> dict[str, Any]:
    """Describe an evaluation: date, seconds, weights, version of `distribution`, torch, commit of the checkout.

    Args:
        distribution: name of the installed distribution, such as polyscale-iqa.
        weights: what the user named: a folder, a hub id or a shipped name.
        watch: started before the evaluation.
        more: further entries, such as the folder of the run.
    """
    entries = {
        "date": watch.date,
        "seconds": watch.seconds,
        "weights": str(weights),
        "version": f"{distribution} {version_of(distribution)}",
        "torch": metadata.version("torch"),
        "commit": checkout_commit(Path(__file__)),
        **{key: str(value) for key, value in more.items() if value is not None},
    }
    return {key: value for key, value in entries.items() if value is not None}


def checkout_commit(file: Path) -> str | None:
    """The commit of the git checkout that `file` is in, or None where it is in none."""
    for folder in file.resolve().parents:
        git = folder / ".git"
        if not git.exists():
            continue
        try:
            if git.is_file():  # a worktree names its folder
                git = Path(folder, git.read_text(encoding="utf-8").partition("gitdir:")[2].strip())
            head = (git / "HEAD").read_text(encoding="utf-8").strip()
            if not head.startswith("ref: "):
                return head[:12]
            common = (
                git / (git / "commondir").read_text(encoding="utf-8").strip() if (git / "commondir").exists() else git
            )
            return _resolve(common, head.removeprefix("ref: "))
        except OSError:
            return None
    return None


def _resolve(git: Path, ref: str) -> str | None:
    if (git / ref).is_file():
        return (git / ref).read_text(encoding="utf-8").strip()[:12]
    packed = git / "packed-refs"
    lines = packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else []
    return next((line.split(" ")[0][:12] for line in lines if line.endswith(f" {ref}")), None)
