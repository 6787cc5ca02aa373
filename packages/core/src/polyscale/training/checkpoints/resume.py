"""The files of a run's checkpoint, written and read: all that makes a resumed run end bit-equal."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyscale.errors import UserError
from polyscale.training.checkpoints.snapshot import (
    load_state,
    random_states,
    read_tree,
    restore_random_states,
    write_tree,
)
from polyscale.training.folder import STATE

if TYPE_CHECKING:
    from polyscale.training.run import Run


def write_state(run: Run, folder: Path) -> None:
    """Write this process's files: its own random numbers, log and memory; what all share comes from the main one."""
    rank, update = run.accelerator.process_index, run.update
    own = {"random": random_states(run.accelerator.device), "meter": run.meter.state_dict()}
    write_tree(folder / f"rank-{rank}.safetensors", own)
    write_tree(folder / f"memory-{rank}.safetensors", run.memory)
    if not run.is_main:
        return
    write_tree(folder / "model.safetensors", run.frozen.trained_state(update.bare_model))
    write_tree(folder / "optimizer.safetensors", update.optimizer.state_dict())
    state = run.about | {"progress": asdict(run.progress), "frozen": run.frozen.digest}
    state["loaders"] = [loader.state_dict() for loader in run.loaders]
    state["scaler"] = None if run.accelerator.scaler is None else run.accelerator.scaler.state_dict()
    if update.ema is not None:
        state["ema_updates"] = update.ema.updates
        write_tree(folder / "ema.safetensors", run.frozen.trained_state(update.ema.module))
    (folder / STATE).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")


def read_state(run: Run, folder: Path, state: dict[str, Any]) -> None:
    """Restore what `write_state` wrote, but for what `state` tells the Run and its loaders themselves.

    Raises:
        UserError: The model is not the one that was trained.
    """
    rank, device, update = run.accelerator.process_index, run.accelerator.device, run.update
    if state["frozen"] != run.frozen.digest:
        raise UserError(f"{folder}: the weights that are not trained are not those the run began with")
    load_state(update.bare_model, folder / "model.safetensors")
    update.optimizer.load_state_dict(read_tree(folder / "optimizer.safetensors"))
    if run.accelerator.scaler is not None:
        run.accelerator.scaler.load_state_dict(state["scaler"])
    if update.ema is not None:
        update.ema.updates = state["ema_updates"]
        load_state(update.ema.module, folder / "ema.safetensors")
    own = read_tree(folder / f"rank-{rank}.safetensors")
    restore_random_states(own["random"], device)
    run.meter.load_state_dict(own["meter"], device)
    run.memory = read_tree(folder / f"memory-{rank}.safetensors", device)
