"""Where inference runs and in which floating point type.

Evaluation and prediction compute in float32 unless they are told otherwise: in bfloat16 a result depends on the number
of threads and on the processor, as each layer's sums are rounded to 8 bits. Training takes `auto` by default, which is
bfloat16 where the processor computes faster in it. A processor without it emulates, which costs both accuracy and time
(a Cascade Lake Xeon, for example). One that has it need not gain: a Xeon does by its matrix unit (AMX) alone, which not
every virtual machine lets through; without it a step of EfficientNet-Lite0 took 1.3 to 1.9 times as long in bfloat16.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch

from polyscale.errors import UserError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")

_FAST_BF16 = {"amx_bf16", "bf16", "sve_bf16"}  # the last two are names of ARM
_AVX512_BF16 = "avx512_bf16"  # twice float32's products a second on AMD, no more than float32's on Intel
_CPUINFO = Path("/proc/cpuinfo")


def _read_cpuinfo(text: str) -> tuple[set[str], str]:
    """Flags and vendor of the first processor in the text of /proc/cpuinfo (x86 says "flags", ARM says "Features")."""
    flags: set[str] = set()
    vendor = ""
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if name in ("flags", "Features"):
            flags = flags or set(value.split())
        elif name == "vendor_id":
            vendor = vendor or value
    return flags, vendor


def _gains(flags: set[str], vendor: str) -> bool:
    return not flags.isdisjoint(_FAST_BF16) or (_AVX512_BF16 in flags and "intel" not in vendor.lower())


@cache
def cpu_gains_from_bf16() -> bool:
    """Whether this processor multiplies faster in bfloat16 than in float32; False where the system does not say."""
    flags, vendor = _read_cpuinfo(_CPUINFO.read_text()) if _CPUINFO.is_file() else (set(), "")
    get_capabilities = getattr(torch.cpu, "get_capabilities", None)  # not in torch 2.6
    if get_capabilities is not None:
        found = get_capabilities()
        flags, vendor = {name for name, there in found.items() if there is True}, str(found.get("cpu_name", vendor))
    return _gains(flags, vendor)


def gains_from_bf16(device: torch.device | str) -> bool:
    """Whether `device` computes faster in bfloat16 than in float32 (emulation does not)."""
    kind = torch.device(device).type
    if kind == "cpu":
        return cpu_gains_from_bf16()
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return False


def resolve_precision(precision: str, device: torch.device | str) -> torch.dtype | None:
    """The autocast type for `precision` on `device`; None is plain float32.

    `auto` is bfloat16 where the device gains from it, float32 elsewhere. An explicit `bf16` is obeyed on every
    processor (one that emulates it is slow); `fp16` exists on CUDA only.

    Raises UserError for an unknown precision and for one that the device does not offer.
    """
    kind = torch.device(device).type
    if precision not in PRECISIONS:
        raise UserError(f"precision: {precision!r} is none of {', '.join(PRECISIONS)}", exit_code=2)
    if precision == "fp32" or (precision == "auto" and not gains_from_bf16(device)):
        return None
    if precision == "fp16":
        if kind != "cuda":
            raise UserError(f"precision: fp16 needs a CUDA device, not {kind}; use auto, fp32 or bf16", exit_code=2)
        return torch.float16
    if kind != "cpu" and not gains_from_bf16(device):
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
