"""The Accelerator of an evaluation, on the device that `--device` names: settled as the predictors settle it."""

from __future__ import annotations

import os

from accelerate import Accelerator
from accelerate.utils import parse_flag_from_env, patch_environment

from polyscale.errors import UserError
from polyscale.inference.precision import resolve_device


def create_accelerator(device: str = "auto") -> Accelerator:
    """Create the Accelerator of an evaluation.

    A process of its own computes on the device that `resolve_device` gives. Of several, which `accelerate launch` or
    torchrun has started, each takes the device of its rank.

    Args:
        device: auto, cpu, cuda, cuda:1 or mps; `accelerate launch --cpu` makes auto the CPU.

    Raises:
        UserError: no such device here, or one that several processes cannot share out.
    """
    cpu_launched = parse_flag_from_env("ACCELERATE_USE_CPU")
    chosen = resolve_device("cpu" if device == "auto" and cpu_launched else device)
    if chosen.type == "cpu":  # told so, Accelerate joins processes that torchrun started; else each runs alone
        return Accelerator(cpu=True)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        with patch_environment(accelerate_torch_device=str(chosen)):
            return Accelerator()
    if chosen.index is not None or cpu_launched:
        raise UserError(
            f"device: {device} is not for several processes, which each take their own; use auto", exit_code=2
        )
    return Accelerator()
