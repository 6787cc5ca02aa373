"""The folder of a run: config.yaml, log.jsonl, checkpoints/step-N, and the saved models best/ and last/."""

import datetime
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator

from polyscale import __version__
from polyscale.data.images import replace_file
from polyscale.errors import UserError
from polyscale.terminal import note
from polyscale.training.checkpoints import checkpoint
from polyscale.training.launch import together
from polyscale.training.lock import lock_folder
from polyscale.training.options import TrainSettings

FORMAT = 2  # of the checkpoints; 1 was pickled
STATE = "state.json"
# settings that may change between two sessions of a run, because what it ends with does not depend on them
FREE = {"polyscale", *(f"train.{key}" for key in ("max_steps", "workers", "save_minutes", "keep", "tracker"))}


class RunFolder:
    """Where a run writes; `path` is final once `make` was called.

    Args:
        out: The folder, runs/DATE-TIME if None.
        accelerator: Its main process writes; an error there is raised in all processes.
    """

    def __init__(self, out: Path | None, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._unnamed = out is None
        name = out or Path("runs") / datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        self.path: Path = together(accelerator, lambda: name, main_only=True)

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def open(self, resume: bool) -> tuple[Path | None, dict[str, Any]]:
        """Return the newest sound checkpoint of the run to resume and its state, or (None, {}) if there is none yet.

        Raises:
            UserError: The folder does not fit what is asked, is in use, or holds damaged checkpoints only.
        """
        return together(self.accelerator, lambda: self._open(resume), main_only=True)

    def _open(self, resume: bool) -> tuple[Path | None, dict[str, Any]]:
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path}: is a file; a run needs a folder", exit_code=2)
        if not resume:
            self._refuse_used()
            return None, {}
        if not self._used:
            raise UserError(f"{self.path}: no run to resume (no checkpoint, no log.jsonl)")
        lock_folder(self.path)
        checkpoint.recover(self.path)
        checkpoint.recover(self.checkpoints)
        found, faults = checkpoint.newest_sound(self.checkpoints)
        if found is None:
            if faults:
                raise UserError(f"{faults[0]}; no older checkpoint can be used; start a new run")
            return None, {}
        for fault in faults:
            note(f"{fault}; going on from {found.name}")
        state = json.loads((found / STATE).read_text(encoding="utf-8"))
        if state.get("format") != FORMAT:
            raise UserError(f"{found}: written by polyscale {state.get('polyscale')}; resume it with that version")
        return found, state

    def make(self, resume: bool, record: str) -> None:
        """Create and lock the folder and write config.yaml: called once data and model are built.

        A start that fails before leaves nothing behind.
        """
        self.path = together(self.accelerator, lambda: self._make(resume, record), main_only=True)

    def _make(self, resume: bool, record: str) -> Path:
        path = _make_unique(self.path) if self._unnamed else self.path
        path.mkdir(parents=True, exist_ok=True)
        lock_folder(path)
        if not resume:
            self._refuse_used()  # again: another run may have begun since
        config = path / "config.yaml"
        if record and not (config.is_file() and config.read_text(encoding="utf-8") == record):  # or it trains longer
            replace_file(config, record.encode())
        return path

    def save(self, step: int, write: Callable[[Path], None], keep: int) -> None:
        """Let every process `write` its files of the checkpoint of `step`; older ones go once it is in place.

        Raises:
            UserError: It could not be written, on a full disk for example; what was there before is untouched.
        """
        target = checkpoint.step_folder(self.checkpoints, step)

        def finish() -> None:
            checkpoint.seal(temporary)
            checkpoint.put_in_place(temporary, target)
            checkpoint.prune(self.checkpoints, target, keep)

        temporary = checkpoint.unfinished(target)
        try:
            together(self.accelerator, lambda: checkpoint.begin(target), main_only=True)
            together(self.accelerator, lambda: write(temporary))
            together(self.accelerator, finish, main_only=True)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)  # half a checkpoint takes room
            raise self.explain(error) from error

    def save_model(self, name: str, write: Callable[[Path], None]) -> None:
        """Let the main process `write` a saved model and put it in place of best/ or last/."""
        try:
            together(self.accelerator, lambda: checkpoint.write_whole(self.path / name, write), main_only=True)
        except OSError as error:
            raise self.explain(error) from error

    def explain(self, error: OSError) -> UserError:
        """Return the one line for a write that failed: what was kept and how to go on."""
        kept = checkpoint.newest(self.checkpoints)
        text = f"{kept} is kept; once there is room, go on with --resume {self.path}" if kept else "nothing is lost"
        return UserError(f"{self.path}: cannot be written ({error.strerror}); {text}")

    @property
    def _used(self) -> bool:
        return bool(checkpoint.checkpoints(self.checkpoints)) or (self.path / "log.jsonl").exists()

    def _refuse_used(self) -> None:
        if self._used:
            advice = f"go on with --resume {self.path} or choose another --out"
            raise UserError(f"{self.path}: already holds a run; {advice}")


def describe_run(config: TrainSettings, record: str, accelerator: Accelerator) -> dict[str, Any]:
    """Return what a checkpoint records about the run that wrote it, for `check_fit`."""
    settings = _flatten(yaml.safe_load(record) or {}) | _flatten({"train": config.model_dump()})
    return {
        "format": FORMAT,
        "polyscale": __version__,
        "processes": accelerator.num_processes,
        "settings": json.loads(json.dumps(settings, default=str)),
    }


def check_fit(state: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Refuse to resume with other settings or processes than the run was trained with.

    Raises:
        UserError: One line that names the first difference. Paths may differ: a data set can have moved; and a run
            may train for more epochs than it was to.
    """
    if state["processes"] != now["processes"]:
        raise UserError(f"{path}: trained by {state['processes']} processes, not {now['processes']}; start as many")
    for key, before in state["settings"].items():
        value = now["settings"].get(key, before)
        moved = any(isinstance(v, str) and Path(v).is_absolute() for v in (before, value))
        if key == "train.epochs" and value > before:
            note(f"training for {value} epochs, not {before}: the learning rate follows the longer schedule from here")
            continue
        if value != before and key not in FREE and not moved:
            advice = f"set it back in {path / 'config.yaml'}, or start a new run"
            raise UserError(f"{key}: {value} does not fit the run, which was trained with {before}; {advice}")


def _make_unique(path: Path) -> Path:
    """Create the folder `path`, or path_2, path_3, ... where others have just made those."""
    number = 1
    while True:
        candidate = path if number == 1 else path.with_name(f"{path.name}_{number}")
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return candidate


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
