"""Where inference runs and in which floating point type.

Evaluation and prediction compute in float32 unless they are told otherwise: in bfloat16 a result depends on the number
of threads and on the processor, as each layer's sums are rounded to 8 bits. Training takes `auto` by default, which is
bfloat16 where the processor computes in it. A processor without it emulates, which costs both accuracy and time: a
Cascade Lake Xeon (AVX-512, no bf16) is such a machine, a Sapphire Rapids Xeon is not.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch

from polyscale.errors import UserError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")

_CPU_BF16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # the last two are names of ARM
_CPUINFO = Path("/proc/cpuinfo")


def _cpuinfo_flags(text: str) -> set[str]:
    """The flags of the first processor in the text of /proc/cpuinfo (x86 says "flags", ARM says "Features")."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


@cache
def cpu_has_bf16() -> bool:
    """Whether this processor multiplies in bfloat16 natively; False where the system does not say."""
    get_capabilities = getattr(torch.cpu, "get_capabilities", None)  # not in torch 2.6
    if get_capabilities is not None:
        capabilities = get_capabilities()
        return any(bool(capabilities.get(name)) for name in _CPU_BF16)
    if _CPUINFO.is_file():
        return not _cpuinfo_flags(_CPUINFO.read_text()).isdisjoint(_CPU_BF16)
    return False


def has_bf16(device: torch.device | str) -> bool:
    """Whether `device` computes in bfloat16 natively (emulation does not count)."""
    kind = torch.device(device).type
    if kind == "cpu":
        return cpu_has_bf16()
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return False


def resolve_precision(precision: str, device: torch.device | str) -> torch.dtype | None:
    """The autocast type for `precision` on `device`; None is plain float32.

    `auto` is bfloat16 where the device has it, float32 elsewhere. An explicit `bf16` is obeyed on a processor that
    emulates it (slow, for comparing results); `fp16` exists on CUDA only.

    Raises UserError for an unknown precision and for one that the device does not offer.
    """
    kind = torch.device(device).type
    if precision not in PRECISIONS:
        raise UserError(f"precision: {precision!r} is none of {', '.join(PRECISIONS)}", exit_code=2)
    if precision == "fp32" or (precision == "auto" and not has_bf16(device)):
        return None
    if precision == "fp16":
        if kind != "cuda":
            raise UserError(f"precision: fp16 needs a CUDA device, not {kind}; use auto, fp32 or bf16", exit_code=2)
        return torch.float16
    if kind != "cpu" and not has_bf16(device):
        raise UserError(f"precision: this {kind} device has no bf16; use auto or fp32", exit_code=2)
    return torch.bfloat16


def autocast(precision: str, device: torch.device | str) -> AbstractContextManager[Any]:
    """A context that runs the forward passes inside it in `precision` on `device` (see `resolve_precision`)."""
    dtype = resolve_precision(precision, device)
    return nullcontext() if dtype is None else torch.autocast(torch.device(device).type, dtype=dtype)


def resolve_device(device: torch.device | str) -> torch.device:
    """The device that a user means: "auto" takes CUDA or MPS where there is one, else the processor.

    Raises UserError for a name that is no device and for a device that this machine does not have.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"device: {device!r} is none of auto, cpu, cuda, cuda:1, mps", exit_code=2) from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(chosen.type, False) or (
        chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()
    ):
        raise UserError(f"device: this machine has no {chosen}; use auto or cpu", exit_code=2)
    return chosen
