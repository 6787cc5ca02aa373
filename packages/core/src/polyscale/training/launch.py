"""How a run is spread over processes: the Accelerator it uses, and what all processes do as one."""

from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.tracking import get_available_trackers
from accelerate.utils import broadcast, gather_object, parse_flag_from_env
from safetensors import SafetensorError

from polyscale.errors import UserError
from polyscale.inference.precision import resolve_precision
from polyscale.training.options import TrainSettings
from polyscale.training.update import Update

T = TypeVar("T")
_ACCELERATE_PRECISION = {None: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}
_SHARDED = {"FSDP", "DEEPSPEED", "MEGATRON_LM", "XLA"}  # each process holds a part of the model


def create_accelerator(config: TrainSettings) -> Accelerator:
    """Create the Accelerator of a run in the precision and for the tracker that `config` names.

    Raises:
        UserError: The tracker is not installed, the precision does not work here, or `accelerate launch` was told to
            shard the model, whose parts the checkpoints of a run do not hold.
    """
    # told that there is nothing but the CPU, Accelerate joins processes that torchrun started; else each runs alone
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    precision = _ACCELERATE_PRECISION[resolve_precision(config.precision, PartialState(cpu).device)]
    tracker = None if config.tracker == "none" else config.tracker
    if tracker and tracker not in map(str, get_available_trackers()):  # Accelerate only warns
        raise UserError(f"train.tracker: {tracker} is not installed (pip install {tracker})", exit_code=2)
    try:
        accelerator = Accelerator(cpu=cpu, mixed_precision=precision, log_with=tracker)
    except ValueError as error:  # another precision is settled in this process
        reason = " ".join(str(error).split())
        raise UserError(f"train.precision: {config.precision} cannot be used: {reason}", exit_code=2) from error
    kind = accelerator.distributed_type.value
    if kind in _SHARDED:
        raise UserError(f"accelerate launch: {kind} is not supported; use --multi_gpu (DDP)", exit_code=2)
    return accelerator


def together(accelerator: Accelerator, action: Callable[[], T], *, main_only: bool = False) -> T:
    """Do `action` in every process (or in the main one) and return the main process's result in all of them.

    An OSError or UserError of one process is raised in all, so that none waits for another that has given up.
    """
    result: T | None = None
    error: Exception | None = None
    if accelerator.is_main_process or not main_only:
        try:
            result = action()
        except (OSError, UserError) as caught:
            error = caught
        except SafetensorError as caught:  # a full disk, for example
            error = OSError(None, str(caught))
    if accelerator.num_processes > 1:
        outcomes = gather_object([(result if accelerator.is_main_process else None, error)])
        result, error = outcomes[0][0], next((e for _, e in outcomes if e is not None), None)
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def largest(accelerator: Accelerator, value: float) -> float:
    """Return the largest `value` of all processes."""
    if accelerator.num_processes == 1:
        return value
    return float(accelerator.gather(torch.tensor([value], device=accelerator.device)).max())


def agree_on_buffers(accelerator: Accelerator, update: Update) -> None:
    """Take rank 0's BatchNorm statistics, which every process has moved by its own batches, before evaluation."""
    if accelerator.num_processes > 1:
        averages = [] if update.ema is None else list(update.ema.module.buffers())
        for buffer in [*update.bare_model.buffers(), *averages]:
            buffer.copy_(broadcast(buffer))
